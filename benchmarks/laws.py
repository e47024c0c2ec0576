"""Seconds of a train step under every force law, beside the same step with law none, in turns.

    python benchmarks/laws.py --json laws.json

The network is the 32x32 AlexNet of the recipe `fast` on the embedded digits; what the images show
does not change the time. The laws take turns step by step, so that what else the machine does hits
all of them, and the figure for a law is the median over turns of its time divided by that of the
step with law none in the same turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from physjax import data, runtime
from physjax.config import RECIPES
from physjax.forces import LAWS
from physjax.step import Task, compile_step, epoch_order, init_state, place, train_step


def stepper(law: str, model: str, batch: int, dataset: data.Dataset) -> Callable[[], float]:
    """A function that trains one step and returns its seconds; compiled and warm."""
    base = RECIPES["fast"]
    config = dataclasses.replace(
        base,
        data=RECIPES["smoke"].data,
        model=dataclasses.replace(base.model, name=model, law=law),
        optim=dataclasses.replace(base.optim, batch_size=batch),
    )
    task = Task(config, dataset.info, len(dataset.train))
    state = place(task, init_state(task))
    train = place(task, (dataset.train.images, dataset.train.labels))
    order = place(task, epoch_order(state.seed, 0, task.train_size))
    step = compile_step(task, train_step, state, *train, order, donate=True)

    def one() -> float:
        nonlocal state
        start = time.perf_counter()
        state = jax.block_until_ready(step(state, *train, order))
        return time.perf_counter() - start

    one()
    return one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="alexnet", help="a name in physjax.models.MODELS")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--laws", nargs="+", default=[name for name in LAWS if name != "none"])
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    runtime.configure()
    dataset = data.load(RECIPES["smoke"].data)
    load = os.getloadavg()[0]
    steps = {
        law: stepper(law, arguments.model, arguments.batch, dataset)
        for law in ("none", *arguments.laws)
    }
    seconds: dict[str, list[float]] = {law: [] for law in steps}
    for _ in range(arguments.repeats):
        for law, step in steps.items():
            seconds[law].append(step())
    record: dict[str, Any] = {
        "model": arguments.model,
        "batch": arguments.batch,
        "repeats": arguments.repeats,
        "device": runtime.device_facts(1),
        "load_average_before": load,
        "laws": {},
    }
    for law, times in seconds.items():
        ratios = [a / b for a, b in zip(times, seconds["none"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        record["laws"][law] = {
            "median_seconds": statistics.median(times),
            "least_seconds": min(times),
            "ratio_to_none": middle,
            "ratio_quartiles": [low, high],
        }
        print(
            f"{law:10} {1e3 * statistics.median(times):8.1f} ms (least {1e3 * min(times):.1f})  "
            f"{middle:.3f} x none (quartiles {low:.3f} to {high:.3f})"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
