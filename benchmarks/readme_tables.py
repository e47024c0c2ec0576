"""The tables of README.md from the records in results/benchmarks/.

python benchmarks/readme_tables.py > tables.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.measuring import describe
from physjax.ops.conv_algorithm import Plan

RECORDS = Path(__file__).resolve().parents[1] / "results" / "benchmarks"


def read(name: str, *more: str, title: str = "") -> dict[str, Any]:
    """A record by the name of its benchmark, after its heading was printed.

    `more` are fields of the record that say what it is of. A record without `machine` says line by
    line what it ran on.
    """
    found: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    print(f"### {title or name + '.py'}\n")
    if "machine" in found:
        line = "; ".join([describe(found["machine"]), *(str(found[field]) for field in more)])
        print(f"{line}.\n")
    return found


def table(*rows: list[str]) -> None:
    """Print rows as Markdown, the first one as the head."""
    head, *body = rows
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}")
    for row in body:
        print(f"| {' | '.join(row)} |")
    print()


def spread(ratio: float, quartiles: list[float]) -> str:
    """A ratio and the quartiles that it is the median of."""
    return f"{ratio:.2f} ({quartiles[0]:.2f} to {quartiles[1]:.2f})"


def train_step() -> None:
    """Images per second of physjax's train steps, and its advantage over each of the others."""
    record = read("train_step")
    labels = list(dict.fromkeys(label for sides in record["models"].values() for label in sides))
    others = [label for label in labels if label != "physjax"]
    heads = [f"x {label.removeprefix('PyTorch ')}" for label in others]
    rows = [[f"batch {record['batch']}", "physjax, images/s", *heads, "MiB", "float32: MiB"]]
    for model, sides in record["models"].items():
        ratios = [
            spread(sides[label]["physjax_is_times_as_fast"], sides[label]["quartiles"])
            if label in sides
            else "–"
            for label in others
        ]
        memory = [f"{sides[k]['peak_memory_mib']:,.0f}" for k in ("physjax", "PyTorch float32")]
        rows.append([model, f"{sides['physjax']['images_per_second']:,.0f}", *ratios, *memory])
    table(*rows)
    for label, why in record.get("left_out", {}).items():
        print(f"{label} left out: {why}.\n")


def inference() -> None:
    """Images per second of predictions."""
    record = read("inference")
    rows = [["model, batch", "images/s", "speed-up by folding, and by physjax folded"]]
    for model, batches in record["models"].items():
        for batch, sides in batches.items():
            for label, row in sides.items():
                rows.append(
                    [
                        f"{model}, {batch}: {label}",
                        f"{row['images_per_second']:,.0f}",
                        spread(row["folded_is_times_as_fast"], row["quartiles"]),
                    ]
                )
    table(*rows)


def layer_overhead() -> None:
    """Steps with laws beside the plain one."""
    _layer_overhead(read("layer_overhead"))


def layer_overhead_speedrun() -> None:
    """The same for the network of the screening of laws."""
    _layer_overhead(read("layer_overhead_speedrun", title="layer_overhead.py --recipe speedrun"))


def _layer_overhead(record: dict[str, Any]) -> None:
    width = record.get("width", 1.0)  # records before there was a choice have none
    network = f"{record['name']}, width {width:g}, batch {record['batch_size']}"
    rows = [[network, "ms", "x none", "in each round"]]
    for label, row in record["steps"].items():
        rows.append(
            [
                label,
                f"{1e3 * row['median_seconds']:.0f}",
                spread(row["times_none"], row["quartiles"]),
                ", ".join(f"{ratio:.3f}" for ratio in row["times_none_by_round"]),
            ]
        )
    table(*rows)


def rule_steps() -> None:
    """Steps by each learning rule, compared with backpropagation's."""
    record = read("rule_steps")
    networks = record["steps"]
    heads = [f"{name}: ms, x backprop, s to the first step" for name in networks]
    rows = [[f"batches of {record['batch_size']}", *heads]]
    for rule in next(iter(networks.values())):
        cells = [
            f"{1e3 * row['median_seconds']:.0f}, "
            f"{spread(row['times_backprop'], row['quartiles'])}, {row['setup_seconds']:.0f}"
            for row in (network[rule] for network in networks.values())
        ]
        rows.append([rule, *cells])
    table(*rows)


def start_up() -> None:
    """Seconds until the first step."""
    record = read("start_up")
    models = record["models"]
    parts = next(iter(models.values()))["cold"]
    rows = [["seconds, caches empty / full", *models]]
    for part in parts:
        cells = [f"{m['cold'][part]:.2f} / {m['warm'][part]:.2f}" for m in models.values()]
        rows.append([part, *cells])
    table(*rows)


def scaling() -> None:
    """Steps along each axis."""
    record = read("scaling", "model")
    rows = [["", "ms a step", "images/s", "peak MiB"]]
    for axis, found in record["axes"].items():
        for row in found:
            rows.append(
                [
                    f"{axis} {row[axis]:g}",
                    f"{row['milliseconds']:,.0f}",
                    f"{row['images_per_second']:,.0f}",
                    f"{row['peak_memory_mib']:,.0f}",
                ]
            )
    table(*rows)


