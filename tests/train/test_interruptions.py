"""A run that is stopped, damaged or refused at any moment: nothing lost, nothing silently wrong."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import assert_same, configure
from physjax import data, files, runtime
from physjax.cli.common import exit_code
from physjax.errors import Interrupted, NotFinite
from physjax.records import RunFolder
from physjax.train.callbacks import Callback, Phase
from physjax.train.checkpoint_errors import CheckpointError
from physjax.train.loop import fit
from physjax.train.trainer import Trainer

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of two epochs, with checkpoints at steps 10 and 20."""
    folder = tmp_path_factory.mktemp("whole")
    fit(configure(folder))
    return folder / "run"


@pytest.fixture
def unfinished(whole: Path, tmp_path: Path) -> RunFolder:
    """A copy of it, killed just before its result was written."""
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    return RunFolder(tmp_path / "run")


def rewrite(folder: RunFolder, change: Callable[[list[str]], list[str]]) -> None:
    path = folder.path / "metrics.jsonl"
    lines = change(path.read_text(encoding="utf-8").splitlines())
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0].replace('"test_loss": 2', '"test_loss": 3'), lines[1]],
    ],
    ids=["first line lost", "another value"],
)
def test_metrics_that_do_not_fit_the_checkpoint_are_made_again(
    whole: Path,
    unfinished: RunFolder,
    change: Callable[[list[str]], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The checkpoint of step 20 was saved after the first line; that of step 10 needs none."""
    before = unfinished.read_lines()
    rewrite(unfinished, change)
    assert unfinished.read_lines() != before
    fit(configure(unfinished.path.parent))
    assert "checkpoint of step 20 cannot be used" in caplog.text
    assert_same(unfinished.path, whole)


def test_metrics_that_fit_no_checkpoint_are_refused(unfinished: RunFolder) -> None:
    shutil.rmtree(unfinished.checkpoints / "10")
    rewrite(unfinished, lambda lines: lines[1:])
    with pytest.raises(CheckpointError, match=r"has 0 sound lines, and 1 belong.*put back a copy"):
        fit(configure(unfinished.path.parent))
    assert (unfinished.checkpoints / "20").exists()


def test_a_cut_last_line_is_measured_again(whole: Path, unfinished: RunFolder) -> None:
    rewrite(unfinished, lambda lines: [lines[0], lines[1][:30]])
    fit(configure(unfinished.path.parent))
    assert_same(unfinished.path, whole)


def test_a_run_whose_checkpoints_are_gone_says_that_it_begins_anew(
    whole: Path, unfinished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(unfinished.checkpoints)
    fit(configure(unfinished.path.parent))
    assert "the run begins anew" in capsys.readouterr().out
    assert_same(unfinished.path, whole)


def kill_before(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int = signal.SIGTERM
) -> None:
    """Send this process a signal the first time that something is called."""
    call, sent = getattr(owner, name), []

    def first(*arguments: Any, **options: Any) -> Any:
        if not sent:
            sent.append(True)
            os.kill(os.getpid(), number)
        return call(*arguments, **options)

    monkeypatch.setattr(owner, name, first)


class HangUp(Callback):
    """Sends this process SIGHUP when something begins."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase

    def on_phase(self, trainer: Trainer, phase: Phase) -> None:
        if phase == self._phase:
            os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("phase", ["restoring", "compiling"])
def test_a_signal_before_the_first_step_is_heard(tmp_path: Path, phase: Phase) -> None:
    with pytest.raises(Interrupted, match=r"stopped by SIGHUP at step 0") as stop:
        fit(configure(tmp_path), callbacks=[HangUp(phase)])
    assert stop.value.exit_code == 128 + signal.SIGHUP
    assert RunFolder(tmp_path / "run").read_lines() == ()


def test_a_signal_after_the_last_epoch_is_not_swallowed(
    whole: Path, unfinished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is complete; the signal ends what would come next, such as the rest of a study."""
    config = configure(unfinished.path.parent)
    with monkeypatch.context() as patch:
        kill_before(patch, RunFolder, "write_result")
        with pytest.raises(Interrupted, match="when the run had ended"):
            fit(config)
    assert fit(config).result is not None
    with monkeypatch.context() as patch:
        kill_before(patch, data, "load")
        with pytest.raises(Interrupted, match="when the run had ended"):
            fit(config)
    assert_same(unfinished.path, whole)


def test_a_loss_that_is_not_finite_in_evaluation_alone(tmp_path: Path) -> None:
    """The only step's loss is finite; the parameters after it are not worth evaluating."""
    config = configure(
        tmp_path,
        optim={"learning_rate": 1e20, "warmup": 0.0, "epochs": 1, "batch_size": 200},
        model={"norm": "none"},
    )
    with pytest.raises(NotFinite, match=r"the test loss is not finite at step 1;") as error:
        fit(config)
    assert error.value.step == 1
    assert exit_code(lambda: fit(config)) == 1  # type: ignore[arg-type,return-value]


def test_the_second_process_is_refused(whole: Path, unfinished: RunFolder) -> None:
    with (
        unfinished.locked(),
        pytest.raises(files.Locked, match=rf"being worked on by process {os.getpid()} on"),
    ):
        fit(configure(unfinished.path.parent))
    assert not (unfinished.path / "result.json").exists()


@pytest.mark.parametrize("name", ["lr[0.1]", "a\\b"])
def test_a_path_whose_checkpoints_could_not_be_read_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The schema refuses such names; the folder that the command is given in may have one."""
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(CheckpointError, match="could not be read again"):
        fit(configure(Path("runs")))
    assert list((tmp_path / name).iterdir()) == []


def test_a_package_without_metadata_costs_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain checkout on PYTHONPATH."""
    monkeypatch.setattr(runtime, "_PACKAGES", ("no-such-package", "numpy"))
    found = runtime.versions()
    assert found["no-such-package"] == "unknown"
    assert found["numpy"][0].isdigit()
