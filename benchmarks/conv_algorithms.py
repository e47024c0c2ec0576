"""Every algorithm of the convolution compared with the direct one, layer by layer.

    python benchmarks/conv_algorithms.py [--json FILE] [--batch 128] [--repeats 7] [--only TEXT]

Output, input gradient and kernel gradient are timed one by one, all algorithms in turns, so that
whatever else the machine does hits all of them alike; a figure is the median of the turns.
The rules in `physjax.ops.conv_algorithm` and in `physjax.ops.pool` come from these figures.
XLA_FLAGS and GLIBC_TUNABLES of the environment are used where they are set.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from harness.measuring import announce, options, write
from physjax import runtime

if __name__ == "__main__":
    # As a command of physjax does, before JAX is imported.
    runtime.configure(restart=True)

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from physjax.ops.conv import conv
from physjax.ops.conv_algorithm import Algorithm, choose
from physjax.ops.pool import max_pool

PARTS = ("forward", "input_gradient", "kernel_gradient")


@dataclass(frozen=True)
class Layer:
    """A square convolution, "SAME" padded; `batch` divides the command line's."""

    size: int
    channels: int
    features: int
    kernel: int = 3
    stride: int = 1
    shrink: int = 1

    def __str__(self) -> str:
        text = f"{self.kernel}x{self.kernel}/{self.stride} {self.channels}->{self.features}"
        return f"{text} @{self.size}"


LAYERS = (
    # AlexNet on 32x32 images.
    Layer(32, 3, 64),
    Layer(16, 64, 192),
    Layer(8, 192, 384),
    Layer(8, 384, 256),
    Layer(8, 256, 256),
    # The basic CNN.
    Layer(32, 3, 32),
    Layer(16, 32, 64),
    Layer(8, 64, 64),
    # ResNet and VGG on 32x32 images.
    Layer(32, 64, 64, shrink=2),
    Layer(16, 128, 128),
    Layer(4, 512, 512),
    Layer(2, 512, 512),
    Layer(32, 64, 128, stride=2, shrink=2),
    Layer(8, 256, 512, stride=2),
    Layer(8, 256, 512, kernel=1, stride=2),
    # GoogLeNet, DenseNet and ResNet's bottlenecks: 1x1, and few channels.
    Layer(32, 192, 64, kernel=1, shrink=2),
    Layer(8, 480, 192, kernel=1),
    Layer(4, 1024, 256, kernel=1),
    Layer(16, 16, 48, kernel=5),
    Layer(16, 16, 32),
    Layer(32, 48, 12, shrink=2),
    Layer(16, 128, 32),
    # The thinnest: ResNet-20's first stage, DenseNets, networks at part of their width.
    Layer(32, 16, 16),
    Layer(32, 24, 12),
    Layer(15, 16, 16),
    Layer(8, 16, 16),
    Layer(32, 8, 8),
    Layer(16, 8, 16),
    # Sizes that are no multiple of a tile.
    Layer(5, 128, 128),
    Layer(6, 128, 128),
    Layer(7, 256, 256),
    Layer(13, 192, 384, shrink=4),
    # 224x224 images.
    Layer(224, 3, 64, kernel=11, stride=4, shrink=16),
    Layer(27, 64, 192, kernel=5, shrink=16),
    Layer(56, 64, 64, shrink=16),
)
POOLS = ((2, 2, 32, 64), (2, 2, 16, 192), (2, 2, 8, 256), (3, 2, 27, 192))


