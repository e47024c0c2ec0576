"""What a report says of a study that is to prove a gain: families, power, verdicts."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import studies
from physjax.cli import study as study_command
from physjax.cli.common import exit_code
from physjax.report import study as report
from physjax.report.statistics import detectable, paired, pairs_needed
from physjax.study.design import Study, plan

# By arm and seed, in points above 80 % or below.
ACCURACIES = {
    "none": (0.0, 0.1, -0.1, 0.2),
    "ring-gate": (0.5, 0.65, 0.35, 0.7),
    "own-gate": (0.1, 0.1, 0.1, 0.1),
    "scaled-bias": (0.4, 0.7, 0.3, 0.8),
}


def grid(**changes: Any) -> Study:
    values: dict[str, Any] = {
        "laws": ("none", "ring-gate", "own-gate"),
        "seeds": (4, 5, 6, 7),
        "arms": {"scaled-bias": {"optim.bias_scale": 16.0}},
        "must_beat": {"ring-gate": ("none", "own-gate")},
    }
    return studies.study(**{**values, **changes})


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the report of a study with these accuracies: (tables.md, differences.csv by arm)."""
    monkeypatch.setattr(report, "FIGURES", {})

    def make(study: Study, missing: tuple[str, ...] = ()) -> tuple[str, dict[str, dict[str, str]]]:
        folder = tmp_path / "results" / "s"
        accuracies: dict[str, float | None] = {
            c.name: 0.8 + 0.01 * ACCURACIES[c.arm][study.seeds.index(c.seed)]
            for c in plan(study)
            if c.arm not in missing
        }
        studies.write(folder, study, accuracies)
        report.report_study(folder)
        with (folder / "differences.csv").open(encoding="utf-8") as file:
            lines = {f"{d['arm']} - {d['control']}": d for d in csv.DictReader(file)}
        return " ".join((folder / "tables.md").read_text(encoding="utf-8").split()), lines

    return make


def test_p_values_are_corrected_within_their_family(made: Any) -> None:
    _, lines = made(grid(families={"gates": ("ring-gate",)}))
    families: dict[str, list[str]] = {}
    for name, line in lines.items():
        families.setdefault(line["family"], []).append(name)
    assert families == {
        "gates": ["ring-gate - none", "ring-gate - scaled-bias", "ring-gate - own-gate"],
        "others": ["own-gate - none", "own-gate - scaled-bias", "scaled-bias - none"],
    }
    by_p = sorted(families["gates"], key=lambda name: float(lines[name]["p_value"]))
    least = lines[by_p[0]]
    assert float(least["p_holm"]) == pytest.approx(3 * float(least["p_value"]))
    largest = lines[by_p[-1]]
    assert float(largest["p_holm"]) >= float(largest["p_value"])


def test_without_families_all_comparisons_are_one(made: Any) -> None:
    text, lines = made(grid(must_beat={}))
    assert {line["family"] for line in lines.values()} == {"all"}
    assert "corrected for all comparisons of the family (all: 5)" in text
    assert "## Verdicts" not in text
    least = min(lines.values(), key=lambda line: float(line["p_value"]))
    assert float(least["p_holm"]) == pytest.approx(5 * float(least["p_value"]))


def test_power_stands_beside_every_difference(made: Any) -> None:
    text, lines = made(grid())
    line = lines["ring-gate - none"]
    assert float(line["detectable"]) == pytest.approx(detectable(4, float(line["sd"])))
    assert "n shows [pp]" in text


def test_an_arm_above_all_that_it_must_beat_has_gained(made: Any) -> None:
    text, _ = made(grid())
    assert "`ring-gate`, cnn on Digits (n = 4): **gain**: above none, own-gate by two" in text


def test_an_arm_that_is_not_is_a_null_with_what_could_have_been_shown(made: Any) -> None:
    text, _ = made(grid(must_beat={"ring-gate": ("none", "scaled-bias")}))
    ours, theirs = (
        [0.8 + 0.01 * x for x in ACCURACIES[arm]] for arm in ("ring-gate", "scaled-bias")
    )
    shown = 100 * paired(ours, theirs)["detectable"]
    assert "(n = 4): **null**: not above scaled-bias by two standard errors" in text
    assert f"these pairs could have shown {shown:.2f} points" in text


def test_without_all_controls_there_is_no_verdict_yet(made: Any) -> None:
    text, _ = made(grid(), missing=("own-gate",))
    assert "(n = 4): no verdict yet: there are no pairs with own-gate." in text


def test_a_confirmation_says_whose(made: Any) -> None:
    text, _ = made(grid(screening="first"))
    assert "It confirms what the study first chose on held-out images" in text


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["physjax", "--results-dir", str(folder), *words])
    return exit_code(study_command.main)


def test_the_power_of_a_study_from_its_records_alone(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines = made(grid())
    words = ("--name", "s", "--power", "--effects", "0.1", "0.2")
    assert run(monkeypatch, tmp_path / "results", *words) == 0
    shown = capsys.readouterr().out
    sd = float(lines["ring-gate - none"]["sd"])
    (row,) = [line for line in shown.splitlines() if "ring-gate − none" in line]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[3:5] == ["4", f"{100 * sd:.2f}"]
    assert cells[6] == f"{100 * detectable(4, sd):.2f}"
    assert cells[7:] == [str(pairs_needed(0.001, sd)), str(pairs_needed(0.002, sd))]
    (row,) = [line for line in shown.splitlines() if "all together" in line]
    variances = [float(line["sd"]) ** 2 for line in lines.values()]
    pooled = 100 * (sum(variances) / len(variances)) ** 0.5
    assert f"| {pooled:.2f} |" in " ".join(row.split())


def test_power_without_pairs_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.write(tmp_path / "s", grid(), {"cnn-none-digits-seed4": 0.8})
    assert run(monkeypatch, tmp_path, "--name", "s", "--power") == 0
    assert "nothing is known yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--name", "none", "--power"), "holds no study"),
        (("--name", "s", "--power", "--effects", "-1"), "--effects are percentage points above 0"),
    ],
)
def test_power_that_cannot_be_told_is_refused(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    studies.write(tmp_path / "s", grid(), {"cnn-none-digits-seed4": 0.8})
    assert run(monkeypatch, tmp_path, *words) == 2
    assert message in capsys.readouterr().err
