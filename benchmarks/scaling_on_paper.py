"""What a train step would take on 8 to 1,024 accelerators, by the program that XLA compiles.

    python benchmarks/scaling_on_paper.py --json results/benchmarks/scaling_on_paper.json
    python benchmarks/scaling_on_paper.py --record results/benchmarks/scaling_on_paper.json \\
        --figure docs/figures/scaling_on_paper.png

The first compiles the step of each network for eight (fake) devices, with two sizes of batch, and
keeps what the compiler says of it: floating-point operations and bytes of memory of a device, and
every collective with its bytes. The second computes from that record, and from the accelerators
assumed below, how long a step takes. Nothing of it was measured on an accelerator.

A step is the longer one of arithmetic and memory traffic, and then the collectives, none hidden
behind arithmetic: a bound from above. All-reduce of m bytes over N devices takes
2 (N - 1) / N m / bandwidth in a ring, and 2 log2(N) times the latency of a hop in a tree; gathering
and scattering take half. Beyond a node the slower network counts. Under pmap each device draws
augmentation and dropout masks of the whole batch (`physjax.nn.dropout`), and keeps its part.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, alone, announce, options, write
from physjax import plotting

COMPILED_FOR = 8
BATCHES = (16, 64)
"""Of a device, that are compiled: what a step takes is a straight line through both."""
PER_DEVICE = 128
GLOBAL = 8192
"""Of all devices together, where that is what stays the same."""
COUNTS = (8, 16, 32, 64, 128, 256, 512, 1024)
WAYS = ("pmap", "data", "fsdp")
CASES: dict[str, dict[str, Any]] = {
    "alexnet, 32x32": {"name": "alexnet"},
    "alexnet, 224x224": {"name": "alexnet", "size": "imagenet"},
    "vgg11, 224x224": {"name": "vgg11", "size": "imagenet"},
}
EFFICIENT = 0.8


@dataclass(frozen=True)
class Accelerator:
    """What is assumed of a device and of what connects it to others."""

    name: str
    source: str
    flops: float
    """Peak of matrix products of float32 as JAX computes them unless told otherwise [1/s]."""
    memory: float
    """[bytes/s]"""
    integers: float
    """Operations on 32-bit integers [1/s], which random numbers are made of."""
    node: int
    """Devices that the fast network connects."""
    inside: float
    """Of that network, for a device and direction [bytes/s]."""
    outside: float
    """Of the network between nodes [bytes/s]."""
    hop_inside: float
    hop_outside: float
    """Latency of one hop of a collective [s]: an assumption, of no data sheet."""


ACCELERATORS = (
    Accelerator(
        "H100",
        "NVIDIA H100 SXM data sheet: TF32 495 TFLOP/s dense, 3.35 TB/s, NVLink 900 GB/s in both "
        "directions; DGX H100: eight to a node, a 400 Gb/s adapter each; 64 integer lanes in 132 "
        "multiprocessors at 1.7 GHz",
        495e12,
        3.35e12,
        64 * 132 * 1.7e9,
        8,
        450e9,
        50e9,
        3e-6,
        8e-6,
    ),
    Accelerator(
        "TPU v5p",
        "Google Cloud, TPU v5p: 459 TFLOP/s in bfloat16, as which JAX multiplies float32 there, "
        "2,765 GB/s, 1,200 GB/s between chips in both directions, one network in a pod of 8,960; "
        "integers at a hundredth of the peak are a guess",
        459e12,
        2.765e12,
        4.59e12,
        8960,
        600e9,
        600e9,
        1e-6,
        1e-6,
    ),
)
UTILISED = 0.4
"""Of the peak, that convolutions and products reach: an assumption."""
OPERATIONS_OF_A_DRAW = 100
"""Threefry-2x32 of 20 rounds, each an addition, a rotation and an exclusive or, for 32 bits."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--record", type=Path, help="compute from this record; compile nothing")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    if arguments.record:
        record = json.loads(arguments.record.read_text(encoding="utf-8"))
    else:
        record = {"machine": announce(), "cases": {}}
        for case in arguments.cases:
            for way in WAYS:
                found = [_compiled(CASES[case], way, batch) for batch in BATCHES]
                record["cases"].setdefault(case, {})[way] = found
                print(case, way, *(f"{row['flops'] / 1e9:.1f} GFLOP" for row in found), flush=True)
    print("\n".join(table(record)))
    if arguments.figure:
        draw(record, arguments.figure)
    assumed: dict[str, Any] = {"accelerators": [dataclasses.asdict(on) for on in ACCELERATORS]}
    assumed |= {"share_of_peak": UTILISED, "operations_of_a_draw": OPERATIONS_OF_A_DRAW}
    write(arguments.json, {**record, "assumed": assumed})


