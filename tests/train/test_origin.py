"""A result belongs to the code, images and settings that made it, from its start to its end."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import pytest
from rich.console import Console

from helpers import studies
from physjax import forces
from physjax.config import RECIPES, Config
from physjax.errors import UserError
from physjax.evaluate.robustness import evaluate
from physjax.records import RecordError, RunFolder, RunRecord, provenance
from physjax.records.provenance import OriginError
from physjax.report.study import report_study
from physjax.study.design import Cell, Study
from physjax.study.folder import StudyFolder
from physjax.study.paths import Paths
from physjax.study.runner import run_study
from physjax.study.status import format_status, status
from physjax.train.loop import fit
from physjax.train.origin import SETTINGS, check_code, current_origin

pytestmark = pytest.mark.quick_compile

LAW = """
from physjax.forces import ForceLaw

def force(params, y):
    return params["interaction_strength"] * {factor} * y  # {comment}

LAW = ForceLaw("mine", "s y", "me", force, has_strength=True, starts_plain=False)
"""

Write = Callable[..., None]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Write]:
    """Writes a law of one's own and registers it, as a program that starts anew would find it."""
    folder = tmp_path_factory.mktemp("laws")

    def now(factor: float = 0.01, comment: str = "small") -> None:
        (folder / "my_laws.py").write_text(LAW.format(factor=factor, comment=comment))
        sys.modules.pop("my_laws", None)
        importlib.invalidate_caches()
        forces.LAWS["mine"] = importlib.import_module("my_laws").LAW

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        now()
        yield now
        del forces.LAWS["mine"]
        sys.modules.pop("my_laws", None)


@pytest.fixture(autouse=True)
def _first_version(write: Write) -> Iterator[None]:
    yield
    write()


def configure(folder: Path) -> Config:
    """3 steps of the smallest network with the law."""
    base = RECIPES["smoke"]
    return dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, train_examples=60),
        model=dataclasses.replace(base.model, name="cnn", law="mine", width=0.1),
        optim=dataclasses.replace(base.optim, batch_size=20, epochs=1),
        run=dataclasses.replace(base.run, runs_dir=str(folder), devices=1, name="run"),
    )


@pytest.fixture(scope="module")
def whole(write: Write, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(configure(folder))


@pytest.fixture
def ended(whole: tuple[Path, RunRecord], tmp_path: Path) -> Path:
    """A copy of its folder."""
    shutil.copytree(whole[0] / "run", tmp_path / "run")
    return tmp_path / "run"


def begin(folder: Path) -> None:
    """Make of an ended run one that was stopped before its end."""
    (folder / "result.json").unlink()


def change(folder: Path, part: str, name: str, value: Any) -> None:
    """Change a value of origin.json."""
    path = folder / "origin.json"
    values = json.loads(path.read_text())
    target = values[part][0] if part == "sessions" else values[part]
    assert name in target
    target[name] = value
    path.write_text(json.dumps(values))


def test_the_record_says_where_the_run_comes_from(whole: tuple[Path, RunRecord]) -> None:
    folder, record = whole
    origin = record.origin
    assert origin is not None
    assert record.result is not None
    assert set(origin.code) == {"law mine", "base cnn", "rule backprop", "optimiser sgd"}
    assert origin.code["law mine"].module == "my_laws"
    assert origin.images is not None
    assert origin.images.fingerprint == record.result.data.fingerprint
    assert origin.settings["jax_threefry_partitionable"] is True
    assert {"jax_enable_x64", "jax_default_prng_impl"} <= origin.settings.keys() <= set(SETTINGS)
    (session,) = origin.sessions
    assert session.host
    assert session.command == shlex.join(sys.orig_argv)
    assert session.versions == record.result.versions
    assert RunFolder(folder / "run").read_origin() == origin


@pytest.mark.parametrize("state", ["complete", "begun"])
def test_an_edited_law_is_refused_and_a_new_comment_is_not(
    ended: Path, write: Write, state: str
) -> None:
    config = configure(ended.parent)
    if state == "begun":
        begin(ended)
    before = current_origin(config).code["law mine"].sha256[:12]
    write(factor=0.02)
    after = current_origin(config).code["law mine"].sha256[:12]
    with pytest.raises(OriginError, match=rf"law mine \(my_laws\) was {before} .* and is {after}"):
        fit(config)
    assert (ended / "result.json").exists() == (state == "complete")
    write(comment="tiny")
    assert fit(config).result is not None


@pytest.mark.parametrize("state", ["complete", "begun"])
@pytest.mark.parametrize(
    ("setting", "match"),
    [
        (lambda: jax.threefry_partitionable(False), r"jax_threefry_partitionable was True and is"),
        (lambda: jax.default_prng_impl("rbg"), r"set JAX_DEFAULT_PRNG_IMPL=threefry2x32"),
        (lambda: jax.default_matmul_precision("bfloat16"), r"unset JAX_DEFAULT_MATMUL_PRECISION"),
    ],
)
def test_settings_that_change_numbers_are_refused(
    ended: Path, state: str, setting: Callable[[], AbstractContextManager[None]], match: str
) -> None:
    if state == "begun":
        begin(ended)
    with setting(), pytest.raises(OriginError, match=match):
        fit(configure(ended.parent))


def test_64_bits_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with jax.enable_x64(True), pytest.raises(UserError, match="JAX_ENABLE_X64 is set"):
        fit(configure(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["complete", "begun"])
def test_other_images_are_refused(ended: Path, state: str) -> None:
    if state == "begun":
        begin(ended)
    change(ended, "images", "fingerprint", "e" * 64)
    with pytest.raises(OriginError, match=r"images of digits were e{12} .*--data-dir"):
        fit(configure(ended.parent))


def test_fresh_starts_anew_and_keeps_the_old(
    whole: tuple[Path, RunRecord], ended: Path, write: Write
) -> None:
    config = configure(ended.parent)
    # Nothing has changed, so `changed` returns what is there.
    assert fit(config, fresh="changed") == whole[1]
    write(factor=0.02)
    record = fit(config, fresh="changed")
    assert record.origin is not None
    assert provenance.changes(record.origin, current_origin(config)) == []
    assert RunFolder(ended.with_name("run.old-1")).read() == whole[1]
    write()
    again = fit(config, fresh="yes")
    assert RunFolder(ended.with_name("run.old-2")).read() == record
    assert again.epochs[0].train_loss == whole[1].epochs[0].train_loss


def test_a_run_that_goes_on_tells_every_process(ended: Path) -> None:
    begin(ended)
    change(ended, "sessions", "host", "elsewhere")
    record = fit(configure(ended.parent))
    assert record.origin is not None
    assert [s.host == "elsewhere" for s in record.origin.sessions] == [True, False]


@pytest.mark.parametrize("state", ["complete", "begun"])
def test_a_run_without_an_origin_is_used_but_not_given_one(ended: Path, state: str) -> None:
    (ended / "origin.json").unlink()
    if state == "begun":
        begin(ended)
    said = io.StringIO()
    record = fit(configure(ended.parent), console=Console(file=said, width=500))
    assert record.result is not None
    assert record.origin is None
    assert "does not say by which code" in said.getvalue()
    assert not (ended / "origin.json").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"sha256": "', '"sha256": "x'),
        lambda text: text.replace('"pid": ', '"pid": -0.5e'),
        lambda text: text[: text.index('"sessions"')] + '"sessions": []}',
        lambda text: text.replace('"images": {', '"images": 3, "more": {'),
    ],
)
def test_a_damaged_origin_is_refused_with_the_cheapest_way_out(
    ended: Path, damage: Callable[[str], str]
) -> None:
    path = ended / "origin.json"
    before = path.read_text()
    path.write_text(damage(before))
    assert path.read_text() != before
    with pytest.raises(RecordError, match=r"origin\.json is .*--fresh .*or remove origin\.json"):
        fit(configure(ended.parent))


