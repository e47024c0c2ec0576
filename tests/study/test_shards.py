"""Several processes share a study: no run is made twice, and none is left to a dead one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from helpers import studies
from helpers.runs import assert_same
from physjax import runtime
from physjax.cli import common, study
from physjax.config import ConfigError
from physjax.records import RunFolder
from physjax.study.design import plan
from physjax.study.folder import StudyFolder
from physjax.study.paths import Paths
from physjax.study.runner import run_study
from physjax.study.shards import STALE, Claims, Shard

pytestmark = pytest.mark.quick_compile

ROOT = Path(__file__).resolve().parents[2]


def test_every_shard_begins_with_its_own_and_goes_on_with_those_of_the_others() -> None:
    runs = list(range(8))
    orders = [Shard.parse(f"{i}/3").order(runs) for i in (1, 2, 3)]
    assert orders[0] == [0, 3, 6, 7, 4, 1, 5, 2]
    assert orders[1] == [1, 4, 7, 5, 2, 6, 3, 0]
    assert orders[2] == [2, 5, 6, 3, 0, 7, 4, 1]
    assert Shard(1, 1).order(runs) == runs
    # More processes than runs.
    assert Shard(9, 9).order(runs) == [*runs]


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "٣/4"])
def test_a_shard_is_a_number_and_how_many(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard is .*; give the number .*: 3/8"):
        Shard.parse(text)


def take(claims: Claims, run: str = "run") -> bool:
    with claims.held(run) as claim:
        return claim is not None


def test_one_has_a_run_and_it_is_free_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    with Claims(folder).held("run") as claim:
        assert claim is not None
        assert not take(Claims(folder))
        assert take(Claims(folder), "another run")
        with pytest.raises(RuntimeError), Claims(folder).held("failing"):
            raise RuntimeError
        assert take(Claims(folder), "failing")
    assert not folder.exists()
    assert take(Claims(folder))


def leave(folder: Path, seconds_ago: float, number: int = 1, **changes: object) -> Path:
    """A claim as a process of another machine left it."""
    path = folder / "run" / str(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = {"token": "t", "host": "other", "pid": 1, "space": "elsewhere", **changes}
    path.write_text(json.dumps(owner), encoding="utf-8")
    at = time.time() - seconds_ago
    os.utime(path, (at, at))
    return path


@pytest.mark.parametrize("content", [None, "", "{", '{"token": 3}', "[]"])
def test_a_claim_from_elsewhere_is_dead_when_it_gives_no_sign_of_life(
    tmp_path: Path, content: str | None
) -> None:
    """Also one whose process died, or is, before it has written who it is."""
    path = leave(tmp_path, STALE - 60)
    if content is not None:
        seen = path.stat().st_mtime
        path.write_text(content, encoding="utf-8")
        os.utime(path, (seen, seen))
    assert not take(Claims(tmp_path))
    leave(tmp_path, STALE + 60)
    assert take(Claims(tmp_path))
    assert not path.exists()


def test_the_clock_of_this_machine_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, 10)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert not take(Claims(tmp_path))


CHILD = """
import sys, time
from pathlib import Path
from physjax.study.shards import Claims
folder, go, runs = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
claims = Claims(folder)
held = [(run, claims.held(run)) for run in runs]
won = [run for run, claim in held if claim.__enter__() is not None]
print(*won, flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def children(folder: Path, count: int, *runs: str):  # type: ignore[no-untyped-def]
    go = folder / "go"
    words = [sys.executable, "-c", CHILD, str(folder / "claims"), str(go), *runs]
    started = [
        subprocess.Popen(
            words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        for _ in range(count)
    ]
    try:
        for child in started:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        go.touch()
        yield started
    finally:
        for child in started:
            child.kill()
            child.communicate()


def test_of_many_one_wins_new_runs_and_those_of_the_dead(tmp_path: Path) -> None:
    runs = [f"run{i}" for i in range(40)]
    for run in runs[::2]:
        path = leave(tmp_path / "claims", STALE + 60)
        path.parent.rename(tmp_path / "claims" / run)
    with children(tmp_path, 4, *runs) as started:
        won = Counter(run for child in started for run in child.stdout.readline().split())
        assert set(won.values()) == {1}
        # Two that hinder each other both try later.
        assert len(won) > len(runs) / 2
        for run in won:
            assert not take(Claims(tmp_path / "claims"), run)
    # They were killed, on this machine: that is known at once.
    for run in runs:
        assert take(Claims(tmp_path / "claims"), run)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_others_did_since_the_look_at_a_dead_one_counts(tmp_path: Path, number: int) -> None:
    """A third one has its number, was faster, or came after one that was faster and has ended."""
    leave(tmp_path, STALE + 60)

    class Slow(Claims):
        def _is_dead(self, *arguments: Any) -> bool:
            dead = super()._is_dead(*arguments)
            leave(tmp_path, 0, number=number, token="third")
            return dead

    assert not take(Slow(tmp_path))
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"1", str(number)}
    assert not take(Claims(tmp_path))


def wait_until_lost(claim) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + 60
    while not claim.lost:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_who_was_silent_too_long_learns_that_the_run_is_taken(tmp_path: Path) -> None:
    with Claims(tmp_path, beat=0.02).held("run") as claim:
        assert claim is not None
        old = time.time() - 2 * STALE
        os.utime(tmp_path / "run" / "1", (old, old))
        while (tmp_path / "run" / "1").stat().st_mtime == old:
            time.sleep(0.01)  # It gives signs of life.
        assert not claim.lost
        leave(tmp_path, 0, number=2)
        wait_until_lost(claim)
    # The other one's claim stays.
    assert (tmp_path / "run" / "2").exists()


def test_a_claim_of_the_same_number_by_another_one_is_a_loss(tmp_path: Path) -> None:
    """Taken over, ended, and begun again by a third one, while this one slept."""
    with Claims(tmp_path, beat=0.02).held("run") as claim:
        assert claim is not None
        leave(tmp_path, 0, number=1)
        wait_until_lost(claim)
    assert (tmp_path / "run" / "1").exists()


def test_a_shard_leaves_what_others_have_and_the_last_one_has_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"model.width": 0.1, "data.train_examples": 60, "optim.batch_size": 20}
    grid = studies.study(seeds=(0,), config=config | {"optim.epochs": 1})
    where = Paths(tmp_path / "results", tmp_path / "runs", devices=1)
    first, second = plan(grid)
    folder = StudyFolder(tmp_path / "results" / "s")
    folder.open(grid)
    with Claims(folder.path / "claims").held(second.name):
        assert list(run_study("s", grid, where, shard=Shard(2, 2))) == [first]
    assert list(run_study("s", grid, where, shard=Shard(1, 2))) == [first, second]
    assert not (folder.path / "claims").exists()
    assert "2 runs, 1 of them done" in capsys.readouterr().out
    # A plain study has it all, or says that it does not.
    assert list(run_study("s", grid, where)) == [first, second]


