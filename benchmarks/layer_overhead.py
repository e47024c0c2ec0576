"""Train steps with forces, and with resistances, and those of the plain network, in turns.

    python benchmarks/layer_overhead.py --json results/benchmarks/layer_overhead.json
    python benchmarks/layer_overhead.py --recipe speedrun --model speedrun --width 0.5 --batch 250 \
        --no-coupled --json results/benchmarks/layer_overhead_speedrun.json

The ring force is one vector added to a layer's output: it should cost next to nothing. The plain
step takes part twice, and the mean of the two is what the others are compared with. A process keeps
the memory that it got first, and with it a percent or two of speed: every round starts new ones.
"""

from __future__ import annotations

import statistics
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, announce, options, race, write
from physjax.forces import LAWS


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", default="alexnet", help="a name in physjax.models.MODELS")
    parser.add_argument("--recipe", default="standard", help="a name in physjax.config.RECIPES")
    parser.add_argument("--width", type=float, default=1.0, help="share of the channels")
    laws = [name for name in LAWS if name != "none"]
    parser.add_argument("--laws", nargs="+", default=laws)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=12, help="in each round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--no-coupled", dest="coupled", action="store_false")
    arguments = parser.parse_args()
    facts = announce()
    common = {
        "name": arguments.model,
        "recipe": arguments.recipe,
        "width": arguments.width,
        "batch_size": arguments.batch,
        "examples": 5000,
    }
    mine = physjax_side.environment()
    # What the two plain ones differ by is what this machine can tell apart.
    found = [
        Contestant(label, "harness.physjax_side:train", {**common, "law": "none"}, mine)
        for label in ("none", "again")
    ]
    found += [
        Contestant(law, "harness.physjax_side:train", {**common, "law": law}, mine)
        for law in arguments.laws
    ]
    if arguments.coupled:
        coupled = {**common, "law": "none", "rule": "coupled"}
        found.append(Contestant("none, coupled rule", "harness.physjax_side:train", coupled, mine))
    seconds: dict[str, list[float]] = {contestant.label: [] for contestant in found}
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", flush=True)
        for label, outcome in race(found, arguments.turns).items():
            seconds[label] += outcome.seconds
    plain = [(a + b) / 2 for a, b in zip(seconds["none"], seconds["again"], strict=True)]
    rows: dict[str, Any] = {}
    for label, own in seconds.items():
        ratios = [a / b for a, b in zip(own, plain, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows[label] = {
            "median_seconds": statistics.median(own),
            "times_none": middle,
            "quartiles": (low, high),
            "times_none_by_round": [
                statistics.median(ratios[i : i + arguments.turns])
                for i in range(0, len(ratios), arguments.turns)
            ],
        }
        by_round = ", ".join(f"{r:.3f}" for r in rows[label]["times_none_by_round"])
        print(
            f"{label:20} {1e3 * rows[label]['median_seconds']:7.1f} ms  {middle:.3f} x none "
            f"({low:.3f} to {high:.3f}); by round {by_round}"
        )
    lengths = {"turns": arguments.turns, "rounds": arguments.rounds}
    write(arguments.json, {"machine": facts, **common, **lengths, "steps": rows})


if __name__ == "__main__":
    main()
