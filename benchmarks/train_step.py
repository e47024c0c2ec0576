"""Train steps of physjax and of PyTorch on the same networks, in turns.

    python benchmarks/train_step.py --json results/benchmarks/train_step.json

Needs the extra `bench`. Contestants: physjax as its commands run it; PyTorch in eager float32 and
channels_last, with bfloat16 autocast where the CPU has instructions for it, compiled, and in eager
float32 with the malloc that physjax gives itself. A step gathers its batch from memory and
normalises it; none augments. Ratios are medians over the turns.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, alone, announce, options, race, write
from physjax.models import MODELS

BASE = "PyTorch float32"
BF16 = "PyTorch bfloat16"
COMPILED = "PyTorch compiled"


def contestants(
    model: str, batch_size: int, left_out: Collection[str] = ()
) -> list[list[Contestant]]:
    """Who takes part, race by race; physjax in each.

    The compiled PyTorch runs apart: the helpers of its compiler take time from the others.

    Args:
      model: a name in `physjax.models.MODELS`.
      batch_size: of a step.
      left_out: labels of those who do not take part.
    """
    mine = physjax_side.environment()
    common = {"model": model, "batch_size": batch_size}
    malloc = {k: v for k, v in mine.items() if k == "GLIBC_TUNABLES"}
    arguments = {"name": model, "batch_size": batch_size, "augmented": False}
    physjax = Contestant("physjax", "harness.physjax_side:train", arguments, mine)
    compiled = {**common, "compiled": True}
    races = [
        [
            Contestant(BASE, "harness.torch_side:train", common),
            Contestant(BF16, "harness.torch_side:train", {**common, "precision": "bf16"}),
            Contestant(f"{BASE}, physjax's malloc", "harness.torch_side:train", common, malloc),
        ],
        [Contestant(COMPILED, "harness.torch_side:train", compiled)],
    ]
    kept = [[c for c in others if c.label not in left_out] for others in races]
    return [[physjax, *others] for others in kept if others]


def same_count(model: str) -> int:
    """Parameters of the network, the same on both sides."""
    ours, theirs = (
        alone(Contestant(side, f"harness.{side}:parameter_count", arguments))
        for side, arguments in (("physjax_side", {"name": model}), ("torch_side", {"model": model}))
    )
    assert ours == theirs, f"{model} has {ours:,} parameters, and PyTorch's {theirs:,}"
    return int(ours)


def measure(
    model: str, batch_size: int, turns: int, left_out: Collection[str] = ()
) -> dict[str, Any]:
    """The figures of one model, printed and returned."""
    print(f"{model}, batch {batch_size}: {same_count(model):,} parameters")
    rows: dict[str, Any] = {}
    for group in contestants(model, batch_size, left_out):
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
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--no-compiled", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    facts = announce(products=True)
    left_out = {}
    lack = alone(Contestant(BF16, "harness.torch_recipe:bf16_lack"))
    if lack:
        left_out[BF16] = lack
    if arguments.no_compiled:
        left_out[COMPILED] = "not asked for"
    for label, why in left_out.items():
        print(f"{label} left out: {why}")
    record: dict[str, Any] = {"machine": facts, "batch": arguments.batch, "left_out": left_out}
    record["models"] = {
        model: measure(model, arguments.batch, arguments.turns, left_out)
        for model in arguments.models
    }
    write(arguments.json, record)


if __name__ == "__main__":
    main()
