"""The protocol that proves a gain: further controls, equal time, and studies in two stages."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from helpers import studies
from physjax.config import ConfigError
from physjax.forces import LAWS
from physjax.report import study as report
from physjax.study.controls import compared_with
from physjax.study.design import Cell, Study, plan
from physjax.study.files import read_toml, to_toml
from physjax.study.folder import StudyFolder
from physjax.study.paths import Paths
from physjax.study.runner import run_study
from physjax.study.screening import check_screening
from physjax.study.status import status, validate

ROOT = Path(__file__).resolve().parents[2]
GRIDS = ROOT / "experiments" / "studies"


def grid(**changes: Any) -> Study:
    values: dict[str, Any] = {
        "laws": ("none", "ring-gate", "own-gate"),
        "arms": {"longer": {"cost": 1.04}},
        "seeds": (0,),
    }
    return studies.study(**{**values, **changes})


def names(study: Study, arm: str) -> list[str]:
    runs = plan(study)
    (cell,) = [c for c in runs if c.arm == arm]
    return [other.arm for other in compared_with(cell, study, runs)]


def test_an_arm_is_compared_with_those_that_the_grid_names_too() -> None:
    study = grid(compare={"ring-gate": ("own-gate",)}, must_beat={"ring-gate": ("none", "longer")})
    assert names(study, "ring-gate") == ["none", "own-gate", "longer"]
    assert names(study, "own-gate") == ["none"]
    assert names(study, "longer") == ["none"]


def test_named_arms_are_those_at_the_same_values_of_the_axes() -> None:
    study = grid(compare={"ring-gate": ("longer",)}, axes={"data.holdout": [0.1, 0.2]})
    assert names(study, "ring-gate@holdout=0.2") == ["none@holdout=0.2", "longer@holdout=0.2"]
    # A law's own setting is none of the plain arm's.
    study = grid(must_beat={"ring-gate": ("none", "longer")}, axes={"law.radius": [1, 2]})
    assert names(study, "ring-gate@radius=2") == ["none", "longer"]


@pytest.mark.parametrize(
    ("epochs", "cost", "longer"), [(10, 1.04, 11), (50, 1.04, 52), (50, 1.041, 53), (3, 2.0, 6)]
)
def test_an_arm_of_equal_time_has_more_epochs(epochs: int, cost: float, longer: int) -> None:
    study = grid(config={"optim.epochs": epochs}, arms={"longer": {"cost": cost}})
    found = {cell.arm: config.optim.epochs for cell, config in plan(study).items()}
    assert found == {"none": epochs, "ring-gate": epochs, "own-gate": epochs, "longer": longer}
    # Whatever says how many there are: a base, or an axis.
    study = grid(by_model={"cnn": {"optim.epochs": 20}})
    assert max(config.optim.epochs for config in plan(study).values()) == 21
    swept = plan(grid(axes={"optim.epochs": [10, 20]}))
    assert {c.arm: x.optim.epochs for c, x in swept.items() if "longer" in c.arm} == {
        "longer@epochs=10": 11,
        "longer@epochs=20": 21,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"longer": {"cost": 1.0}}}, r"arms\.longer\.cost is 1\.0; .*greater than 1"),
        ({"arms": {"longer": {"cost": "long"}}}, r"arms\.longer\.cost is 'long'"),
        (
            {"arms": {"longer": {"cost": 1.1, "optim": {"epochs": 3}}}},
            r"arms\.longer sets optim\.epochs, and by its cost too",
        ),
        ({"compare": {"ring-gate": ("own-gat",)}}, "compare: there is no arm 'own-gat'.*own-gate"),
        ({"must_beat": {"magnet": ("none",)}}, "must_beat: there is no arm 'magnet'"),
        ({"must_beat": {"ring-gate": ("ring-gate",)}}, "compares the arm with itself"),
        ({"families": {"a": ("magnet",)}}, r"families\.a: there is no arm 'magnet'"),
        (
            {"families": {"a": ("ring-gate",), "b": ("ring-gate",)}},
            "families has 'ring-gate' in a and in b",
        ),
        ({"screening": "../evil"}, r"screening is '\.\./evil'"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(grid(**changes))


def test_the_protocol_goes_into_toml_and_back(tmp_path: Path) -> None:
    study = grid(
        compare={"ring-gate": ("own-gate",)},
        must_beat={"ring-gate": ("none", "longer")},
        families={"gates": ("ring-gate", "own-gate")},
        screening="first",
    )
    (tmp_path / "s.toml").write_text(to_toml(study))
    assert read_toml(tmp_path / "s.toml") == study


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "results", tmp_path / "runs", devices=1)


def screened(paths: Paths, *, ended: bool = True, **changes: Any) -> Study:
    """A study of that name, with records of all its runs, or of all but one."""
    first = studies.study(**{"config": {"data.holdout": 0.1}, **changes})
    runs = [cell.name for cell in plan(first)]
    accuracies: dict[str, float | None] = dict.fromkeys(runs if ended else runs[1:], 0.5)
    studies.write(paths.results_dir / "first", first, accuracies)
    return first


def test_fresh_seeds_confirm_what_another_study_chose(paths: Paths) -> None:
    screened(paths)
    check_screening(grid(screening="first", seeds=(3, 4)), paths)
    check_screening(grid(), paths)


@pytest.mark.parametrize(
    ("seeds", "first", "message"),
    [
        ((2, 3), {}, "seeds has 2, as the study 'first'.*from 3 on"),
        ((3,), {"config": {}}, "runs without held-out images .cnn-none-digits-seed0."),
        ((3,), {"ended": False}, "has not ended: 1 of 6 runs are left.*--name first"),
        ((3,), None, "there is no study in .*first; run it first"),
    ],
)
def test_what_does_not_confirm_is_refused_before_anything_is_run(
    paths: Paths, seeds: tuple[int, ...], first: dict[str, Any] | None, message: str
) -> None:
    if first is not None:
        screened(paths, **first)
    study = grid(screening="first", seeds=seeds)
    for ask in (lambda: run_study("second", study, paths), lambda: status("second", study, paths)):
        with pytest.raises(ConfigError, match=message):
            ask()
    assert not (paths.results_dir / "second").exists()


def test_the_grids_of_the_laws_are_a_screening_and_its_confirmation(paths: Paths) -> None:
    first, second = (read_toml(GRIDS / f"laws_{n}.toml") for n in ("screening", "confirmation"))
    validate(first)
    validate(second)
    assert len(first.seeds) >= 4
    assert len(second.seeds) >= 10
    assert second.screening == "laws_screening"
    folder = StudyFolder(paths.results_dir / "laws_screening")
    folder.open(first)
    with pytest.raises(ConfigError, match="has not ended: "):
        check_screening(second, paths)
    (law,) = second.must_beat
    assert {"none", "scaled-bias", "own-divisive", "longer"} <= set(second.must_beat[law])
    runs = plan(second)
    one = Cell("speedrun", law, "cifar10", second.seeds[0])
    compared = {other.arm for other in compared_with(one, second, runs)}
    assert compared == {"none", "scaled-bias", "own-divisive", "longer", "permuted"}
    assert runs[dataclasses.replace(one, arm="permuted")].law.own == {"permute": 1}
    assert all(config.data.holdout == 0 for config in runs.values())
    assert all(config.data.holdout for config in plan(first).values())


def test_a_law_from_outside_goes_through_the_protocol_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grid of docs/studies.md with the law of docs/plugins.md, as they stand there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "FIGURES", {})
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    law = next(b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "PUSH = " in b)
    Path("my_laws.py").write_text(law, encoding="utf-8")
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (text,) = [b for b in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "my_laws" in b]
    Path("push.toml").write_text(text, encoding="utf-8")
    study = read_toml(Path("push.toml"))
    try:
        validate(study)
        assert {c.arm for c in plan(study)} == {"none", "push", "scaled-bias", "permuted", "longer"}
        shown = dataclasses.replace(study, datasets=("digits",))
        accuracies: dict[str, float | None] = {
            cell.name: 0.8
            + 0.01 * (cell.arm == "push")
            + 0.001 * ((7 * cell.seed) % 10)
            + 0.0001 * ((3 * cell.seed + len(cell.arm)) % 5)
            for cell in plan(shown)
        }
        studies.write(tmp_path / "push", shown, accuracies)
        report.report_study(tmp_path / "push")
    finally:
        LAWS.pop("push", None)
    said = " ".join((tmp_path / "push" / "tables.md").read_text(encoding="utf-8").split())
    assert "`push`, speedrun on Digits (n = 10): **gain**: above none, scaled-bias, longer" in said
