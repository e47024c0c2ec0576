"""What the training loop takes on top of its compiled steps: metrics, progress, signals, order.

    python benchmarks/loop_overhead.py --json results/benchmarks/loop_overhead.json

A run of `physjax.train.loop.fit` on a CPU, whose compiled train steps are timed one by one: their
share of the time from an epoch's start to the end of its last step. Both are of the same seconds,
so that a noisy machine does not matter. The evaluation and the saving that follow are work of their
own.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, alone, announce, options, write


def measure(model: str, examples: int) -> dict[str, float]:
    """The share of the steps, and the rate; called in a process of its own."""
    import numpy as np
    from rich.console import Console

    from physjax import data
    from physjax.config import RECIPES
    from physjax.records import EpochRecord
    from physjax.train.callbacks import Callback
    from physjax.train.loop import fit
    from physjax.train.trainer import Trainer

    base = RECIPES["standard"]
    what = dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, dataset="digits"),
        model=dataclasses.replace(base.model, name=model),
        optim=dataclasses.replace(base.optim, epochs=1),
    )
    dataset = data.load(what.data)
    times = -(-examples // len(dataset.train))
    many = data.Split(
        np.tile(dataset.train.images, (times, 1, 1, 1)), np.tile(dataset.train.labels, times)
    )
    dataset = dataclasses.replace(dataset, train=many)
    spent = 0.0

    class Watch(Callback):
        def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
            nonlocal spent
            spent = trainer.step_seconds

    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
    ):
        run = dataclasses.replace(what.run, runs_dir=folder, name="run", devices=1)
        record = fit(
            dataclasses.replace(what, run=run),
            dataset=dataset,
            callbacks=[Watch()],
            console=Console(file=nowhere),
        )
    (epoch,) = record.epochs
    seconds = epoch.step * what.optim.batch_size / epoch.images_per_second
    return {
        "steps": epoch.step,
        "loop_images_per_second": epoch.images_per_second,
        "share_of_steps": spent / seconds,
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", nargs="+", default=["physics", "cnn"])
    arguments = parser.parse_args()
    facts = announce()
    record: dict[str, Any] = {"machine": facts, "models": {}}
    for model in arguments.models:
        settings = {"model": model, "examples": 20_000 if model == "cnn" else 4000}
        found = alone(
            Contestant(model, "loop_overhead:measure", settings, physjax_side.environment())
        )
        record["models"][model] = found
        print(
            f"{model}: {found['loop_images_per_second']:,.0f} images/s, "
            f"{found['share_of_steps']:.2%} of the loop's time in its {found['steps']} steps",
            flush=True,
        )
    write(arguments.json, record)


if __name__ == "__main__":
    main()
