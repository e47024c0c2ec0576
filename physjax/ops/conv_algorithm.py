"""Which algorithm computes a convolution: chosen by its shapes, from measured limits.

The algorithms of the output, the input gradient and the kernel gradient are chosen separately:
a `Plan`. The limits come from `benchmarks/conv_algorithms.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
from jax import lax

from physjax.ops import winograd
from physjax.ops.winograd import Pads

Algorithm = Literal["auto", "direct", "patch", "winograd2", "winograd4"]
Padding = str | int | Sequence[tuple[int, int]]

TRANSFORMS = {"winograd2": winograd.F2, "winograd4": winograd.F4}


@dataclass(frozen=True)
class Plan:
    """How each of the three convolutions of a layer is computed: names as in `Algorithm`."""

    forward: str = "direct"
    input_gradient: str = "direct"
    kernel_gradient: str = "direct"

    def __str__(self) -> str:
        parts = (self.forward, self.input_gradient, self.kernel_gradient)
        return parts[0] if len(set(parts)) == 1 else "/".join(parts)


def choose(
    input_shape: Sequence[int],
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    padding: Padding = "SAME",
    algorithm: Algorithm = "auto",
    platform: str | None = None,
) -> Plan:
    """How `physjax.ops.conv.conv` computes a convolution: a pure function of the arguments.

    Args:
      input_shape: N, H, W, C.
      kernel_shape: H, W, I, O.
      strides, padding, algorithm: as in `conv`.
      platform: "cpu", "gpu", "tpu"; None: JAX's default backend.

    Raises:
      ValueError: as `conv` does.
    """
    strides, pads = checked(input_shape, kernel_shape, strides, padding)
    if algorithm not in get_args(Algorithm):
        raise ValueError(f"conv: algorithm={algorithm!r}, but it is one of {get_args(Algorithm)}")
    if algorithm in TRANSFORMS and not winograd.applies(kernel_shape, strides):
        raise ValueError(
            f"conv: algorithm={algorithm!r} computes 3x3 kernels with strides (1, 1), not "
            f"{kernel_shape[0]}x{kernel_shape[1]} with {strides}; use 'auto', 'patch' or 'direct'"
        )
    if (platform or jax.default_backend()) != "cpu":
        return Plan()
    if algorithm != "auto":
        return Plan(algorithm, algorithm, algorithm)
    out_h, out_w = output_size(input_shape, kernel_shape, strides, pads)
    # A batch that `jax.export` leaves open has no size to compare yet.
    batch = input_shape[0] if isinstance(input_shape[0], int) else _OPEN_BATCH
    return _measured(batch, kernel_shape, strides, out_h, out_w)


# The table: limits between the algorithms, read off `benchmarks/conv_algorithms.py` on 2 cores of
# an AMD EPYC (Zen 4) with jaxlib 0.10.2, and malloc as `physjax.runtime` has it.
_FEW_TAPS = 48
"""Kernel height * width * channels up to which a matrix product over patches wins: first layers."""
_FEW_PIXELS = 4
"""Output pixels up to which XLA's direct 3x3 convolution is up to 100 times slower than others."""
_F2_ROWS, _F4_ROWS = 32, 64
"""Tiles in a batch from which a transformed kernel is worth its making."""
_GRADIENT_CHANNELS, _FORWARD_CHANNELS = 9, 20
"""C O / (C + O), products over transforms, from which Winograd beats the direct kernel gradient
(which XLA does worst), and the direct output and input gradient."""
_OPEN_BATCH = 128
"""The batch that is chosen for where it is a symbol: a recipe's."""
_PATCH_GRADIENT_CHANNELS = 128
"""Channels from which other kernels' gradient is better over patches."""


