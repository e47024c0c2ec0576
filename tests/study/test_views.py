"""A study's runs over several views of each test image: recorded once, at a run's end."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import physjax
from helpers import studies
from physjax import data
from physjax.config import ConfigError
from physjax.data import DATASETS
from physjax.report.study import report_study
from physjax.study import runner, views
from physjax.study.design import Cell, Study, plan
from physjax.study.files import read_toml, to_toml
from physjax.study.folder import StudyFolder
from physjax.study.paths import Paths
from physjax.study.runner import run_study
from physjax.study.status import validate

pytestmark = pytest.mark.quick_compile

RING = Cell("cnn", "ring", "digits", 0)


def grid(**changes: Any) -> Study:
    """One run of the smallest network, 3 steps an epoch."""
    config = {
        "model": {"width": 0.1},
        "data": {"train_examples": 60},
        "optim": {"batch_size": 20, "epochs": 1},
    }
    return studies.study(
        **{"laws": ("ring",), "seeds": (0,), "tta": "mirror+shift", "config": config, **changes}
    )


@pytest.fixture(autouse=True)
def digits_that_may_be_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set that is always at hand may be; for the arithmetic any images do."""
    spec = dataclasses.replace(DATASETS["digits"], mirror=True)
    monkeypatch.setitem(DATASETS, "digits", spec)


def test_the_final_parameters_are_evaluated_over_the_views_and_that_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = Paths(tmp_path / "results", tmp_path / "runs", devices=1)
    # A study that named no views first: what has ended is evaluated, and not trained again.
    plain = run_study("s", grid(tta=None), paths)[RING]
    assert plain.test_accuracy_tta == {}
    assert "tta" not in StudyFolder(tmp_path / "results" / "s").record_file(RING).read_text()
    with monkeypatch.context() as patch:
        patch.setattr(runner, "fit", None)
        (record,) = run_study("s", grid(), paths).values()
    run = physjax.load_run(tmp_path / "runs" / "s" / RING.name)
    test = data.load(plan(grid())[RING].data).test
    guesses = run.predict(test.images, tta="mirror+shift").argmax(1)
    assert record.test_accuracy_tta == {"mirror+shift": float(np.mean(guesses == test.labels))}
    assert dataclasses.replace(record, test_accuracy_tta={}) == plain
    # As a run that ends under a study with views gets it at once.
    (at_once,) = run_study("t", grid(), paths).values()
    assert at_once.test_accuracy_tta == record.test_accuracy_tta
    assert StudyFolder(tmp_path / "results" / "t").read(plan(grid())) == {RING: at_once}
    report_study(tmp_path / "results" / "s")
    table = (tmp_path / "results" / "s" / "tables.md").read_text(encoding="utf-8")
    assert f"{100 * record.test_accuracy_tta['mirror+shift']:.2f}" in table
    assert "over the views `mirror+shift`" in table.replace("\n", " ")
    # Of other views there is nothing, and without the run's folder there will not be.
    shutil.rmtree(tmp_path / "runs" / "s")
    (kept,) = run_study("s", grid(tta="mirror"), paths).values()
    assert kept == record
    assert "cnn-ring-digits-seed0 has no accuracy over the views 'mirror'" in (
        capsys.readouterr().out.replace("\n", " ")
    )
    report_study(tmp_path / "results" / "s")
    assert "TTA" not in (tmp_path / "results" / "s" / "tables.md").read_text(encoding="utf-8")


def test_a_folder_of_another_run_is_not_evaluated_in_its_place(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "results", tmp_path / "runs", devices=1)
    (record,) = run_study("s", grid(tta=None), paths).values()
    other = dataclasses.replace(record, epochs=(dataclasses.replace(record.epochs[0], step=1),))
    with pytest.raises(physjax.UserError, match="holds another run than the study's record"):
        views.with_views(grid(), other, paths.localize(record.config, "s"))


def test_views_that_change_the_class_are_refused_before_anything_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    validate(grid())
    spec = dataclasses.replace(DATASETS["digits"], mirror=False)
    monkeypatch.setitem(DATASETS, "digits", spec)
    with pytest.raises(ConfigError, match=r"^tta is 'mirror\+shift', but .* shows no such"):
        validate(grid())
    validate(grid(tta=None))


def test_views_are_part_of_the_grids_file(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text(to_toml(grid()), encoding="utf-8")
    assert read_toml(path) == grid()
    assert "tta" not in to_toml(grid(tta=None))
    path.write_text(path.read_text().replace("mirror+shift", "rotate"), encoding="utf-8")
    with pytest.raises(ConfigError, match="tta"):
        read_toml(path)
