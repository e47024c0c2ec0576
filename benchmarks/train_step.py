"""Train steps of physjax beside PyTorch's on the same networks, in turns.

    python benchmarks/train_step.py --json results/benchmarks/train_step.json

Needs the extra `bench`. Contestants: physjax as its commands run it; PyTorch in eager float32 and
channels_last, with bfloat16 autocast, compiled, and in eager float32 with the malloc that physjax
gives itself. Ratios are medians over the turns.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ours
from measuring import Contestant, describe, machine, matrix_product_gflops, race, write

BASE = "PyTorch float32"


def contestants(model: str, batch_size: int, compiled: bool) -> list[Contestant]:
    """Everyone who takes part, for one model."""
    mine = ours.environment()
    common = {"model": model, "batch_size": batch_size}
    found = [
        Contestant("physjax", "ours:train", {"name": model, "batch_size": batch_size}, mine),
        Contestant(BASE, "torch_side:train", common),
        Contestant("PyTorch bfloat16", "torch_side:train", {**common, "precision": "bf16"}),
        Contestant(
            "PyTorch float32, physjax's malloc",
            "torch_side:train",
            common,
            {k: v for k, v in mine.items() if k == "GLIBC_TUNABLES"},
        ),
    ]
    if compiled:
        arguments = {**common, "compiled": True}
        found.append(Contestant("PyTorch compiled", "torch_side:train", arguments))
    return found


def measure(model: str, batch_size: int, turns: int, calls: int, compiled: bool) -> dict[str, Any]:
    """The figures of one model, printed and returned."""
    import torch_side

    outcomes = race(contestants(model, batch_size, compiled), turns, calls)
    print(f"{model}, batch {batch_size}: {torch_side.parameter_count(model):,} parameters")
    rows = {}
    for label, outcome in outcomes.items():
        row: dict[str, Any] = {
            "images_per_second": batch_size / outcome.median,
            "physjax_is_times_as_fast": outcomes["physjax"].ratio(outcome),
            "quartiles": outcomes["physjax"].ratio_quartiles(outcome),
            "peak_memory_mib": outcome.peak_memory_mib,
            "setup_seconds": outcome.setup_seconds,
        }
        rows[label] = row
        low, high = row["quartiles"]
        print(
            f"  {label:34} {row['images_per_second']:7,.0f} images/s  physjax is "
            f"{row['physjax_is_times_as_fast']:.2f} x as fast ({low:.2f} to {high:.2f})  "
            f"{outcome.peak_memory_mib:5,.0f} MiB  ready in {outcome.setup_seconds:.1f} s",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["physics", "alexnet", "cnn"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--calls", type=int, default=3, help="steps in a turn")
    parser.add_argument("--no-compiled", dest="compiled", action="store_false")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    facts = {**machine(), "matrix_product_gflops": matrix_product_gflops()}
    print(describe(facts), f"{facts['matrix_product_gflops']:.0f} GFLOP/s in matrix products")
    record: dict[str, Any] = {"machine": facts, "batch": arguments.batch, "models": {}}
    for model in arguments.models:
        record["models"][model] = measure(
            model, arguments.batch, arguments.turns, arguments.calls, arguments.compiled
        )
    write(arguments.json, record)


if __name__ == "__main__":
    main()
