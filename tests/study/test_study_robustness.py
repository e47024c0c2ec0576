"""A study's runs under corruptions: evaluated once, kept beside the records, compared in pairs."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import studies
from physjax.config import ConfigError
from physjax.errors import Interrupted
from physjax.evaluate.record import CorruptionMetrics, RobustnessRecord, read_robustness
from physjax.records import RecordError
from physjax.report.study import report_study
from physjax.study import ended, runner
from physjax.study.design import Cell, Study, plan
from physjax.study.files import from_options, read_toml, to_toml
from physjax.study.folder import StudyFolder
from physjax.study.paths import Paths
from physjax.study.robustness import (
    read_robustness_of,
    robustness_file,
    write_robustness_of,
)
from physjax.study.runner import run_study
from physjax.study.status import validate
from physjax.train.metrics import ClassificationMetrics

pytestmark = pytest.mark.quick_compile

TWO = ("blur", "shift")


def grid(**changes: Any) -> Study:
    """Two runs of the smallest network, 3 steps an epoch."""
    config = {
        "model": {"width": 0.1},
        "data": {"train_examples": 60, "test_examples": 50},
        "optim": {"batch_size": 20, "epochs": 1},
    }
    return studies.study(**{"seeds": (0,), "config": config, **changes})


def test_runs_are_evaluated_once_and_that_survives_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = Paths(tmp_path / "results", tmp_path / "runs", devices=1)
    folder = StudyFolder(tmp_path / "results" / "s")
    plain = run_study("s", grid(), paths)
    assert not (folder.path / "robustness").exists()
    # Asked for later: nothing is trained again, and a signal between two severities loses one run.
    evaluations = []
    real = ended.evaluate_corruptions

    def counted(study: Study, record: Any, *rest: Any, **more: Any) -> None:
        evaluations.append(record.cell.arm)
        real(study, record, *rest, **more)

    monkeypatch.setattr(ended, "evaluate_corruptions", counted)
    monkeypatch.setattr(runner, "fit", None)
    asked = grid(corruptions=TWO)
    with monkeypatch.context() as patch:
        calls: list[int] = []

        def stop(work: Any) -> None:
            calls.append(1)
            if len(calls) == 15:
                raise Interrupted(15, work.folder.path, "")

        patch.setattr(runner._Work, "_stop_evaluating", stop)
        with pytest.raises(Interrupted):
            run_study("s", asked, paths)
    done = {path.stem for path in (folder.path / "robustness").iterdir()}
    assert (done, evaluations) == ({"cnn-none-digits-seed0"}, ["none", "ring"])
    assert run_study("s", asked, paths) == plain
    assert evaluations == ["none", "ring", "ring"]
    found = read_robustness_of(folder, plain.values())
    assert {cell.arm: list(r.corruptions) for cell, r in found.items()} == {
        "none": ["blur", "shift"],
        "ring": ["blur", "shift"],
    }
    ring = Cell("cnn", "ring", "digits", 0)
    run = tmp_path / "runs" / "s" / ring.name
    assert read_robustness(run) == found[ring]
    assert found[ring].clean.accuracy == plain[ring].result.test_accuracy  # type: ignore[union-attr]
    # Without the folders of the runs all of it is still there, and one corruption more is not.
    shutil.rmtree(tmp_path / "runs" / "s")
    run_study("s", asked, paths)
    assert evaluations == ["none", "ring", "ring"]
    capsys.readouterr()
    assert run_study("s", grid(corruptions=(*TWO, "jpeg")), paths) == plain
    assert "cnn-ring-digits-seed0 has no accuracy under corruptions: " in (
        capsys.readouterr().out.replace("\n", " ")
    )
    assert read_robustness_of(folder, plain.values()) == found
    # Another training of the same name is not what was evaluated.
    other = dataclasses.replace(plain[ring], epochs=plain[ring].epochs * 2)
    assert read_robustness_of(folder, [other]) == {}
    robustness_file(folder, ring).write_text("{}", encoding="utf-8")
    with pytest.raises(RecordError, match=r"is no evaluation of a run \(.*remove it"):
        read_robustness_of(folder, plain.values())


def write(folder: StudyFolder, study: Study, arm: str, seed: int, error: float, ece: float) -> None:
    """An evaluation with these figures under each of two corruptions."""
    cell = Cell("cnn", arm, "digits", seed)
    record = folder.read(plan(study))[cell]
    steps = [CorruptionMetrics(s, 1.0, 1 - error, 1.0, ece) for s in (1, 2, 3, 4, 5)]
    clean = ClassificationMetrics(0.9, 1.0, ece / 2, [1.0, 1.0], [[1, 0], [0, 1]], [], [], [])
    found = RobustnessRecord(
        tta="none",
        folded=True,
        examples=360,
        class_names=["0", "1"],
        clean=clean,
        quantities={},
        corruptions=dict.fromkeys(TWO, steps),
    )
    write_robustness_of(folder, record, found)


def test_arms_are_compared_with_their_control_pair_by_pair(tmp_path: Path) -> None:
    study = studies.study(corruptions=TWO)
    names = [cell.name for cell in plan(study)]
    folder = studies.write(tmp_path / "s", study, dict.fromkeys(names, 0.8))
    assert tmp_path / "s" / "robustness.csv" not in report_study(tmp_path / "s")
    assert "corruption_error" not in (tmp_path / "s" / "runs.csv").read_text(encoding="utf-8")
    errors = {"none": (0.30, 0.32, 0.35), "ring": (0.29, 0.30, 0.35)}
    for arm, values in errors.items():
        for seed, error in enumerate(values):
            if (arm, seed) != ("ring", 2):
                write(folder, study, arm, seed, error, error / 10)
    assert tmp_path / "s" / "robustness.csv" in report_study(tmp_path / "s")
    with (tmp_path / "s" / "robustness.csv").open(encoding="utf-8") as file:
        lines = {line["measure"]: line for line in csv.DictReader(file)}
    assert list(lines) == [
        "mean corruption error",
        "calibration error, clean",
        "calibration error, corrupted",
        "error, blur",
        "error, shift",
    ]
    line = lines["mean corruption error"]
    differences = np.array([-0.01, -0.02])
    assert (line["arm"], line["control"], line["n"]) == ("ring", "none", "2")
    assert float(line["difference"]) == pytest.approx(differences.mean())
    half = 12.706 * differences.std(ddof=1) / np.sqrt(2)
    assert float(line["t_low"]) == pytest.approx(differences.mean() - half, rel=1e-3)
    assert float(lines["calibration error, clean"]["difference"]) == pytest.approx(-0.015 / 20)
    text = " ".join((tmp_path / "s" / "tables.md").read_text(encoding="utf-8").split())
    assert "## Robustness and calibration, paired by seed" in text
    assert "| ring − none | mean corruption error | 2 | 31.00 | 29.50 | −1.50 ± 0.71 |" in text
    with (tmp_path / "s" / "runs.csv").open(encoding="utf-8") as file:
        runs = {(line["arm"], line["seed"]): line for line in csv.DictReader(file)}
    assert float(runs["none", "2"]["corruption_error"]) == pytest.approx(0.35)
    assert runs["ring", "2"]["corruption_error"] == ""


def test_corruptions_are_part_of_the_grids_file_and_must_exist(tmp_path: Path) -> None:
    study = grid(corruptions=("gaussian noise", "jpeg"))
    path = tmp_path / "g.toml"
    path.write_text(to_toml(study), encoding="utf-8")
    assert read_toml(path) == study
    assert "corruptions" not in to_toml(grid())
    validate(study)
    with pytest.raises(ConfigError, match="there is no corruption 'fog'"):
        validate(grid(corruptions=("fog",)))
    with pytest.raises(ConfigError, match="corruptions names one twice"):
        validate(grid(corruptions=("blur", "blur")))
    made = from_options(["cnn"], ["none"], ["digits"], 1, "smoke", corruptions=["blur"])
    assert made.corruptions == ("blur",)
