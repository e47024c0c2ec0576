"""Train steps of physjax and of PyTorch on the same networks, in turns.

    python benchmarks/train_step.py --json results/benchmarks/train_step.json

Needs the extra `bench`. Contestants: physjax as its commands run it; PyTorch in eager float32 and
channels_last, with bfloat16 autocast, compiled, and in eager float32 with the malloc that physjax
gives itself. A step gathers its batch from memory and normalises it; none augments. Ratios are
medians over the turns.
"""

from __future__ import annotations

from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, announce, options, race, write

BASE = "PyTorch float32"


def contestants(model: str, batch_size: int) -> list[list[Contestant]]:
    """Who takes part, race by race; physjax in each.

    The compiled PyTorch runs apart: the helpers of its compiler take time from the others.
    """
    mine = physjax_side.environment()
    common = {"model": model, "batch_size": batch_size}
    malloc = {k: v for k, v in mine.items() if k == "GLIBC_TUNABLES"}
    arguments = {"name": model, "batch_size": batch_size, "augmented": False}
    physjax = Contestant("physjax", "harness.physjax_side:train", arguments, mine)
    return [
        [
            physjax,
            Contestant(BASE, "harness.torch_side:train", common),
            Contestant(
                "PyTorch bfloat16", "harness.torch_side:train", {**common, "precision": "bf16"}
            ),
            Contestant(
                "PyTorch float32, physjax's malloc", "harness.torch_side:train", common, malloc
            ),
        ],
        [
            physjax,
            Contestant(
                "PyTorch compiled", "harness.torch_side:train", {**common, "compiled": True}
            ),
        ],
    ]


def measure(model: str, batch_size: int, turns: int) -> dict[str, Any]:
    """The figures of one model, printed and returned."""
    from harness import torch_side

    print(f"{model}, batch {batch_size}: {torch_side.parameter_count(model):,} parameters")
    rows: dict[str, Any] = {}
    for group in contestants(model, batch_size):
        outcomes = race(group, turns)
        for label, outcome in outcomes.items():
            if label in rows:
                continue
            low, high = outcomes["physjax"].ratio_quartiles(outcome)
            rows[label] = {
                "images_per_second": batch_size / outcome.median,
                "physjax_is_times_as_fast": outcomes["physjax"].ratio(outcome),
                "quartiles": (low, high),
                "peak_memory_mib": outcome.peak_memory_mib,
                "setup_seconds": outcome.setup_seconds,
            }
            print(
                f"  {label:34} {batch_size / outcome.median:7,.0f} images/s  physjax is "
                f"{rows[label]['physjax_is_times_as_fast']:.2f} x as fast ({low:.2f} to "
                f"{high:.2f})  {outcome.peak_memory_mib:5,.0f} MiB  ready in "
                f"{outcome.setup_seconds:.1f} s",
                flush=True,
            )
    return rows


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", nargs="+", default=["physics", "alexnet", "cnn"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=10)
    arguments = parser.parse_args()
    facts = announce(products=True)
    record: dict[str, Any] = {"machine": facts, "batch": arguments.batch, "models": {}}
    for model in arguments.models:
        record["models"][model] = measure(model, arguments.batch, arguments.turns)
    write(arguments.json, record)


if __name__ == "__main__":
    main()
