"""fit: from config to record, stopped and resumed anywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from helpers.runs import configure, parameters, without_times
from physjax.config import Config, ConfigError, run_name, to_dict
from physjax.errors import Interrupted, NotFinite
from physjax.records import RecordError, RunFolder, RunRecord
from physjax.train.callbacks import Callback, Phase
from physjax.train.loop import fit
from physjax.train.state import Metrics
from physjax.train.trainer import Trainer

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder / "run", fit(configure(folder))


def test_record_of_a_run(whole: tuple[Path, RunRecord]) -> None:
    folder, record = whole
    result = record.result
    assert result is not None
    assert [e.step for e in record.epochs] == [10, 20]
    assert result.test_accuracy == record.epochs[-1].test_accuracy
    assert result.best_test_accuracy == max(e.test_accuracy for e in record.epochs)
    assert np.sum(result.confusion) == 360
    assert np.trace(result.confusion) / 360 == result.test_accuracy
    assert result.data.examples == {"train": 200, "test": 360}
    assert len(result.data.fingerprint) == 64
    assert result.versions["jax"] == jax.__version__
    assert result.device.platform == "cpu"
    assert set(record.epochs[0].physics) == {"conv1", "conv2", "conv3"}
    for layer in record.epochs[-1].physics.values():
        assert layer["force_rms"] > 0
        assert layer["strength"] != 2.8
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "origin.json",
        "metrics.jsonl",
        "result.json",
        "ledger.json",
        "checkpoints",
        ".lock",
    }


def test_the_same_command_again_returns_the_record(whole: tuple[Path, RunRecord]) -> None:
    folder, record = whole
    before = (folder / "result.json").stat().st_mtime_ns
    assert fit(configure(folder.parent)) == record
    assert (folder / "result.json").stat().st_mtime_ns == before


def test_another_config_is_refused_and_nothing_changes(whole: tuple[Path, RunRecord]) -> None:
    folder, record = whole
    with pytest.raises(RecordError, match=r"optim\.learning_rate: 0\.05 -> 0\.06.*--name"):
        fit(configure(folder.parent, optim={"learning_rate": 0.06}))
    assert RunFolder(folder).read() == record


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(RecordError, match="not empty and holds no run"):
        fit(configure(tmp_path))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


COMMAND = """
import sys
from physjax.cli.common import exit_code
from physjax.config import from_dict
from physjax.train.loop import fit
import json, jax
sys.exit(exit_code(lambda: fit(from_dict(json.loads(sys.argv[1])))))
"""


def start(config: Config) -> subprocess.Popen[str]:
    values = json.dumps(to_dict(config))
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, values],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(condition: Any, process: subprocess.Popen[str]) -> None:
    while not condition():
        if process.poll() is not None:
            assert process.stdout is not None
            pytest.fail(f"the run ended by itself:\n{process.stdout.read()}")
        time.sleep(0.02)


def long(folder: Path, **run: Any) -> Config:
    """Many short epochs, so that a signal finds the run in the middle of one."""
    return configure(folder, optim={"epochs": 12}, run={"checkpoint_minutes": 1e-4, **run})


@pytest.fixture(scope="module")
def long_whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    fit(long(folder))
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)],
)
def test_a_killed_run_goes_on_to_the_same_end_bit_for_bit(
    long_whole: Path, tmp_path: Path, number: int
) -> None:
    process = start(long(tmp_path))
    metrics = tmp_path / "run" / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2, process)
    process.send_signal(number)
    output, _ = process.communicate()
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        assert f"stopped by {signal.Signals(number).name} at step" in output
    assert not (tmp_path / "run" / "result.json").exists()

    resumed = fit(long(tmp_path))
    reference = RunFolder(long_whole).read()
    assert without_times(resumed.epochs) == without_times(reference.epochs)
    a, b = (parameters(run / "checkpoints") for run in (long_whole, tmp_path / "run"))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class StopAt(Callback):
    """Sends this process SIGTERM at a step of training, or in the evaluation that follows it."""

    interval = 0.0

    def __init__(self, step: int, phase: str) -> None:
        self._step, self._phase = step, phase
        self.seen: list[int] = []

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        self.seen.append(trainer.step)
        if self._phase == "training" and trainer.step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_phase(self, trainer: Trainer, phase: Phase) -> None:
        if phase == self._phase == "evaluating" and trainer.step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_stopping_between_any_two_steps_resumes_bit_for_bit(
    whole: tuple[Path, RunRecord], tmp_path: Path
) -> None:
    """A signal in the middle of the second epoch, and one while it is evaluated."""
    config = configure(tmp_path)
    for step, phase, first in ((14, "training", 1), (20, "evaluating", 15)):
        callback = StopAt(step, phase)
        with pytest.raises(Interrupted, match=f"at step {step};") as stop:
            fit(config, callbacks=[callback])
        assert stop.value.exit_code == 143
        # Every step once, and an epoch's last one again at its end.
        assert sorted(set(callback.seen)) == list(range(first, step + 1))
    record = fit(config)
    folder, reference = whole
    assert without_times(record.epochs) == without_times(reference.epochs)
    a = parameters(folder / "checkpoints")
    b = parameters(tmp_path / "run" / "checkpoints")
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    whole: tuple[Path, RunRecord], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, reference = whole
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    newest = tmp_path / "run" / "checkpoints" / "20"
    for path in newest.rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(b"x" * 100)
    record = fit(configure(tmp_path))
    assert "step 20 cannot be used" in caplog.text
    assert without_times(record.epochs) == without_times(reference.epochs)
    b = parameters(tmp_path / "run" / "checkpoints")
    a = parameters(folder / "checkpoints")
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    config = configure(
        tmp_path,
        optim={"learning_rate": 1e20, "warmup": 0.0, "epochs": 3},
        model={"norm": "none"},
    )
    with pytest.raises(NotFinite, match=r"not finite at step \d+;.*checkpoints"):
        fit(config)
    assert not (tmp_path / "run" / "result.json").exists()
    saved = [p for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit()]
    assert saved == []


def test_holdout_gives_a_validation_curve_and_decides_what_is_best(tmp_path: Path) -> None:
    record = fit(configure(tmp_path, data={"holdout": 0.2}, run={"eval_batch_size": 64}))
    assert all(e.validation_accuracy is not None for e in record.epochs)
    assert record.result is not None
    assert record.result.selection_criterion == "validation accuracy"
    assert record.result.data.examples == {"train": 200, "test": 360, "validation": 288}


def test_a_run_resumed_after_its_only_epoch_was_trained_has_no_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed between the save and the evaluation: no step is left to time, and 0 says so."""
    config = configure(tmp_path, optim={"epochs": 1})
    whole = fit(config)
    (tmp_path / "run" / "result.json").unlink()
    RunFolder(tmp_path / "run").keep_lines(())
    capsys.readouterr()
    resumed = fit(config)
    assert re.search(r"^epoch 1/1  train \S+ \S+  test \S+ \S+$", capsys.readouterr().out, re.M)
    assert resumed.result is not None
    assert whole.result is not None
    assert resumed.result.images_per_second == 0
    assert whole.result.images_per_second > 0
    assert resumed.result.test_accuracy == whole.result.test_accuracy