def _compiled(model: dict[str, Any], way: str, batch: int) -> dict[str, Any]:
    environment = physjax_side.environment()
    # What a processor makes of the program is not the question: only what the program is.
    environment["XLA_FLAGS"] += (
        f" --xla_force_host_platform_device_count={COMPILED_FOR}"
        " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    )
    what = {"model": model, "way": way, "batch": batch}
    found: dict[str, Any] = alone(
        Contestant("compiled", "scaling_on_paper:measure", what, environment)
    )
    return found


def measure(model: dict[str, Any], way: str, batch: int) -> dict[str, Any]:
    """What the compiler says of a device's share of the step, with `batch` examples a device."""
    import jax
    import numpy as np

    from physjax.train.sharding import is_parted, layout, lower_step, place
    from physjax.train.state import init_state
    from physjax.train.step import train_step

    # Accelerators have fast direct convolutions; the other algorithms are made for CPUs.
    setup = physjax_side.setup(batch * COMPILED_FOR, 1000, algorithm="direct", **model)
    setup = dataclasses.replace(
        setup, shards=COMPILED_FOR, config=setup.config.set("run.sharding", way)
    )
    pixels, labels = physjax_side.images(1000)
    arrays: Any = place(setup, (pixels, labels, np.arange(1000, dtype=np.int32)))
    # Shapes alone: eight copies of the state would fill this machine.
    shapes = jax.eval_shape(lambda: init_state(setup))
    whole = jax.tree.map(lambda leaf: arrays[0].sharding, shapes)
    state = jax.tree.map(
        lambda leaf, lies: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=lies),
        shapes,
        layout(setup, shapes) if is_parted(setup) else whole,
    )
    program = lower_step(setup, train_step, state, *arrays, donate=True).compile()
    costs, memory, text = program.cost_analysis(), program.memory_analysis(), program.as_text()
    assert costs is not None
    assert memory is not None
    assert text is not None
    return {
        "batch": batch,
        "flops": costs["flops"],
        "bytes": costs["bytes accessed"],
        "collectives": collectives(text),
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "state_bytes": memory.argument_size_in_bytes - sum(x.nbytes for x in arrays),
        "temporary_bytes": memory.temp_size_in_bytes,
        "draws": draws_per_example(setup),
    }