def profile_step() -> None:
    """Where a step's time goes."""
    record = read("profile_step", "model")
    sides = [record["before"], record["after"]]
    sums = [sum(side["milliseconds"].values()) for side in sides]
    kinds = sorted(
        {*sides[0]["milliseconds"], *sides[1]["milliseconds"]},
        key=lambda name: -max(side["milliseconds"].get(name, 0) for side in sides),
    )
    rows = [["operation", "before [ms]", "share", "after [ms]", "share"]]
    for name in kinds:
        row = [name]
        for side, total in zip(sides, sums, strict=True):
            value = side["milliseconds"].get(name, 0.0)
            row += [f"{value:.0f}", f"{value / total:.0%}"]
        rows.append(row)
    rows.append(["the step", *(c for s in sides for c in (f"{s['step_milliseconds']:.0f}", ""))])
    rows.append(
        [
            "direct convolutions' FLOP/s, of a matrix product's",
            *(c for s in sides for c in ("", f"{s['of_matrix_product_peak']:.0%}")),
        ]
    )
    table(*rows)


def conv_algorithms() -> None:
    """The speed-up of the chosen plan over the direct convolution."""
    record = read("conv_algorithms")
    rows = [["speed-up over direct", "plan", "output", "input gradient", "kernel gradient"]]
    for layer in record["layers"]:
        cells = []
        for part in ("forward", "input_gradient", "kernel_gradient"):
            times = layer["milliseconds"][part]
            cells.append(f"{times['direct'] / times[layer['plan'][part]]:.2f}")
        plan = str(Plan(**layer["plan"]))
        rows.append([f"{layer['layer']}, batch {layer['batch']}", plan, *cells])
    for pool in record["pools"]:
        times = pool["milliseconds"]
        cells = ["", f"{times['flax'] / times['ours']:.2f}", ""]
        rows.append(
            [f"{pool['pool']}, batch {pool['batch']}", "gradient, compared with Flax's", *cells]
        )
    table(*rows)


def input_pipeline() -> None:
    """Images per second of the input path."""
    record = read("input_pipeline", "dataset")
    rows = [[f"batch {record['batch_size']}", "images/s"]]
    rows += [[name, f"{rate:,.0f}"] for name, rate in record["images_per_second"].items()]
    table(*rows)


def streaming() -> None:
    """What streaming costs, how fast JPEGs are decoded, and the memory of a run on a folder."""
    record = read("streaming")
    rows = [["batch 128", "on the device, images/s", "streamed", "of it"]]
    for model, row in record["modes"].items():
        rates = [f"{row['images_per_second'][mode]:,.0f}" for mode in ("device", "stream")]
        rows.append([model, *rates, spread(row["stream_of_device"], row["quartiles"])])
    table(*rows)
    rows = [["JPEGs to 224x224", "images/s"]]
    rates = record["decoding"]["images_per_second"]
    table(*rows, *([name, f"{rate:,.0f}"] for name, rate in rates.items()))
    rows = [["a run on a folder", "decoded, MiB", "images/s", "MiB resident, by epochs done"]]
    for run in record["folder"]:
        peaks = ", ".join(f"{peak:,.0f}" for peak in run["peak_mib_by_epochs_done"])
        name = f"{run['images']:,} JPEGs, {run['workers'] or 'no'} workers"
        rows.append([name, f"{run['decoded_mib']:,.0f}", f"{run['images_per_second']:,.0f}", peaks])
    table(*rows)


def loop_overhead() -> None:
    """What the training loop takes on top of its steps."""
    record = read("loop_overhead")
    rows = [["model", "images/s", "share of the loop's time in its steps"]]
    for model, row in record["models"].items():
        rows.append(
            [model, f"{row['loop_images_per_second']:,.0f}", f"{row['share_of_steps']:.2%}"]
        )
    table(*rows)


def time_to_accuracy() -> None:
    """Seconds of training until an accuracy."""
    record = read("time_to_accuracy")
    of_records = "machine" not in record
    levels = [f"{level:.0%}" for level in record["levels"]]
    rows = [["run", *(["device"] if of_records else []), *levels]]
    for name, run in record["runs"].items():
        if "left_out" in run:
            rows.append([f"{name} left out: {run['left_out']}", *("" for _ in levels)])
            continue
        seconds = ["–" if t is None else f"{t:.0f} s" for t in run["seconds"].values()]
        if of_records:
            seconds.insert(0, f"{run['device']['kind']}, {run['device']['host_cores']} cores")
        rows.append([name, *seconds])
    table(*rows)


def batch_pieces() -> None:
    """Winograd's loop over a batch, compared with none."""
    record = read("batch_pieces")
    count = record["machine"]["processors"]
    word = "processor" if count == 1 else "processors"
    rows = [[f"on {count} {word}", "ms", "times as fast", "MiB", "whole batch: MiB"]]
    for name, row in record["networks"].items():
        memory = [f"{row['peak_memory_mib'][k]:,.0f}" for k in ("pieces", "whole")]
        ratio = spread(row["times_as_fast"], row["quartiles"])
        rows.append([name, f"{row['step_milliseconds']:.0f}", ratio, *memory])
    table(*rows)


if __name__ == "__main__":
    for part in (
        train_step,
        inference,
        loop_overhead,
        layer_overhead,
        layer_overhead_speedrun,
        rule_steps,
        start_up,
        profile_step,
        input_pipeline,
        streaming,
        scaling,
        time_to_accuracy,
        conv_algorithms,
        batch_pieces,
    ):
        if (RECORDS / f"{part.__name__}.json").exists():
            part()