def test_two_devices_give_the_same_run(tmp_path: Path) -> None:
    # Two steps: the rounding of sums in another order grows with each, and may move a tie.
    parts: dict[str, Any] = {
        "model": {"dropout": 0.2},
        "optim": {"batch_size": 100, "epochs": 1},
    }
    one = fit(configure(tmp_path / "one", **parts))
    two = fit(configure(tmp_path / "two", **parts, run={"devices": 2}))
    assert one.epochs[0].step == 2
    assert one.epochs[0].train_loss == pytest.approx(two.epochs[0].train_loss, rel=1e-3)
    assert two.result is not None
    assert two.result.device.count == 2


def test_more_devices_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"devices is 9, but this host has 8"):
        fit(configure(tmp_path, run={"devices": 9}))
    assert not (tmp_path / "run").exists()


def test_automatic_names_differ_where_configs_do(tmp_path: Path) -> None:
    one = configure(tmp_path, run={"name": None})
    two = configure(tmp_path, run={"name": None}, optim={"learning_rate": 0.2})
    elsewhere = configure(tmp_path / "x", run={"name": None, "devices": 4})
    assert run_name(one) != run_name(two)
    assert run_name(one) == run_name(elsewhere)
    assert run_name(one).startswith("cnn-ring-digits-smoke-seed0-")
    assert os.sep not in run_name(one)


def test_an_unknown_model_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model 'lenet'; there are cnn, alexnet"):
        fit(configure(tmp_path, model={"name": "lenet"}))
    assert list(tmp_path.iterdir()) == []
