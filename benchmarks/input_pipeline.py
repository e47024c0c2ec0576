"""Images per second of the input path, against a torch DataLoader doing the same.

python benchmarks/input_pipeline.py --data-dir D --json FILE

Ours: images on the device, a shuffled batch gathered, drawn, cropped, mirrored and normalised in
one compiled call. Theirs: `torch.utils.data.DataLoader` over the same array, each image
reflect-padded, cropped, mirrored and normalised by torch operations, with 0 and with 2 worker
processes. Rounds alternate between the contestants, so that whatever else the machine does hits
all of them; the best round counts. Without torch (`pip install physjax[bench]`) only ours is
measured.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from harness.measuring import announce, write
from physjax.config import AugmentConfig, DataConfig
from physjax.data import Dataset, augment, load, mixing

RESIZED = 224


@dataclass(frozen=True)
class Command:
    """What is measured, and where the result goes."""

    dataset: str = "auto"
    data_dir: str | None = None
    batch_size: int = 128
    rounds: int = 5
    """Alternating rounds; the best of each contestant counts."""
    images: int = 6400
    """Images in a round; at most all training images."""
    json: Path | None = None
    """Write the figures there too."""


def main() -> None:
    command = tyro.cli(Command, description=__doc__)
    facts = announce()
    config = DataConfig(command.dataset, command.data_dir)
    start = time.perf_counter()
    dataset = load(config)
    loaded = time.perf_counter() - start
    start = time.perf_counter()
    load(config)
    warm = time.perf_counter() - start

    command = dataclasses.replace(command, images=min(command.images, len(dataset.train)))
    contestants = ours(dataset, command)
    if importlib.util.find_spec("torch"):
        contestants |= theirs(dataset, command)
    best = dict.fromkeys(contestants, float("inf"))
    for run in contestants.values():
        run()
    for _ in range(command.rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)

    counted = command.images // command.batch_size * command.batch_size
    result = {
        "machine": facts,
        "dataset": dataset.info.title,
        "seconds_to_load_first": loaded,
        "seconds_to_load_warm": warm,
        "batch_size": command.batch_size,
        "images_per_second": {name: counted / best[name] for name in best},
    }
    show(result)
    write(command.json, result)


def ours(dataset: Dataset, command: Command) -> dict[str, Callable[[], None]]:
    """Compiled input paths by name; a call makes the batches of one round."""
    images = jnp.asarray(dataset.train.images)
    info = dataset.info

    def contestant(config: AugmentConfig, size: int) -> Callable[[], None]:
        @jax.jit
        def batch(images: jax.Array, seed: jax.Array) -> jax.Array:
            key = jax.random.key(seed)
            chosen = jax.random.randint(key, (command.batch_size,), 0, len(images))
            drawn = augment.draw(key, command.batch_size, config, 32, size, info.mirror)
            found = augment.apply(drawn, images[chosen], config, size, info.mean, info.std)
            if not mixing.mixes(config):
                return found
            return mixing.apply(mixing.draw(key, command.batch_size, config, size), found)

        def run() -> None:
            for seed in range(command.images // command.batch_size):
                jax.block_until_ready(batch(images, jnp.uint32(seed)))

        return run

    return {
        "physjax pad + mirror": contestant(AugmentConfig(), 32),
        "physjax pad + mirror + cutout": contestant(AugmentConfig(cutout=8), 32),
        "physjax pad + mirror + RandAugment": contestant(AugmentConfig(randaugment=9), 32),
        "physjax pad + mirror + mixup, CutMix": contestant(
            AugmentConfig(mixup=0.2, cutmix=1.0), 32
        ),
        "physjax resized crop 32": contestant(AugmentConfig(crop="resized"), 32),
        f"physjax resized crop {RESIZED}": contestant(AugmentConfig(crop="resized"), RESIZED),
    }


def theirs(dataset: Dataset, command: Command) -> dict[str, Callable[[], None]]:
    """DataLoaders by name; torch's own threads are left at their default."""
    import torch
    from torch.utils.data import DataLoader

    def contestant(workers: int) -> Callable[[], None]:
        images: Any = TorchImages(dataset, command.images)
        loader: DataLoader[Any] = DataLoader(
            images,
            command.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            # A fork of a process that runs JAX may hang.
            multiprocessing_context="spawn" if workers else None,
        )

        def run() -> None:
            for batch, _ in loader:
                assert batch.dtype == torch.float32

        return run

    return {f"torch DataLoader, {n} workers": contestant(n) for n in (0, 2)}


class TorchImages:
    """Some images as a torch map-style data set: pad, crop, mirror, normalise."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        import torch

        self.images = torch.from_numpy(dataset.train.images[:count].transpose(0, 3, 1, 2).copy())
        self.labels = torch.from_numpy(dataset.train.labels[:count].astype(np.int64))
        self.mean = torch.tensor(dataset.info.mean).reshape(3, 1, 1)
        self.std = torch.tensor(dataset.info.std).reshape(3, 1, 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import torch

        image = self.images[index].to(torch.float32) / 255
        padded = torch.nn.functional.pad(image, (4, 4, 4, 4), mode="reflect")
        top, left, mirror = (int(torch.randint(stop, ())) for stop in (9, 9, 2))
        image = padded[:, top : top + 32, left : left + 32]
        if mirror:
            image = image.flip(-1)
        return (image - self.mean) / self.std, self.labels[index]


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    first, warm = result["seconds_to_load_first"], result["seconds_to_load_warm"]
    print(f"{result['dataset']}: loaded in {first:.2f} s, again in {warm:.2f} s")
    print(f"batches of {result['batch_size']}:")
    for name, rate in result["images_per_second"].items():
        milliseconds = 1e3 * result["batch_size"] / rate
        print(f"{name:>36}: {rate:10,.0f} images/s, {milliseconds:8.2f} ms a batch")


if __name__ == "__main__":
    main()
