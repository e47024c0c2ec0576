"""A run under a time limit: it has saved and ended before the limit, and goes on afterwards."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.limits import Clock, UpAt
from helpers.runs import assert_same, configure
from physjax import runtime
from physjax.errors import REQUEUE, TIME_LIMIT, Interrupted, UserError
from physjax.records import RunFolder
from physjax.train.callbacks import Callback
from physjax.train.compiled import CompiledSteps
from physjax.train.loop import fit
from physjax.train.state import Metrics
from physjax.train.time_limit import TimeLimit, command_limit, parse_duration
from physjax.train.trainer import Trainer

pytestmark = pytest.mark.quick_compile

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5400", 5400),
        ("45s", 45),
        ("90m", 5400),
        ("1h30m", 5400),
        ("1h5", 3605),
        ("2d", 172_800),
        ("2:30:00", 9000),
        ("0:00:05", 5),
        ("1-12:00:00", 129_600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2:30", "1:2:3", "1:60:00", "-5", "1.5h", "m", "soon", "90 m", "٣", "0", "367d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="duration"):
        parse_duration(text)


def test_what_is_kept_follows_from_what_was_measured() -> None:
    clock = Clock()
    limit = TimeLimit(100, clock=clock)
    assert (limit.left, limit.kept, limit.cause()) == (100, 5, 0)
    assert limit.unmeasured
    waited: list[bool] = []

    def write(seconds: float) -> bool:
        clock.now += seconds
        return True

    limit.save(lambda: False, lambda: waited.append(True))
    assert (waited, limit.unmeasured, limit.progress) == ([], True, False)
    limit.save(lambda: write(3), lambda: waited.append(write(4)))
    limit.save(lambda: write(1), lambda: waited.append(True))
    # What saving takes is no time without a look.
    limit.look()
    assert (waited, limit.kept, limit.unmeasured) == ([True], 2 * 7 + 5, False)
    clock.now += 10
    limit.look()
    clock.now += 1
    limit.look()
    assert (limit.kept, limit.left) == (2 * 7 + 2 * 10 + 5, 81)
    limit.begin()
    clock.now += 41.9
    assert limit.cause() == 0
    clock.now += 0.2
    assert limit.cause() == TIME_LIMIT
    limit.check_progress()


def test_without_a_limit_nothing_is_kept_or_waited_for() -> None:
    clock = Clock()
    limit = TimeLimit(clock=clock)
    limit.save(lambda: True, lambda: pytest.fail("waited"))
    clock.now += 1e9
    limit.look()
    assert (limit.cause(), limit.unmeasured) == (0, False)


def test_a_limit_counts_from_the_start_of_the_process() -> None:
    """Python's own start, and the imports before the option is read, are in it."""
    limit = command_limit("1h")
    assert 0 < limit.left < 3600 - time.process_time() / os.cpu_count()  # type: ignore[operator]
    with pytest.raises(UserError, match=r"^--time-limit: '2:30' is no duration; give seconds, or"):
        command_limit("2:30")


def test_a_run_stops_at_its_limit_and_ends_as_one_without(tmp_path: Path) -> None:
    fit(configure(tmp_path / "whole"))
    config, limit = configure(tmp_path), TimeLimit(1e6)
    with pytest.raises(Interrupted, match=r"stopped by the time limit at step 13; the same") as end:
        fit(config, time_limit=limit, callbacks=[UpAt(limit, 13)])
    assert end.value.exit_code == REQUEUE == 143
    folder = RunFolder.of(config)
    # The first look at the clock saves, so that it is known what that costs.
    assert not limit.unmeasured
    assert sorted(int(p.name) for p in folder.checkpoints.iterdir()) == [10, 13]
    fit(config, time_limit=TimeLimit(1e6))
    assert_same(folder.path, tmp_path / "whole" / "run")


def test_a_limit_that_leaves_no_time_for_a_step_is_an_error_and_no_loop(tmp_path: Path) -> None:
    config = configure(tmp_path)
    with pytest.raises(UserError, match=r"limit of 1 s came before a step was saved: after "):
        fit(config, time_limit=TimeLimit(1))
    limit = TimeLimit(1e6)
    with pytest.raises(Interrupted):
        fit(config, time_limit=limit, callbacks=[UpAt(limit, 3)])
    # Nor is what an earlier session saved.
    with pytest.raises(UserError, match="came before a step was saved"):
        fit(config, time_limit=TimeLimit(1))
    assert fit(dataclasses.replace(config), time_limit=TimeLimit(1e6)).result is not None


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    options = ("--recipe=smoke", "--dataset=digits", "--model=cnn", "--width=0.1", "--devices=1")
    more = ("--epochs=100000", "--batch-size=20", "--name=run", f"--runs-dir={folder}")
    return subprocess.Popen(
        [sys.executable, "-m", "physjax", "train", *options, *more, *words],
        # With malloc's settings there from the start, the command does not start itself again.
        env={**os.environ, **runtime.environment(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Note(Callback):
    """When the run had done a step, in seconds since `began`."""

    interval = 0.0

    def __init__(self) -> None:
        self.began, self.passed = time.monotonic(), 0.0

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        self.passed = self.passed or time.monotonic() - self.began


@pytest.mark.slow
def test_a_run_has_saved_and_ended_before_its_limit(tmp_path: Path) -> None:
    """By the real clock; the limit is one that this machine, as busy as it is, can hold to."""
    config, note, limit = configure(tmp_path, optim={"epochs": 10**6}), Note(), TimeLimit(1e6)
    with pytest.raises(Interrupted):
        fit(config, time_limit=limit, callbacks=[note, UpAt(limit, 25)])
    seconds = 10 + 3 * (time.monotonic() - note.began)
    began = time.monotonic()
    with pytest.raises(Interrupted, match="stopped by the time limit") as stop:
        fit(config, time_limit=TimeLimit(seconds))
    passed = time.monotonic() - began
    assert note.passed < passed < seconds
    step = int(re.findall(r"at step (\d+);", str(stop.value))[0])
    assert step > 25
    assert (tmp_path / "run" / "checkpoints" / str(step)).is_dir()


def test_compiling_is_no_time_without_a_look(tmp_path: Path) -> None:
    """It may take minutes, and is done once: nothing is kept back for it."""
    clock, compile_step = Clock(), CompiledSteps.compile
    limit = TimeLimit(1e6, clock=clock)

    def slow(self: CompiledSteps, *arguments: Any) -> Iterator[None]:
        for each in compile_step(self, *arguments):
            clock.now += 300
            yield each

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledSteps, "compile", slow)
        fit(configure(tmp_path, optim={"epochs": 1}), time_limit=limit)
    assert limit.left < 1e6 - 300
    assert limit.kept == 5


def test_a_limit_that_is_too_short_is_an_error_of_the_command(tmp_path: Path) -> None:
    process = command(tmp_path, "--time-limit=1")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "error: the time limit of 1 s came before a step was saved" in errors


@pytest.mark.slow
def test_a_warning_and_the_sigterm_that_follows_it_let_the_run_save(tmp_path: Path) -> None:
    """SLURM with --signal=USR1@...: the second signal is no reason to hurry."""
    process = command(tmp_path)
    while not RunFolder(tmp_path / "run").read_epochs():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert process.stderr is not None
    process.send_signal(signal.SIGUSR1)
    while "SIGUSR1: saving" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 143
    assert re.search(r"stopped by SIGUSR1 at step (\d+);", errors), errors
