"""Train steps of every learning rule, compared with backpropagation's, in turns.

    python benchmarks/rule_steps.py --json results/benchmarks/rule_steps.json

The basic CNN, and AlexNet at half width without a norm. Backpropagation takes part twice, and the
mean of the two is what the others are compared with; what the two differ by is what this machine
can tell apart. The record says too how long a rule takes until its first step is done, compiling
included.
"""

from __future__ import annotations

import statistics
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, announce, options, race, write

HOSTS: dict[str, dict[str, Any]] = {
    "cnn": {"name": "cnn"},
    "alexnet": {"name": "alexnet", "width": 0.5, "norm": "none"},
}
"""Networks, as fields of the config."""
RULES: dict[str, dict[str, Any]] = {
    "backprop": {"update_rule": "backprop"},
    "again": {"update_rule": "backprop"},
    "feedback-alignment": {"update_rule": "feedback-alignment"},
    "equilibrium-propagation, centred": {"update_rule": "equilibrium-propagation"},
    "equilibrium-propagation, random": {
        "update_rule": "equilibrium-propagation",
        "scheme": "random",
    },
    "dual-propagation": {"update_rule": "dual-propagation"},
    "dual-propagation, fast": {"update_rule": "dual-propagation", "form": "fast"},
    "coupled-learning": {"update_rule": "coupled-learning"},
    "channel-resistances": {"update_rule": "channel-resistances"},
}
"""Rules and their settings; those of networks that settle at their default rounds."""


def compare(host: str, batch: int, turns: int, rules: list[str]) -> dict[str, dict[str, Any]]:
    """Seconds per step of each rule on one network, and in multiples of backpropagation's."""
    mine = physjax_side.environment()
    common = {**HOSTS[host], "batch_size": batch, "examples": 5000, "dropout": 0.0}
    found = [
        Contestant(label, "harness.physjax_side:train", {**common, "rule": RULES[label]}, mine)
        for label in ("backprop", "again", *rules)
    ]
    outcomes = race(found, turns)
    pairs = zip(outcomes["backprop"].seconds, outcomes["again"].seconds, strict=True)
    plain = [(a + b) / 2 for a, b in pairs]
    rows = {}
    for label, outcome in outcomes.items():
        ratios = [own / base for own, base in zip(outcome.seconds, plain, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows[label] = {
            "median_seconds": outcome.median,
            "times_backprop": middle,
            "quartiles": (low, high),
            "setup_seconds": outcome.setup_seconds,
            "peak_memory_mib": outcome.peak_memory_mib,
        }
        print(
            f"{label:34} {1e3 * outcome.median:8.1f} ms  {middle:6.2f} x backprop "
            f"({low:.2f} to {high:.2f}); first step after {outcome.setup_seconds:.0f} s"
        )
    return rows


def main() -> None:
    parser = options(__doc__)
    others = [label for label in RULES if label not in ("backprop", "again")]
    parser.add_argument("--models", nargs="+", default=list(HOSTS), choices=list(HOSTS))
    parser.add_argument("--rules", nargs="+", default=others, choices=others)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    facts = announce()
    rows = {}
    for host in arguments.models:
        print(f"{host}, batches of {arguments.batch}", flush=True)
        rows[host] = compare(host, arguments.batch, arguments.turns, arguments.rules)
    lengths = {"batch_size": arguments.batch, "turns": arguments.turns}
    write(arguments.json, {"machine": facts, "networks": HOSTS, **lengths, "steps": rows})


if __name__ == "__main__":
    main()