def test_evaluation_asks_before_it_takes_other_code(ended: Path, write: Write) -> None:
    write(factor=0.02)
    with pytest.raises(OriginError, match=r"law mine .* give --other-code"):
        evaluate(ended)
    said: list[str] = []
    check_code(ended, RunFolder(ended).read(), True, said.append)
    assert said[0].startswith("CAUTION, not what was trained: the code of law mine")
    write()
    check_code(ended, RunFolder(ended).read(), False, said.append)
    assert len(said) == 1


def grid() -> Study:
    config = {
        "model": {"width": 0.1},
        "data": {"train_examples": 60},
        "optim": {"batch_size": 20, "epochs": 1},
    }
    return studies.study(laws=("none", "mine"), seeds=(0,), config=config)


@pytest.mark.slow
def test_a_study_says_what_changed_and_makes_only_that_anew(tmp_path: Path, write: Write) -> None:
    paths = Paths(tmp_path / "results", tmp_path / "runs", devices=1)
    folder = StudyFolder(tmp_path / "results" / "s")
    first = run_study("s", grid(), paths)
    none, mine = (Cell("cnn", law, "digits", 0) for law in ("none", "mine"))
    write(comment="tiny")
    assert [p.state for p in status("s", grid(), paths)] == ["done", "done"]

    write(factor=0.02)
    planned = status("s", grid(), paths)
    assert {p.cell: p.state for p in planned} == {none: "done", mine: "changed"}
    assert "0 to do: about 0s; --fresh makes the 1 changed ones anew" in format_status(planned)[-1]
    with pytest.raises(OriginError, match=r"1 of 2 runs .*cnn-mine-digits-seed0.*--fresh"):
        run_study("s", grid(), paths)
    stamp = folder.record_file(none).stat().st_mtime_ns
    second = run_study("s", grid(), paths, fresh=True)
    assert second[none] == first[none]
    assert folder.record_file(none).stat().st_mtime_ns == stamp
    assert second[mine].origin is not None
    assert first[mine].origin is not None
    assert second[mine].origin.code["law mine"] != first[mine].origin.code["law mine"]
    assert second[mine].origin.code["base cnn"] == first[mine].origin.code["base cnn"]
    kept = folder.record_file(mine)
    assert kept.with_name(f"{kept.name}.old-1").exists()
    assert (tmp_path / "runs" / "s" / f"{mine.name}.old-1" / "result.json").exists()
    assert str(tmp_path) not in kept.read_text()
    report_study(folder.path)
    assert "Made at commit" in (folder.path / "tables.md").read_text()
    assert {p.state for p in status("s", grid(), paths)} == {"done"}
    # Again with --fresh: there is nothing to make anew.
    assert run_study("s", grid(), paths, fresh=True) == second
