"""The whole training loop beside its bare compiled step: what data, logging and saving cost.

    python benchmarks/loop.py --json results/benchmarks/loop.json

Bare steps and runs of `physjax.loop.fit` take turns in one process. The loop's rate is that of its
records: images trained on, over the time from an epoch's start to the end of its last step, with
all that the loop does in between (metrics, progress, signals). The evaluation that follows is work
of its own, and its rate is that of inference.py.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ours
from measuring import Contestant, alone, describe, machine, write


def measure(model: str, rounds: int, examples: int) -> dict[str, Any]:
    """Rates of the loop and of the bare step; called in a process of its own."""
    import jax
    from rich.console import Console

    from physjax import loop
    from physjax.config import RECIPES
    from physjax.step import compile_step, epoch_order, init_state, place, train_step

    base = RECIPES["fast"]
    what = dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, dataset="digits"),
        model=dataclasses.replace(base.model, name=model),
        optim=dataclasses.replace(base.optim, epochs=1),
    )
    from physjax import data

    dataset = data.load(what.data)
    repeated = -(-examples // len(dataset.train))

    def larger(split: data.Split) -> data.Split:
        import numpy as np

        return data.Split(
            np.tile(split.images, (repeated, 1, 1, 1)), np.tile(split.labels, repeated)
        )

    many = dataclasses.replace(dataset, train=larger(dataset.train))
    task = loop.Task(what, many.info, len(many.train))
    state = place(task, init_state(task))
    train = place(task, (many.train.images, many.train.labels))
    order = place(task, epoch_order(0, 0, task.train_size))
    step = compile_step(task, train_step, state, *train, order, donate=True)
    steps = task.steps_per_epoch
    batch = what.optim.batch_size
    bare, looped, ratios = [], [], []
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        real = data.load
        data.load = lambda config: many
        try:
            for turn in range(rounds):
                start = time.perf_counter()
                for _ in range(steps):
                    state = jax.block_until_ready(step(state, *train, order))
                bare.append(steps * batch / (time.perf_counter() - start))
                run = dataclasses.replace(what.run, runs_dir=folder, name=str(turn), devices=1)
                with contextlib.redirect_stdout(nowhere):
                    record = loop.fit(dataclasses.replace(what, run=run), Console(file=nowhere))
                looped.append(record.epochs[0].images_per_second)
                ratios.append(looped[-1] / bare[-1])
        finally:
            data.load = real
    return {
        "steps": steps,
        "bare_images_per_second": statistics.median(bare),
        "loop_images_per_second": statistics.median(looped),
        "loop_over_bare": statistics.median(ratios),
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["physics", "cnn"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    facts = machine()
    print(describe(facts))
    record: dict[str, Any] = {"machine": facts, "models": {}}
    for model in arguments.models:
        settings = {
            "model": model,
            "rounds": arguments.rounds,
            "examples": 20_000 if model == "cnn" else 4000,
        }
        found = alone(Contestant(model, "loop:measure", settings, ours.environment()))
        record["models"][model] = found
        print(
            f"{model}: bare step {found['bare_images_per_second']:,.0f} images/s, loop "
            f"{found['loop_images_per_second']:,.0f} images/s, loop / bare "
            f"{found['loop_over_bare']:.3f} (turns: "
            f"{', '.join(f'{r:.3f}' for r in found['ratios'])})",
            flush=True,
        )
    write(arguments.json, record)


if __name__ == "__main__":
    main()
