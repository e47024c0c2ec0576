"""How the cost of a train step grows with batch, devices, image size and width.

    python benchmarks/scaling.py --json results/benchmarks/scaling.json \\
        --figure docs/figures/step_scaling.png

Devices are fake ones on the same cores: they show what splitting a batch costs, not what more
machines gain. Image sizes are those of the two forms of AlexNet, 32x32 and 224x224.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, announce, options, race, write
from physjax import plotting

BATCHES = (32, 64, 128, 256, 512, 1024)
DEVICES = (1, 2, 4, 8)
WIDTHS = (0.25, 0.5, 1.0, 2.0)


def measure(axis: str, model: str, variants: dict[str, dict[str, Any]], turns: int) -> list[Any]:
    """A row for each variant: it stands alone, since the large ones need all the memory."""
    rows = []
    for value, arguments in variants.items():
        environment = physjax_side.environment()
        devices = arguments.get("devices", 1)
        environment["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
        what = {"name": model, "examples": 5000, **arguments}
        outcome = race([Contestant(value, "harness.physjax_side:train", what, environment)], turns)[
            value
        ]
        batch = arguments.get("batch_size", 128)
        rows.append(
            {
                axis: float(value),
                "batch": batch,
                "milliseconds": 1e3 * outcome.median,
                "images_per_second": batch / outcome.median,
                "peak_memory_mib": outcome.peak_memory_mib,
            }
        )
        print(
            f"{axis} {value:>5}: {1e3 * outcome.median:8.1f} ms a step, "
            f"{batch / outcome.median:7,.0f} images/s, {outcome.peak_memory_mib:6,.0f} MiB",
            flush=True,
        )
    return rows


def draw(axes: dict[str, list[Any]], model: str, machine: dict[str, Any], path: Path) -> None:
    """Images per second against each axis, as PNG."""
    with plotting.figure(path.with_suffix(""), 10, 2.8) as fig:
        for panel, (axis, rows) in zip(fig.subplots(1, len(axes)), axes.items(), strict=True):
            ticks = [row[axis] for row in rows]
            panel.semilogx(ticks, [row["images_per_second"] for row in rows], "o-")
            panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            panel.minorticks_off()
            panel.tick_params(axis="x", labelsize="x-small")
            panel.set(xlabel=axis, ylabel="images/s")
            plotting.start_at_zero(panel)
        fig.suptitle(f"Train step of {model} on {machine['cores']} cores")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", default="physics")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    facts = announce()
    variants: dict[str, dict[str, dict[str, Any]]] = {
        "batch": {str(n): {"batch_size": n} for n in BATCHES},
        "devices": {str(n): {"devices": n} for n in DEVICES},
        "width": {f"{w:g}": {"width": w} for w in WIDTHS},
        "image size": {
            "32": {"batch_size": 16},
            "224": {"batch_size": 16, "size": "imagenet"},
        },
    }
    axes = {
        axis: measure(axis, arguments.model, found, arguments.turns)
        for axis, found in variants.items()
    }
    if arguments.figure:
        draw(axes, arguments.model, facts, arguments.figure)
    write(arguments.json, {"machine": facts, "model": arguments.model, "axes": axes})


if __name__ == "__main__":
    main()
