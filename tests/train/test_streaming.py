"""A run whose images are streamed ends bit for bit where one ends that has them on the device."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import physjax
from helpers import runs
from helpers.limits import UpAt
from helpers.runs import assert_same
from physjax import data
from physjax.cli import common
from physjax.config import Config
from physjax.data.lazy import LazyImages
from physjax.errors import Interrupted
from physjax.records import RunFolder
from physjax.train.callbacks import Callback
from physjax.train.feed import steps_per_call, streams
from physjax.train.loop import fit
from physjax.train.setup import TrainSetup
from physjax.train.time_limit import TimeLimit
from physjax.train.trainer import Trainer

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 22 JPEGs for training, which fill no whole batches, and 5 for testing."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 22), ("test", 5)):
        for label in range(3):
            for number in range(count):
                path = folder / part / f"class{label}" / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 100 + 70 * label, (40, 40, 3), np.uint8)
                Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="module")
def configure(photos: Path) -> Callable[..., Config]:
    """A run of 3 steps an epoch, 2 epochs, on those."""

    def made(folder: Path, **parts: dict[str, Any]) -> Config:
        own = {"dataset": "folder", "data_dir": str(photos), "holdout": 0.1}
        limits = {"train_examples": None, "test_examples": None}
        parts["data"] = {**own, **limits, **parts.get("data", {})}
        return runs.configure(folder, **parts)

    return made


VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "all that looks at images": {
        "model": {"norm": "none", "first_layer": "whitened"},
        "augment": {"crop": "resized", "alternate": True, "cutout": 8},
        "optim": {"drop_remainder": False, "accumulate": 2},
    },
    "four devices": {"run": {"devices": 4}},
    "one program over two": {
        "run": {"devices": 2, "sharding": "fsdp"},
        "optim": {"accumulate": 2},
    },
    "calls of two steps": {"run": {"steps_per_call": 2}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_modes_end_with_the_same_parameters(
    configure: Callable[..., Config], tmp_path: Path, variant: str
) -> None:
    parts = VARIANTS[variant]
    for mode in ("device", "stream"):
        fit(configure(tmp_path / mode, **{**parts, "data": {"mode": mode}}))
    assert_same(tmp_path / "stream" / "run", tmp_path / "device" / "run")


@pytest.mark.exhaustive
def test_the_mode_may_change_between_a_stop_and_what_follows(
    configure: Callable[..., Config], tmp_path: Path
) -> None:
    """In the middle of an epoch, each way, and with processes that read; it is the same run."""
    fit(configure(tmp_path / "whole", data={"mode": "device"}))
    for step, fields in enumerate(
        ({"mode": "stream"}, {"mode": "device"}, {"mode": "stream", "workers": 2}), start=1
    ):
        limit = TimeLimit(1e6)
        with pytest.raises(Interrupted, match=f"at step {step}"):
            fit(
                configure(tmp_path / "changed", data=fields),
                time_limit=limit,
                callbacks=[UpAt(limit, step)],
            )
    fit(configure(tmp_path / "changed", data={"mode": "stream"}))
    assert_same(tmp_path / "changed" / "run", tmp_path / "whole" / "run")


def test_a_streamed_run_can_be_looked_at(
    configure: Callable[..., Config], tmp_path: Path, photos: Path
) -> None:
    """Evaluated, corrupted, reported; and the images in memory are the same ones to it."""
    config = configure(tmp_path, data={"mode": "stream"}, optim={"epochs": 1})
    run = physjax.fit(config)
    clean = run.evaluate(corruptions=("brightness", "occlusion", "shift", "gaussian noise"))
    assert clean.clean.accuracy == run.result.test_accuracy
    page = run.page(tmp_path / "page.html")
    assert page.stat().st_size > 10_000
    test = data.load(config.data).test
    assert isinstance(test.images, LazyImages)
    paths = sorted((photos / "test").glob("*/*.jpg"))
    by_file = run.predict(sorted(paths, key=lambda p: (p.parent.name, p.name)))
    np.testing.assert_array_equal(run.predict(np.asarray(test.images)), by_file)
    held = RunFolder(run.path).read()
    as_device = held.config.replace(data={"mode": "device"})
    again = physjax.Run(run.path, type(held)(as_device, held.epochs, held.result, held.origin))
    assert again.evaluate().clean == clean.clean


def test_arrays_in_memory_are_streamed_by_threads(tmp_path: Path) -> None:
    for mode in ("device", "stream"):
        fit(runs.configure(tmp_path / mode, data={"mode": mode, "workers": 3}, optim={"epochs": 1}))
    assert_same(tmp_path / "stream" / "run", tmp_path / "device" / "run")


def test_an_image_that_goes_bad_ends_the_command_with_its_name(
    configure: Callable[..., Config],
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was saved before stays; once it is mended the run goes on."""
    victim = photos / "train" / "class1" / "7.jpg"
    whole = victim.read_bytes()

    class Spoil(Callback):
        def on_start(self, trainer: Trainer) -> None:
            victim.write_bytes(b"spoilt")

    config = configure(tmp_path, data={"mode": "stream"}, optim={"epochs": 40})
    try:
        code = common.exit_code(lambda: fit(config, callbacks=[Spoil()]) and None)
    finally:
        victim.write_bytes(whole)
    assert code == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"error: \S*/class1/7\.jpg: it is no image of a known format\n", told)


