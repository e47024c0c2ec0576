"""Checkpoints: whole or passed over, whatever happens to their files, and never silently wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from helpers.damage import damage
from physjax.errors import UserError
from physjax.train.checkpoint import Checkpoints
from physjax.train.checkpoint_errors import CheckpointError, check_path

STEPS = (5, 10, 15)
"""Of these the last two are kept."""


def tree(step: int) -> dict[str, Any]:
    """Compressible and not, large and small, of several types."""
    random = np.random.default_rng(step)
    return {
        "conv": {
            "kernel": random.normal(size=(3, 3, 3, 8)).astype(np.float32),
            "bias": np.zeros(8, np.float32),
        },
        "large": random.normal(size=9000).astype(np.float32),
        "same": np.zeros((40, 100), np.float32),
        "half": random.normal(size=50).astype(jax.numpy.bfloat16),
        "step": np.array(step, np.int32),
    }


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three") / "checkpoints"
    store = Checkpoints(folder)
    for step in STEPS:
        store.save(tree(step), step, {"lines": step})
    store.close()
    return folder


def restore(folder: Path, **arguments: Any) -> dict[str, Any] | None:
    store = Checkpoints(folder)
    try:
        return store.restore(jax.tree.map(np.zeros_like, tree(0)), **arguments)
    finally:
        store.close()


def differing(found: dict[str, Any], step: int) -> list[str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree(step))
    others = jax.tree.leaves(found)
    return [
        jax.tree_util.keystr(path)
        for (path, leaf), other in zip(leaves, others, strict=True)
        if leaf.dtype != other.dtype or leaf.tobytes() != np.asarray(other).tobytes()
    ]


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 160), marks=pytest.mark.slow)])
def test_damage_is_found_or_harmless(three: Path, tmp_path: Path, seeds: range) -> None:
    """Only the newest checkpoint is damaged: it comes back as it was, or the one before does."""
    steps = []
    for seed in seeds:
        copy = tmp_path / "c"
        shutil.copytree(three, copy)
        done = damage(copy / "15", np.random.default_rng(seed))
        found = restore(copy)
        assert found is not None, (seed, done)
        step = int(found["step"])
        assert step in (10, 15), (seed, done)
        assert differing(found, step) == [], (seed, done)
        assert (copy / "unreadable-15").exists() == (step == 10), (seed, done)
        steps.append(step)
        shutil.rmtree(copy)
    assert {10, 15} == set(steps)


def test_a_flipped_bit_among_the_values_is_found_and_the_leaf_is_named(
    three: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Incompressible values are stored as they are: TensorStore reads any bits of theirs."""
    shutil.copytree(three, tmp_path / "c")
    (path,) = [p for p in (tmp_path / "c" / "15").rglob("*") if p.stat().st_size > 30000]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = restore(tmp_path / "c")
    assert found is not None
    assert int(found["step"]) == 10
    assert "checkpoint of step 15 cannot be used: ['large'] is not what was saved" in caplog.text
    assert restore(tmp_path / "c", step=15) is None


def test_an_empty_newest_folder_does_not_hide_the_others(three: Path, tmp_path: Path) -> None:
    shutil.copytree(three, tmp_path / "c")
    for step in (15, 20):
        shutil.rmtree(tmp_path / "c" / str(step), ignore_errors=True)
        (tmp_path / "c" / str(step)).mkdir()
    found = restore(tmp_path / "c")
    assert found is not None
    assert int(found["step"]) == 10
    store = Checkpoints(tmp_path / "c")
    store.save(tree(15), 15)
    store.close()
    found = restore(tmp_path / "c")
    assert found is not None
    assert int(found["step"]) == 15


