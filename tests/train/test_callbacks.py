"""Callbacks: when each moment comes, what they add to the records, and what their errors leave."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from helpers.runs import assert_same, configure, without_times
from physjax import data
from physjax.errors import NotFinite
from physjax.records import EpochRecord, Result, RunFolder
from physjax.report.run import report_run
from physjax.train.callbacks import Callback, Phase
from physjax.train.loop import fit
from physjax.train.predict import Evaluation
from physjax.train.profile import Profile
from physjax.train.state import Metrics
from physjax.train.trainer import Trainer

pytestmark = pytest.mark.quick_compile

PARTS = {
    "data": {"holdout": 0.2, "test_examples": 100},
    "optim": {"epochs": 3},
    "run": {"evaluate_every": 2},
}


class Recorder(Callback):
    """Writes down every moment."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.result: Result | None = None

    def on_phase(self, trainer: Trainer, phase: Phase) -> None:
        self.seen.append(phase)

    def on_start(self, trainer: Trainer) -> None:
        assert trainer.compile_seconds > 0
        self.seen.append(f"start at {trainer.step}")

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        assert metrics.count == 20 * (trainer.step - 10 * trainer.epoch)
        if trainer.step % 10 == 0:
            self.seen.append(f"step {trainer.step}")

    def layer_metrics(
        self, trainer: Trainer, evaluation: Evaluation
    ) -> dict[str, dict[str, float]]:
        norm = np.linalg.norm(trainer.state.params["conv1"]["kernel"])
        return {"conv1": {"kernel_norm": norm}}

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        assert trainer.epochs[-1] == record
        self.seen.append(f"epoch {record.epoch}")

    def on_end(self, trainer: Trainer, result: Result) -> None:
        assert trainer.folder.read_result() == result
        self.result = result

    def close(self) -> None:
        self.seen.append("close")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    """A run whose test images are evaluated after the second and the last of three epochs."""
    folder, recorder = tmp_path_factory.mktemp("whole"), Recorder()
    record = fit(configure(folder, **PARTS), callbacks=[recorder])
    assert record.result == recorder.result
    return folder / "run", recorder


def test_each_moment_comes_in_its_order(whole: tuple[Path, Recorder]) -> None:
    epochs = [
        ["training", f"step {10 * epoch}", "saving", *["evaluating"] * evaluated, f"epoch {epoch}"]
        # The held-out images every time, for they select.
        for epoch, evaluated in ((1, 1), (2, 2), (3, 2))
    ]
    assert whole[1].seen == [
        "restoring",
        "compiling",
        "start at 0",
        *(moment for epoch in epochs for moment in epoch),
        "saving",
        "close",
    ]


def test_epochs_without_an_evaluation_have_no_test_values(whole: tuple[Path, Recorder]) -> None:
    record = RunFolder(whole[0]).read()
    first, *others = record.epochs
    assert (first.test_loss, first.test_accuracy, first.physics) == (None, None, {})
    assert first.validation_accuracy is not None
    assert record.result is not None
    assert record.result.data.examples == {"train": 200, "test": 100, "validation": 288}
    assert np.sum(record.result.confusion) == 100
    assert np.sum(record.result.confusion, 1).tolist() == [10] * 10
    accuracies = [e.test_accuracy for e in others]
    assert record.result.test_accuracy == accuracies[-1]
    assert record.result.best_test_accuracy == max(a for a in accuracies if a is not None)
    for epoch in others:
        assert set(epoch.physics["conv1"]) == {"strength", "force_rms", "kernel_norm"}
        assert epoch.physics["conv1"]["kernel_norm"] > 0


def test_figures_of_a_run_with_epochs_left_out(whole: tuple[Path, Recorder]) -> None:
    names = {path.name for path in report_run(whole[0])}
    assert {"loss.png", "accuracy.png", "confusion.png", "physics.png"} <= names


def test_how_often_is_evaluated_changes_no_step(
    whole: tuple[Path, Recorder], tmp_path: Path
) -> None:
    """And a run may go on with another frequency."""
    fit(configure(tmp_path, **{**PARTS, "run": {}}))
    evaluated, left_out = (RunFolder(path).read().epochs for path in (tmp_path / "run", whole[0]))
    assert all(e.test_accuracy is not None for e in evaluated)
    assert without_times(evaluated)[1].test_loss == left_out[1].test_loss
    assert evaluated[0].train_loss == left_out[0].train_loss


class Fails(Callback):
    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        if record.epoch == 2:
            raise ZeroDivisionError("mine")


def test_a_callback_that_fails_leaves_a_run_that_can_go_on(
    whole: tuple[Path, Recorder], tmp_path: Path
) -> None:
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError, match="mine"):
        fit(configure(tmp_path, **PARTS), callbacks=[Fails(), recorder])
    assert recorder.seen[-1] == "close"
    assert fit(configure(tmp_path, **PARTS), callbacks=[recorder]).result is not None
    assert "start at 20" in recorder.seen
    assert_same(tmp_path / "run", whole[0])


class Infinite(Callback):
    def layer_metrics(
        self, trainer: Trainer, evaluation: Evaluation
    ) -> dict[str, dict[str, float]]:
        return {"conv2": {"mine": math.inf}}


def test_a_metric_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match="mine of conv2 is not finite at step 10"):
        fit(configure(tmp_path), callbacks=[Infinite()])


def test_arrays_of_ones_own_are_trained_on(tmp_path: Path) -> None:
    digits = data.load(configure(tmp_path).data)
    mine = data.from_arrays(
        digits.train.images,
        digits.train.labels,
        digits.test.images,
        digits.test.labels,
        [f"number {i}" for i in range(10)],
        name="mine",
    )
    config = configure(tmp_path, data={"train_examples": 200, "test_examples": 50})
    record = fit(config, dataset=mine)
    assert record.config.data.dataset == "mine"
    assert record.result is not None
    assert record.result.data.examples == {"train": 200, "test": 50}
    assert record.result.data.class_names[3] == "number 3"


def test_a_profile_is_a_trace_of_a_few_steps_that_perfetto_opens(tmp_path: Path) -> None:
    """As many as were asked for, not the whole training."""
    profile = Profile(steps=4, skip=2)
    fit(configure(tmp_path), callbacks=[profile])
    assert profile.trace is not None
    assert (tmp_path / "run" / "profile") in profile.trace.parents
    with gzip.open(profile.trace, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    executed = [e["args"] for e in events if "hlo_op" in e.get("args", {})]
    # Each execution of a program has an id.
    assert len({e["run_id"] for e in executed if "gathered_step" in e["hlo_module"]}) == 4
    assert profile.interval == Callback.interval


def test_a_profile_of_a_run_that_is_too_short_ends_with_it(tmp_path: Path) -> None:
    profile = Profile(steps=1000, skip=0)
    fit(configure(tmp_path), callbacks=[profile])
    assert profile.trace is not None
    assert profile.trace.stat().st_size > 1000