def test_what_streams_is_said_and_takes_fewer_steps_a_call_where_images_are_large(
    configure: Callable[..., Config], tmp_path: Path
) -> None:
    dataset = data.load(configure(tmp_path).data)
    assert not streams(configure(tmp_path), dataset)
    assert streams(configure(tmp_path, data={"mode": "stream"}), dataset)
    setup = TrainSetup(configure(tmp_path), dataset.info, 60)
    assert steps_per_call(setup, "gpu") == 16
    assert steps_per_call(setup, "cpu") == 1
    large = TrainSetup(
        configure(tmp_path, optim={"batch_size": 4000}, run={"devices": 1}), dataset.info, 5000
    )
    assert steps_per_call(large, "gpu") == 5


def command(folder: Path, photos: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "physjax", "train", "--recipe", "smoke", "--model", "cnn"),
            *("--width", "0.1", "--batch-size", "16", "--epochs", "1000", "--name", "run"),
            *("--set", "data.train_examples=None", "data.test_examples=None"),
            *("--dataset", "folder", "--data-dir", str(photos), "--runs-dir", str(folder)),
            *("--data-mode", "stream", "--workers", "2", *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(number: int) -> list[int]:
    tasks = Path(f"/proc/{number}/task")
    found = [(task / "children").read_text(encoding="utf-8").split() for task in tasks.iterdir()]
    return [int(child) for part in found for child in part]


def alive(number: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{number}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_a_signal_saves_and_no_worker_outlives_its_run(photos: Path, tmp_path: Path) -> None:
    """SIGTERM to all processes, as a batch system sends it; and SIGKILL to the first one alone."""
    folder, ended = RunFolder(tmp_path / "run"), 0
    for number, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        with command(tmp_path, photos) as process:
            while len(folder.read_epochs()) <= ended:
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            workers = children(process.pid)
            assert len(workers) >= 2
            (os.killpg if code == 143 else os.kill)(process.pid, number)
            _, told = process.communicate(timeout=600)
        assert process.returncode == code, told
        if code == 143:
            assert "stopped by SIGTERM at step" in told
            # Python may say that it frees shared memory which a worker had filled, and nobody read.
            assert "Traceback" not in told
        ended = len(folder.read_epochs())
        until = time.monotonic() + 100
        while any(map(alive, workers)):
            assert time.monotonic() < until, workers
            time.sleep(0.05)
