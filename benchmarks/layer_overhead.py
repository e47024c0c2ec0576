"""Train steps with forces, and with resistances, beside the plain network's, in turns.

    python benchmarks/layer_overhead.py --json results/benchmarks/layer_overhead.json

The ring force is one vector added to a layer's output: it should cost next to nothing.
"""

from __future__ import annotations

from typing import Any

import ours
from measuring import Contestant, announce, options, race, write


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", default="alexnet", help="a name in physjax.models.MODELS")
    parser.add_argument("--laws", nargs="+", default=["ring", "spring", "divisive", "lrn"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--no-coupled", dest="coupled", action="store_false")
    arguments = parser.parse_args()
    facts = announce()
    common = {"name": arguments.model, "batch_size": arguments.batch, "examples": 5000}
    mine = ours.environment()
    # Twice the same: what the two differ by is what this machine can tell apart.
    found = [
        Contestant(label, "ours:train", {**common, "law": "none"}, mine)
        for label in ("none", "again")
    ]
    found += [Contestant(law, "ours:train", {**common, "law": law}, mine) for law in arguments.laws]
    if arguments.coupled:
        coupled = {**common, "law": "none", "rule": "coupled"}
        found.append(Contestant("none, coupled rule", "ours:train", coupled, mine))
    outcomes = race(found, arguments.turns)
    plain = outcomes["none"]
    rows: dict[str, Any] = {}
    for label, outcome in outcomes.items():
        high, low = (1 / q for q in outcome.ratio_quartiles(plain))
        rows[label] = {
            "median_seconds": outcome.median,
            "least_seconds": min(outcome.seconds),
            "times_none": 1 / outcome.ratio(plain),
            "quartiles": (low, high),
            "least_times_least": min(outcome.seconds) / min(plain.seconds),
        }
        print(
            f"{label:20} {1e3 * outcome.median:7.1f} ms  {rows[label]['times_none']:.3f} x none "
            f"({low:.3f} to {high:.3f}); best turns {rows[label]['least_times_least']:.3f}"
        )
    write(arguments.json, {"machine": facts, **common, "turns": arguments.turns, "steps": rows})


if __name__ == "__main__":
    main()
