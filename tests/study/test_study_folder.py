"""A study's folder: records come back, and what does not belong together is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from helpers import studies
from physjax.config import RECIPES
from physjax.records import RecordError, RunRecord
from physjax.study.design import Cell, plan
from physjax.study.folder import StudyFolder, strip_machine_paths

RING = Cell("cnn", "ring", "digits", 1)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    grid = studies.study()
    folder = StudyFolder(tmp_path / "s")
    folder.open(grid)
    ended = studies.record(grid, RING, 0.9, 0.8)
    lost = studies.failed(grid, Cell("cnn", "none", "digits", 0))
    folder.write(ended)
    folder.write(lost)
    assert plan(folder.read_study()) == plan(grid)
    assert list(folder.read(plan(grid)).values()) == [lost, ended]
    assert folder.record_file(RING) == tmp_path / "s" / "records" / "cnn-ring-digits-seed1.json"


def test_a_record_tells_nothing_of_the_machines_folders() -> None:
    grid = studies.study()
    made = studies.record(grid, RING, 0.9, 0.8)
    config = dataclasses.replace(
        made.config,
        data=dataclasses.replace(made.config.data, data_dir="/home/me/data"),
        run=dataclasses.replace(made.config.run, runs_dir="/scratch/runs/s"),
    )
    kept = strip_machine_paths(RING, RunRecord(config, made.epochs, made.result))
    assert kept.result is not None
    assert kept.result.data.source == "digits/1.0.0"
    assert kept.config == made.config


def test_records_outlive_a_change_of_their_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder says what the recipe's values were; the grid that names it is another one now."""
    grid, folder = studies.study(), StudyFolder(tmp_path / "s")
    folder.open(grid)
    made = studies.record(grid, RING, 0.9, 0.8)
    folder.write(made)
    before = plan(grid)
    other = RECIPES[grid.recipe].replace(optim={"momentum": 0.5}, augment={"mirror": False})
    monkeypatch.setitem(RECIPES, grid.recipe, other)
    stored = plan(folder.read_study())
    assert stored == before
    assert folder.read(stored) == {RING: made}
    with pytest.raises(RecordError, match=r"another config \(.*optim\.momentum: 0\.9 -> 0\.5"):
        folder.open(grid)


def test_a_grid_may_grow_but_not_change(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    folder.open(studies.study())
    larger = studies.study(models=("cnn", "alexnet"), seeds=(0, 1, 2, 3))
    folder.open(larger)
    assert plan(folder.read_study()) == plan(larger)
    with pytest.raises(RecordError, match="the run alexnet-none-digits-seed0, which is not in"):
        folder.open(studies.study())
    longer = dataclasses.replace(larger, config={"optim": {"epochs": 9}})
    with pytest.raises(RecordError, match=r"optim\.epochs: 2 -> 9 .*choose another --name"):
        folder.open(longer)
    assert plan(folder.read_study()) == plan(larger)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RecordError, match="not empty and holds no study"):
        StudyFolder(tmp_path).open(studies.study())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_record_of_another_config_is_refused(tmp_path: Path) -> None:
    folder = studies.write(tmp_path / "s", studies.study(), {RING.name: 0.5})
    other = plan(studies.study(config={"optim": {"learning_rate": 0.07}}))
    with pytest.raises(RecordError, match=r"ring-digits-seed1\.json was made with another config"):
        folder.read(other)


def test_a_renamed_record_is_refused(tmp_path: Path) -> None:
    folder = studies.write(tmp_path / "s", studies.study(), {RING.name: 0.5})
    folder.record_file(RING).rename(folder.record_file(dataclasses.replace(RING, seed=2)))
    with pytest.raises(RecordError, match=r"seed2\.json is the record of Cell.*seed=1"):
        folder.read(plan(studies.study()))


@pytest.mark.parametrize("text", ["", "{}", '{"cell": 3}', "[1]"])
def test_a_damaged_record_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    folder = studies.write(tmp_path / "s", studies.study(), {RING.name: 0.5})
    folder.record_file(RING).write_text(text)
    with pytest.raises(RecordError, match=r"cnn-ring-digits-seed1\.json.* is no record of a run"):
        folder.read(plan(studies.study()))


def test_a_write_that_was_cut_off_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = studies.study()
    folder = StudyFolder(tmp_path / "s")
    folder.open(grid)
    with monkeypatch.context() as patch:

        def cut(fd: int) -> None:
            raise KeyboardInterrupt

        patch.setattr(os, "fsync", cut)
        with pytest.raises(KeyboardInterrupt):
            folder.write(studies.record(grid, RING, 0.9, 0.8))
    assert folder.read(plan(grid)) == {}
    folder.write(studies.record(grid, RING, 0.9, 0.8))
    assert [p.name for p in (tmp_path / "s" / "records").iterdir()] == [f"{RING.name}.json"]