def test_a_run_that_another_one_took_over_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"model.width": 0.1, "data.train_examples": 60, "optim.batch_size": 20}
    grid = studies.study(seeds=(0,), laws=("none",), config=config | {"optim.epochs": 3})
    where = Paths(tmp_path / "results", tmp_path / "runs", devices=1)
    (cell,) = plan(grid)
    append = RunFolder.append_epoch

    def and_lose(self: RunFolder, *arguments: object) -> object:
        claim = where.study_folder("s").path / "claims" / cell.name / "2"
        owner = {"token": "t", "host": "other", "pid": 1, "space": "elsewhere"}
        claim.write_text(json.dumps(owner), encoding="utf-8")
        time.sleep(0.5)
        return append(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RunFolder, "append_epoch", and_lose)
    monkeypatch.setattr("physjax.study.runner.Claims", lambda p: Claims(p, beat=0.05))
    assert run_study("s", grid, where, shard=Shard(1, 2)) == {}
    assert re.search(r"is left out for now: .*another one has taken", capsys.readouterr().out)
    assert len(RunFolder(tmp_path / "runs" / "s" / cell.name).read_epochs()) == 1


GRID = (
    *("--name=s", "--models=cnn", "--laws=none", "ring", "--datasets=digits", "--seeds=1"),
    *("--recipe=smoke", "--set=model.width=0.1", "optim.batch_size=20", "optim.epochs=12"),
    "--devices=1",
)


def command(folder: Path, shard: str) -> subprocess.Popen[str]:
    paths = (f"--results-dir={folder / 'results'}", f"--runs-dir={folder / 'runs'}")
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "physjax",
            "study",
            *GRID,
            f"--shard={shard}",
            *paths,
        ],
        env={**os.environ, **runtime.environment(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.exhaustive
def test_two_shards_of_which_one_is_killed_make_every_run_once(tmp_path: Path) -> None:
    """The commands; the first is killed in the middle of a run, which the second goes on with."""
    first, second = command(tmp_path, "1/2"), command(tmp_path, "2/2")
    names = [cell.name for cell in plan(study.find_grid(_parsed(), StudyFolder(tmp_path)))]
    runs = [RunFolder(tmp_path / "runs" / "s" / name) for name in names]
    held = False
    while len(runs[0].read_epochs()) < 2:
        assert first.poll() is None, first.communicate()
        if not held and runs[1].read_epochs():
            # It must not be through with its own run before the first is killed.
            second.send_signal(signal.SIGSTOP)
            held = True
        time.sleep(0.02)
    first.kill()
    first.communicate()
    second.send_signal(signal.SIGCONT)
    said, errors = second.communicate(timeout=600)
    assert second.returncode == 0, errors
    assert "tables.md" in said
    sessions = [len(origin.sessions) for run in runs if (origin := run.read_origin()) is not None]
    assert sessions == [2, 1]
    late = command(tmp_path, "1/2")
    said, errors = late.communicate(timeout=600)
    assert late.returncode == 0, errors
    assert "2 runs, 2 of them done" in said
    assert "tables.md" in said
    assert not (tmp_path / "results" / "s" / "claims").exists()
    # As a process that has them all to itself makes them.
    paths = Paths(tmp_path / "alone", tmp_path / "alone-runs", devices=1)
    run_study("s", study.find_grid(_parsed(), StudyFolder(tmp_path)), paths)
    for name, run in zip(names, runs, strict=True):
        assert_same(run.path, tmp_path / "alone-runs" / "s" / name)


def _parsed() -> study.Command:
    return common.options.parse(study.Command, GRID)