def _measured(
    batch: int, kernel_shape: Sequence[int], strides: tuple[int, int], out_h: int, out_w: int
) -> Plan:
    height, width, channels, features = kernel_shape
    patch = Plan("patch", "patch", "patch")
    taps = height * width
    if taps == 1 or taps * channels <= _FEW_TAPS:
        return patch
    small = taps <= 9 and out_h * out_w <= _FEW_PIXELS
    if not winograd.applies(kernel_shape, strides):
        many = channels >= _PATCH_GRADIENT_CHANNELS
        return patch if small else Plan(kernel_gradient="patch" if many else "direct")
    products = channels * features / (channels + features)
    tiles2, tiles4 = (-(-out_h // m) * -(-out_w // m) for m in (2, 4))
    if products < _GRADIENT_CHANNELS or batch * tiles2 < _F2_ROWS:
        return patch if small or products >= _FORWARD_CHANNELS else Plan()
    # Multiplications are 16 for a tile of F2 and 36 for one of F4. F2 where they are equal: it is
    # the more exact one.
    four = batch * tiles4 >= _F4_ROWS and 36 * tiles4 < 16 * tiles2
    tiled = "winograd4" if four else "winograd2"
    if products < _FORWARD_CHANNELS and not small:
        return Plan(kernel_gradient=tiled)
    return Plan(tiled, tiled, tiled)


def checked(
    input_shape: Sequence[int], kernel_shape: Sequence[int], strides: Any, padding: Any
) -> tuple[tuple[int, int], Pads]:
    """Strides (down, across) and padding ((top, bottom), (left, right)), whatever form `conv` took.

    Raises ValueError for those that do not fit the shapes, and for shapes that do not fit together.
    """
    if len(input_shape) != 4 or len(kernel_shape) != 4:
        raise ValueError(
            f"conv: images NHWC and a kernel HWIO have 4 axes each, got shapes "
            f"{tuple(input_shape)} and {tuple(kernel_shape)}"
        )
    if input_shape[3] != kernel_shape[2]:
        raise ValueError(
            f"conv: images {tuple(input_shape)} have {input_shape[3]} channels, the kernel "
            f"{tuple(kernel_shape)} takes {kernel_shape[2]}"
        )
    if min(kernel_shape) < 1:
        raise ValueError(f"conv: kernel shape {tuple(kernel_shape)} has an empty axis")
    strides = (strides, strides) if isinstance(strides, int) else tuple(strides)
    if len(strides) != 2 or min(strides) < 1:
        raise ValueError(f"conv: strides={strides}, but they are two integers of at least 1")
    pads = _pads(input_shape, kernel_shape, strides, padding)
    size = output_size(input_shape, kernel_shape, strides, pads)
    if min(size) < 1:
        raise ValueError(
            f"conv: kernel {tuple(kernel_shape)} with padding={padding!r} is larger than the "
            f"images {tuple(input_shape)}; pad more or take a smaller kernel"
        )
    return strides, pads


def _pads(
    input_shape: Sequence[int], kernel_shape: Sequence[int], strides: tuple[int, int], padding: Any
) -> Pads:
    if isinstance(padding, str) and padding in ("SAME", "VALID"):
        down, across = lax.padtype_to_pads(input_shape[1:3], kernel_shape[:2], strides, padding)
        return (int(down[0]), int(down[1])), (int(across[0]), int(across[1]))
    if isinstance(padding, int) and padding >= 0:
        return (padding, padding), (padding, padding)
    if isinstance(padding, Sequence) and not isinstance(padding, str) and len(padding) == 2:
        pairs = [tuple(p) if isinstance(p, Sequence) else () for p in padding]
        if all(len(p) == 2 and all(isinstance(v, int) and v >= 0 for v in p) for p in pairs):
            return pairs[0], pairs[1]
    raise ValueError(
        f'conv: padding={padding!r}, but it is "SAME", "VALID", an integer of at least 0, or '
        "((top, bottom), (left, right))"
    )


def output_size(
    input_shape: Sequence[int], kernel_shape: Sequence[int], strides: tuple[int, int], pads: Pads
) -> tuple[int, int]:
    """Height and width of what a convolution of these shapes, NHWC and HWIO, gives."""
    height, width = (
        (size + sum(pad) - kernel) // stride + 1
        for size, pad, kernel, stride in zip(
            input_shape[1:3], pads, kernel_shape[:2], strides, strict=True
        )
    )
    return height, width
