"""Images that do not fit on the device: what streaming them costs, and at which rate they come.

    python benchmarks/streaming.py --json results/benchmarks/streaming.json

Three questions, each of which `--parts` asks alone:

modes: training on CIFAR-10 with the images on the device and streamed, in turns.
decoding: JPEG files to shuffled batches of 224x224: physjax's stream, and PyTorch's DataLoader with
Pillow, which does what torchvision's ImageFolder, Resize and CenterCrop do; rounds alternate. Both
make bytes, which the device normalises.
folder: one command trains on a folder of 20,000 JPEGs in 100 classes, and the memory of its
processes is looked at twice a second.

`--quick` asks the same with fewer and smaller images, in two minutes.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from harness import physjax_side
from harness.measuring import Contestant, announce, options, race, write

SIDE = 224
BATCH = 64
CLASSES = 100
_STARTING = 6
"""Batches that are not timed."""


# ---- training, the images on the device and streamed ----


def training(mode: str, model: str, data_dir: str | None, steps: int) -> Callable[[], None]:
    """Does so many steps of a run whenever it is called, as its trainer does; see `race`."""
    import jax

    from physjax import data
    from physjax.config import RECIPES
    from physjax.train.compiled import CompiledSteps
    from physjax.train.setup import TrainSetup
    from physjax.train.sharding import place
    from physjax.train.state import init_state

    config = RECIPES["standard"].replace(
        data={"dataset": "auto", "data_dir": data_dir, "mode": mode},
        model={"name": model},
        run={"devices": 1},
    )
    dataset = data.load(config.data)
    what = TrainSetup(config, dataset.info, len(dataset.train))
    state = place(what, init_state(what))
    compiled = CompiledSteps(what, dataset)
    for _ in compiled.compile(state):
        pass
    done, order = 0, compiled.shuffle(state.seed, 0)

    def call() -> None:
        nonlocal state, done, order
        for _ in range(steps):
            if done and done % what.steps_per_epoch == 0:
                order = compiled.shuffle(state.seed, done // what.steps_per_epoch)
            batches = compiled.next_batches(done, order, 1)
            state = jax.block_until_ready(compiled.train(state, order, batches, 1))
            done += 1

    return call


def modes(models: list[str], data_dir: str | None, turns: int) -> dict[str, Any]:
    """Images per second of both modes, and the ratio turn by turn."""
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        steps = 20 if model == "cnn" else 4
        contestants = [
            Contestant(
                mode,
                "streaming:training",
                {"mode": mode, "model": model, "data_dir": data_dir, "steps": steps},
                physjax_side.environment(),
            )
            for mode in ("device", "stream")
        ]
        outcomes = race(contestants, turns, turn_seconds=4.0)
        images = 128 * steps
        found[model] = {
            "images_per_second": {name: images / o.median for name, o in outcomes.items()},
            "stream_of_device": outcomes["stream"].ratio(outcomes["device"]),
            "quartiles": outcomes["stream"].ratio_quartiles(outcomes["device"]),
            "peak_memory_mib": {name: o.peak_memory_mib for name, o in outcomes.items()},
        }
        row: dict[str, Any] = found[model]
        print(
            f"{model}: device {row['images_per_second']['device']:,.0f} images/s, stream "
            f"{row['images_per_second']['stream']:,.0f}: {row['stream_of_device']:.1%} "
            f"({row['quartiles'][0]:.1%} to {row['quartiles'][1]:.1%})",
            flush=True,
        )
    return found


# ---- decoding JPEGs ----


def make_folder(folder: Path, count: int, size: tuple[int, int], seed: int = 0) -> None:
    """`count` JPEGs of that height and width in 100 classes: coarse structure and fine noise."""

    def make(number: int) -> None:
        label = number % CLASSES
        rng = np.random.default_rng([seed, number])
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        coarse[0] = np.random.default_rng([seed, label, 1]).integers(0, 256, (8, 3), np.uint8)
        image = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
        noise = rng.normal(0, 12, (*size, 3))
        pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
        home = folder / f"class{label:03}"
        Image.fromarray(pixels).save(home / f"{number:06}.jpg", quality=90)

    for label in range(CLASSES):
        (folder / f"class{label:03}").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(make, range(count)):
            pass


def ours(folder: Path, count: int, workers: int) -> Callable[[], None]:
    """A pass over shuffled batches of a folder's images, as training reads them."""
    from physjax.config import DataConfig
    from physjax.data.image_folder import find_folder
    from physjax.data.stream import Orders, ReadAhead, TrainingBatches

    found = find_folder(DataConfig("folder", str(folder)))
    assert found.lazy is not None
    images = found.lazy(SIDE)[0].take(np.arange(count))
    steps = count // BATCH

    def run() -> None:
        orders = Orders()
        orders.put(0, np.random.default_rng(0).permutation(count))
        source = TrainingBatches(
            images, np.zeros(count, np.int32), orders, BATCH, np.arange(BATCH), steps, 1, 0, steps
        )
        ahead = ReadAhead(source, images, workers, lambda batch: batch)
        _timed(ahead, steps)
        ahead.close()
        orders.close()

    return run