def test_none_that_can_be_used_is_an_error_that_says_why(three: Path, tmp_path: Path) -> None:
    assert restore(tmp_path / "none") is None
    shutil.copytree(three, tmp_path / "c")
    for path in (tmp_path / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*c can be used.*step 10: .*copy"):
        restore(tmp_path / "c")
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["10", "15"]


def test_what_the_run_does_not_accept_is_set_aside(three: Path, tmp_path: Path) -> None:
    shutil.copytree(three, tmp_path / "c")
    (tmp_path / "c" / "unreadable-15" / "earlier").mkdir(parents=True)
    found = restore(tmp_path / "c", accept=lambda about: "late" if about["lines"] > 12 else "")
    assert found is not None
    assert int(found["step"]) == 10
    assert not (tmp_path / "c" / "unreadable-15" / "earlier").exists()
    with pytest.raises(CheckpointError, match=r"can be used \(step 10: no\)"):
        restore(tmp_path / "c", accept=lambda about: "no")


def test_reading_changes_nothing(three: Path, tmp_path: Path) -> None:
    shutil.copytree(three, tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "15" / "state")
    before = sorted(tmp_path.rglob("*"))
    store = Checkpoints(tmp_path / "c", read_only=True)
    found = store.restore(jax.tree.map(np.zeros_like, tree(0)))
    store.close()
    assert found is not None
    assert int(found["step"]) == 10
    assert sorted(tmp_path.rglob("*")) == before


def test_last_two_and_best_checkpoints_are_kept(tmp_path: Path) -> None:
    best: list[int | None] = [None]
    store = Checkpoints(tmp_path / "c", lambda: best[0])
    for step in (1, 2, 3, 4, 5):
        store.save({"x": np.full(3, step)}, step)
        if step == 2:
            best[0] = 2
    store.close()
    assert sorted(int(p.name) for p in (tmp_path / "c").iterdir() if p.name.isdigit()) == [2, 4, 5]


@pytest.mark.parametrize("name", ["lr[0.1]", r"a\b", "a*", "what?", "s3:", "a\nb", "\udcff"])
def test_a_path_that_could_not_be_read_again_is_refused(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / name, tmp_path / name / "run"):
        with pytest.raises(CheckpointError, match="could not be read again, because of"):
            Checkpoints(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["lr{0.1}", "a b", "100%", "ä→", "a#b&c;d", "x:y", "~", "$HOME"])
def test_any_other_path_will_do(tmp_path: Path, name: str) -> None:
    check_path(tmp_path / name)
    store = Checkpoints(tmp_path / name / "checkpoints")
    store.save({"x": np.arange(3)}, 1)
    found = store.restore({"x": np.zeros(3, int)})
    store.close()
    assert found is not None
    assert found["x"].tolist() == [0, 1, 2]


def test_the_first_checkpoint_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that loses what is written, the run learns it before hours have gone by."""
    store = Checkpoints(tmp_path / "c")
    wait = store._manager.wait_until_finished

    def lose() -> None:
        wait()
        for path in (tmp_path / "c").rglob("d/*"):
            path.write_bytes(b"")

    monkeypatch.setattr(store._manager, "wait_until_finished", lose)
    with pytest.raises(CheckpointError, match=r"step 3 in .* was written, and"):
        store.save({"x": np.arange(2000.0)}, 3)


def test_a_full_disk_is_said_in_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files refuses a write in the middle, as a full disk does."""
    import resource
    import signal

    store = Checkpoints(tmp_path / "c")
    store.save({"x": np.arange(10.0)}, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, before[1]))
    try:
        store.save({"x": np.random.default_rng(0).normal(size=20000)}, 2)
        with pytest.raises(
            UserError, match=r"checkpoint.* cannot be written in .*c: File too large"
        ):
            store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "Traceback" not in capfd.readouterr().err


def test_what_orbax_logs_is_not_shown_whatever_is_imported_first() -> None:
    code = """
import logging, sys
import physjax.train.checkpoint_errors
from absl import logging as absl_logging
exec(compile("absl_logging.warning('from orbax')", "/x/orbax/checkpoint.py", "exec"))
exec(compile("absl_logging.warning('from elsewhere')", "/x/other.py", "exec"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "from orbax" not in done.stderr
    assert "from elsewhere" in done.stderr
