"""Prediction by physjax, with and without folded forces, and by PyTorch, in turns.

    python benchmarks/inference.py --json results/benchmarks/inference.json

Needs the extra `bench`. A call takes uint8 images to class probabilities.
"""

from __future__ import annotations

from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, announce, options, race, write

FOLDED = "physjax, folded"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", nargs="+", default=["physics", "alexnet", "cnn"])
    parser.add_argument("--batches", nargs="+", type=int, default=[500, 1])
    parser.add_argument("--turns", type=int, default=10)
    arguments = parser.parse_args()
    facts = announce()
    record: dict[str, Any] = {"machine": facts, "models": {}}
    mine = physjax_side.environment()
    for model in arguments.models:
        record["models"][model] = {}
        for batch in arguments.batches:
            theirs = {"model": model, "batch_size": batch}
            contestants = [
                Contestant(
                    label,
                    "harness.physjax_side:predict",
                    {"name": model, "batch_size": batch, "folded": label == FOLDED},
                    mine,
                )
                for label in (FOLDED, "physjax")
            ]
            contestants.append(Contestant("PyTorch float32", "harness.torch_side:predict", theirs))
            outcomes = race(contestants, arguments.turns)
            folded, rows = outcomes[FOLDED], {}
            for label, outcome in outcomes.items():
                low, high = folded.ratio_quartiles(outcome)
                rows[label] = {
                    "images_per_second": batch / outcome.median,
                    "folded_is_times_as_fast": folded.ratio(outcome),
                    "quartiles": (low, high),
                    "peak_memory_mib": outcome.peak_memory_mib,
                }
                print(
                    f"{model}, batch {batch}: {label:16} {batch / outcome.median:8,.0f} images/s  "
                    f"folded is {folded.ratio(outcome):.2f} x as fast ({low:.2f} to {high:.2f})",
                    flush=True,
                )
            record["models"][model][str(batch)] = rows
    write(arguments.json, record)


if __name__ == "__main__":
    main()
