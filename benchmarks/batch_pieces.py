"""Winograd's convolutions of a whole batch, and a few images at a time: the train step of each.

    taskset -c 0 python benchmarks/batch_pieces.py --json results/benchmarks/batch_pieces.json

Once on the processors that it is given; one is what a shard of a study has. Both train the same
network by the same program, but for the loop over the batch of `physjax.ops.winograd`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, announce, options, race, write

# Networks as studies train them: recipe, model, width.
NETWORKS = (("fast", "alexnet", 1.0), ("speedrun", "speedrun", 1.0), ("speedrun", "speedrun", 0.25))


def train(whole: bool, recipe: str, name: str, width: float) -> Callable[[], None]:
    """A train step of the recipe's batch; with `whole`, no loop over it."""
    from physjax.config import RECIPES
    from physjax.ops import winograd

    if whole:
        winograd._PIECE_BYTES = 2**62
    batch_size = RECIPES[recipe].optim.batch_size
    return physjax_side.train(batch_size, 5000, recipe=recipe, name=name, width=width)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--turns", type=int, default=8)
    arguments = parser.parse_args()
    facts = announce()
    record: dict[str, Any] = {"machine": facts, "networks": {}}
    for recipe, name, width in NETWORKS:
        both = [
            Contestant(
                label,
                "batch_pieces:train",
                {"whole": whole, "recipe": recipe, "name": name, "width": width},
                physjax_side.environment(),
            )
            for label, whole in (("pieces", False), ("whole", True))
        ]
        found = race(both, arguments.turns)
        pieces, whole = found["pieces"], found["whole"]
        low, high = pieces.ratio_quartiles(whole)
        record["networks"][f"{name}, width {width:g}"] = {
            "step_milliseconds": 1e3 * pieces.median,
            "times_as_fast": pieces.ratio(whole),
            "quartiles": (low, high),
            "peak_memory_mib": {"pieces": pieces.peak_memory_mib, "whole": whole.peak_memory_mib},
        }
        print(
            f"{name}, width {width:g}: a step of {1e3 * pieces.median:.0f} ms, "
            f"{pieces.ratio(whole):.2f} times as fast ({low:.2f} to {high:.2f}) as of the whole "
            f"batch; {pieces.peak_memory_mib:,.0f} MiB, and {whole.peak_memory_mib:,.0f} MiB",
            flush=True,
        )
    write(arguments.json, record)


if __name__ == "__main__":
    main()