def draws_per_example(setup: Any) -> int:
    """Random numbers that augmentation and dropout draw for an image."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    from physjax.data.augment import ATTEMPTS
    from physjax.train.state import init_state

    units = []

    def note(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.Dropout) and context.module.rate:
            units.append(math.prod(args[0].shape[1:]))
        return method(*args, **kwargs)

    setup = dataclasses.replace(setup, shards=1)
    variables = jax.eval_shape(lambda: init_state(setup).variables)
    images = jax.ShapeDtypeStruct((1, setup.image_size, setup.image_size, 3), jnp.float32)

    def run(variables: Any, images: Any) -> Any:
        rngs = {"dropout": jax.random.key(0)}
        return setup.model().apply(
            variables, images, train=True, mutable=["batch_stats"], rngs=rngs
        )

    with nn.intercept_methods(note):
        jax.eval_shape(run, variables, images)
    return 5 + 2 * ATTEMPTS + sum(units)


_BYTES = {"pred": 1, "u8": 1, "s8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(_KINDS)})(?:-start)?\(")
_SHAPE = re.compile(r"(pred|[subf]f?\d+)\[([\d,]*)\]")


def collectives(program: str) -> list[dict[str, Any]]:
    """Every collective of an HLO program: its kind, and the bytes of its result on a device."""
    found = []
    for line in program.splitlines():
        if match := _COLLECTIVE.search(line):
            size = sum(
                _BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n)
                for kind, shape in _SHAPE.findall(match[1])
            )
            found.append({"kind": match[2], "bytes": size})
    return found


@dataclass(frozen=True)
class Step:
    """Seconds that a step is expected to take, by what they go into."""

    compute: float
    draws: float
    small: float
    """Collectives of less than 64 KiB, which are latency: those of batch norms and metrics."""
    large: float

    @property
    def total(self) -> float:
        return self.compute + self.draws + self.small + self.large

    @property
    def efficiency(self) -> float:
        """The share of the time in which the batch is computed."""
        return self.compute / self.total

    @property
    def worst(self) -> str:
        """What takes the most beside computing."""
        names = {
            "draws": "random numbers",
            "small": "latency of the norms",
            "large": "gradients",
        }
        return max(names.items(), key=lambda item: getattr(self, item[0]))[1]


def expected(rows: list[dict[str, Any]], way: str, on: Accelerator, count: int, batch: int) -> Step:
    """A step of `count` devices with `batch` examples each.

    Args:
      rows: of the record, for the two batches that were compiled.
      way: of `--sharding`.
      on: what is assumed of the devices.
      count: of devices.
      batch: examples of each.
    """
    few, many = rows

    def line(what: str) -> float:
        slope = (many[what] - few[what]) / (many["batch"] - few["batch"])
        return max(0.0, few[what] + slope * (batch - few["batch"]))

    compute = max(line("flops") / (UTILISED * on.flops), line("bytes") / on.memory)
    drawn = batch * (count if way == "pmap" else 1) * few["draws"]
    small = large = 0.0
    for one in few["collectives"]:
        seconds = _collective(one["kind"], one["bytes"], on, count)
        if one["bytes"] < 2**16:
            small += seconds
        else:
            large += seconds
    return Step(compute, drawn * OPERATIONS_OF_A_DRAW / on.integers, small, large)


def _collective(kind: str, size: int, on: Accelerator, count: int) -> float:
    crosses = count > on.node
    bandwidth = min(on.inside, on.outside) if crosses else on.inside
    hops = math.log2(min(count, on.node)) * on.hop_inside
    hops += math.log2(count / on.node) * on.hop_outside if crosses else 0.0
    one_way = (count - 1) / count * size / bandwidth + hops
    return 2 * one_way if kind == "all-reduce" else one_way


def table(record: dict[str, Any]) -> list[str]:
    """Markdown: steps of a constant batch for each device, and when what breaks; then for a
    constant batch of all."""
    shown = (8, 64, 1024)
    heads = [f"{PER_DEVICE} images a device", "", *(f"{n:,} devices" for n in shown)]
    heads += ["below 80% from", "by", f"{GLOBAL:,} images in all: below 80% from", "by"]
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * len(shown) + "---:|---|---:|---|"]
    for case, ways in record["cases"].items():
        for on in ACCELERATORS:
            for way, rows in ways.items():
                weak = {n: expected(rows, way, on, n, PER_DEVICE) for n in COUNTS}
                strong = {n: expected(rows, way, on, n, GLOBAL // n) for n in COUNTS}
                cells = [f"{1e3 * weak[n].total:.2f} ms, {weak[n].efficiency:.0%}" for n in shown]
                cells = [f"{case}, {on.name}", f"`{way}`", *cells, *_end(weak), *_end(strong)]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def _end(steps: dict[int, Step]) -> tuple[str, str]:
    """From how many devices on a step is not efficient, and what its time goes into there."""
    below = [n for n, step in steps.items() if step.efficiency < EFFICIENT]
    if not below:
        return "–", steps[max(steps)].worst
    return f"{min(below):,}", steps[min(below)].worst


def draw(record: dict[str, Any], path: Path) -> None:
    """Efficiency against devices, as PNG: a panel for each network."""
    with plotting.figure(path.with_suffix(""), 10, 3.2) as fig:
        panels = fig.subplots(1, len(record["cases"]), sharey=True)
        for panel, (case, ways) in zip(panels, record["cases"].items(), strict=True):
            for on, style in zip(ACCELERATORS, ("-", "--"), strict=True):
                for way, color in zip(ways, ("C0", "C1", "C2"), strict=True):
                    values = [
                        expected(ways[way], way, on, n, PER_DEVICE).efficiency for n in COUNTS
                    ]
                    panel.semilogx(COUNTS, values, style, color=color, label=f"{way}, {on.name}")
            panel.set_xticks([8, 64, 256, 1024], ["8", "64", "256", "1,024"])
            panel.minorticks_off()
            panel.set(xlabel="devices", title=case, ylim=(0, 1))
        panels[0].set_ylabel("share of the step that computes")
        panels[-1].legend(fontsize="x-small")


if __name__ == "__main__":
    main()