class PillowFolder:
    """torchvision's ImageFolder with Resize and CenterCrop: a data set for PyTorch's DataLoader."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        short = min(image.size)
        size = round(image.width * SIDE / short), round(image.height * SIDE / short)
        image = image.resize(size, Image.Resampling.BILINEAR)
        image = ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)), 0


def theirs(folder: Path, count: int, workers: int) -> Callable[[], None]:
    """The same by a DataLoader."""
    from torch.utils.data import DataLoader

    from physjax.config import DataConfig
    from physjax.data.image_folder import find_folder

    found = find_folder(DataConfig("folder", str(folder)))
    loader = DataLoader(
        PillowFolder(list(found.files[:count])),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
    )
    return lambda: _timed(iter(loader), count // BATCH)


_rates: list[float] = []


def _timed(batches: Iterator[Any], steps: int) -> None:
    """Note the rate of all batches but the first, while processes start and buffers fill."""
    for _ in range(_STARTING):
        next(batches)
    start = time.perf_counter()
    for _ in range(steps - _STARTING):
        next(batches)
    _rates.append((steps - _STARTING) * BATCH / (time.perf_counter() - start))


def decoding(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Images per second, median over the rounds; and where PyTorch takes part the ratios."""
    contestants: dict[str, Callable[[], None]] = {}
    for workers in (0, 2):
        contestants[f"physjax, {workers or 'no'} workers"] = ours(folder, count, workers)
        if importlib.util.find_spec("torch"):
            contestants[f"DataLoader, {workers or 'no'} workers"] = theirs(folder, count, workers)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            run()
            rates[name].append(_rates.pop())
    found = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in found.items():
        print(f"{name}: {rate:,.0f} images/s of {SIDE}x{SIDE}", flush=True)
    return {"images": count, "batch": BATCH, "images_per_second": found, "rounds": rates}


# ---- a run on a folder ----


def memory(number: int) -> float:
    """MiB that a process and all that it started have resident."""
    total, waiting = 0, [number]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        try:
            total += int((process / "statm").read_text(encoding="utf-8").split()[1])
            for task in (process / "task").iterdir():
                children = (task / "children").read_text(encoding="utf-8")
                waiting += [int(child) for child in children.split()]
        except OSError:  # it has ended
            continue
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20


def run_on_folder(folder: Path, count: int, workers: int, place: Path) -> dict[str, Any]:
    """Train for two epochs by the command, and look at the memory meanwhile."""
    words = [
        *("train", "--recipe", "standard", "--dataset", "folder", "--data-dir", folder.name),
        *("--data-mode", "stream", "--workers", str(workers), "--model", "alexnet"),
        *("--size", "imagenet", "--width", "0.125", "--batch-size", str(BATCH), "--epochs", "2"),
        *("--runs-dir", f"runs{workers}", "--name", "run"),
    ]
    environment = {**os.environ, "PHYSJAX_CACHE": str(place / f"cache{workers}")}
    process = subprocess.Popen(
        [sys.executable, "-m", "physjax", *words],
        env=environment,
        cwd=place,
        stdout=subprocess.DEVNULL,
    )
    run, seen, epochs = place / f"runs{workers}" / "run", [], []
    while process.poll() is None:
        lines = run / "metrics.jsonl"
        epochs.append(len(lines.read_bytes().splitlines()) if lines.exists() else 0)
        seen.append(memory(process.pid))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"the command ended with {process.returncode}")
    from physjax.records import RunFolder

    result = RunFolder(run).read_result()
    assert result is not None
    assert result.spent is not None
    by_epoch = [
        max(m for m, e in zip(seen, epochs, strict=True) if e == epoch)
        for epoch in sorted({*epochs})
    ]
    kept = sum(f.stat().st_size for f in (place / f"cache{workers}").glob("*") if f.is_file())
    found = {
        "command": " ".join(["physjax", *words]),
        "images": count,
        "decoded_mib": count * 3 * SIDE**2 / 2**20,
        "workers": workers,
        "images_per_second": result.images_per_second,
        "peak_mib_by_epochs_done": by_epoch,
        "spent_seconds": result.spent.seconds,
        "kept_in_cache_mib": kept / 2**20,
    }
    peaks = ", ".join(f"{peak:,.0f}" for peak in by_epoch)
    print(
        f"{count:,} images, {found['decoded_mib']:,.0f} MiB decoded, {workers} workers: "
        f"{result.images_per_second:,.0f} images/s; at most {peaks} MiB resident with 0, 1, ... "
        f"epochs done; {found['kept_in_cache_mib']:.1f} MiB kept",
        flush=True,
    )
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--data-dir", help="TFDS folder with CIFAR-10")
    parser.add_argument("--models", nargs="+", default=["physics", "cnn"])
    parser.add_argument("--images", type=int, default=20_000, help="of the folder")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2], help="of the command")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["modes", "decoding", "folder"],
        choices=["modes", "decoding", "folder"],
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.turns, arguments.images = 3, min(arguments.images, 1000)
    record: dict[str, Any] = {"machine": announce()}
    if "modes" in arguments.parts:
        record["modes"] = modes(arguments.models, arguments.data_dir, arguments.turns)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        if {"decoding", "folder"} & {*arguments.parts}:
            make_folder(folder, arguments.images, (240, 320) if arguments.quick else (375, 500))
        if "decoding" in arguments.parts:
            count = min(arguments.images * 3 // 4, 2048)
            record["decoding"] = decoding(folder, count, 3 if arguments.quick else 5)
        if "folder" in arguments.parts:
            record["folder"] = [
                run_on_folder(folder, arguments.images, workers, Path(place))
                for workers in arguments.workers
            ]
    write(arguments.json, record)


if __name__ == "__main__":
    main()