def in_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median seconds of each function; the first, untimed turn compiles."""
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def parts(layer: Layer, algorithm: Algorithm, x: Array, w: Array) -> dict[str, Callable[[], Array]]:
    """Output and both gradients of a training step's convolution, each compiled on its own."""

    def forward(x: Array, w: Array) -> Array:
        return conv(x, w, strides=(layer.stride, layer.stride), algorithm=algorithm)

    dy = jnp.ones(jax.eval_shape(forward, x, w).shape)
    by_input = jax.jit(lambda x, w, dy: jax.vjp(lambda x: forward(x, w), x)[1](dy)[0])
    by_kernel = jax.jit(lambda x, w, dy: jax.vjp(lambda w: forward(x, w), w)[1](dy)[0])
    compiled = jax.jit(forward)
    return {
        "forward": lambda: compiled(x, w),
        "input_gradient": lambda: by_input(x, w, dy),
        "kernel_gradient": lambda: by_kernel(x, w, dy),
    }


def measure(layer: Layer, batch: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of each part by each algorithm that applies."""
    batch = max(1, batch // layer.shrink)
    key_x, key_w = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (batch, layer.size, layer.size, layer.channels))
    w = jax.random.normal(key_w, (layer.kernel, layer.kernel, layer.channels, layer.features))
    algorithms: list[Algorithm] = ["direct", "patch"]
    if (layer.kernel, layer.stride) == (3, 1):
        algorithms += ["winograd2", "winograd4"]
    by_algorithm = {algorithm: parts(layer, algorithm, x, w) for algorithm in algorithms}
    out = -(-layer.size // layer.stride)
    flops = 2 * batch * out**2 * layer.kernel**2 * layer.channels * layer.features
    plan = choose(x.shape, w.shape, (layer.stride, layer.stride))
    result: dict[str, Any] = {
        "layer": str(layer),
        **asdict(layer),
        "batch": batch,
        "gflop": flops / 1e9,
        "plan": asdict(plan),
        "milliseconds": {},
    }
    print(f"{layer}, batch {batch}: plan {plan}")
    for part in PARTS:
        seconds = in_turns({m: by_algorithm[m][part] for m in algorithms}, repeats)
        result["milliseconds"][part] = {m: 1e3 * s for m, s in seconds.items()}
        print(
            f"  {part:<16}"
            + "  ".join(
                f"{m} {1e3 * s:7.1f} ms {flops / s / 1e9:4.0f} GFLOP/s x{seconds['direct'] / s:.2f}"
                for m, s in seconds.items()
            ),
            flush=True,
        )
    return result


def measure_pool(pool: tuple[int, int, int, int], batch: int, repeats: int) -> dict[str, Any]:
    """Forward and backward of a maximum pool, ours compared with Flax's."""
    window, stride, size, channels = pool
    x = jax.random.normal(jax.random.key(0), (batch, size, size, channels))

    def step(pool: Callable[[Array], Array]) -> Callable[[], Array]:
        compiled = jax.jit(jax.grad(lambda x: (pool(x) ** 2).sum()))
        return lambda: compiled(x)

    seconds = in_turns(
        {
            "flax": step(lambda x: nn.max_pool(x, (window, window), (stride, stride))),
            "ours": step(lambda x: max_pool(x, (window, window), (stride, stride))),
        },
        repeats,
    )
    name = f"max {window}x{window}/{stride}, {channels} channels @{size}"
    print(
        f"{name}, batch {batch}: flax {1e3 * seconds['flax']:.1f} ms, ours "
        f"{1e3 * seconds['ours']:.1f} ms, x{seconds['flax'] / seconds['ours']:.2f}",
        flush=True,
    )
    return {"pool": name, "batch": batch, "milliseconds": {k: 1e3 * v for k, v in seconds.items()}}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--batch", type=int, default=128, help="smaller for the largest layers")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="layers whose name holds this text")
    arguments = parser.parse_args()
    facts = announce(products=True)
    record: dict[str, Any] = {"machine": facts}
    record["layers"] = [
        measure(layer, arguments.batch, arguments.repeats)
        for layer in LAYERS
        if arguments.only in str(layer)
    ]
    record["pools"] = [
        measure_pool(pool, arguments.batch, arguments.repeats)
        for pool in POOLS
        if arguments.only in f"max {pool[0]}"
    ]
    write(arguments.json, record)


if __name__ == "__main__":
    main()
