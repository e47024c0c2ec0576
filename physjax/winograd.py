"""Winograd's minimal filtering for 3x3 convolutions of stride 1: F(2x2, 3x3) and F(4x4, 3x3).

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308: a tile of
m x m output pixels is ``A [(G g G^T) * (B d B^T)] A^T`` (equation 8; A is transposed there), with d
the (m+2) x (m+2) pixels of the input below it and g the kernel. The product ``*`` of each of the
(m+2)^2 tile positions becomes one matrix product over all tiles and channels. It needs 2.25 (m=2)
or 4 (m=4) times fewer multiplications than the convolution, and loses some digits: in float32 the
result is off by about 1e-6 (m=2) or 1e-5 (m=4) of its size.

A matrix product for each position, not one batched product: XLA:CPU runs the batched one slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Pads = tuple[tuple[int, int], tuple[int, int]]
Planes = list[list[Array]]
"""A small square matrix, row by row, whose entries are arrays: one for each position in a tile."""


@dataclass(frozen=True, eq=False)
class Transform:
    """The matrices of F(m x m, 3 x 3)."""

    m: int
    """Side of a tile of the output; the input's is m + 2."""
    input_BT: np.ndarray
    """(m+2, m+2): B^T."""
    kernel_G: np.ndarray
    """(m+2, 3): G."""
    output_AT: np.ndarray
    """(m, m+2): A^T."""


def _matrix(*rows: Sequence[float]) -> np.ndarray:
    return np.array(rows, np.float64)


# Interpolation points 0, 1, -1, infinity.
F2 = Transform(
    m=2,
    input_BT=_matrix([1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]),
    kernel_G=_matrix([1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]),
    output_AT=_matrix([1, 1, 1, 0], [0, 1, -1, -1]),
)
# Interpolation points 0, 1, -1, 2, -2, infinity.
F4 = Transform(
    m=4,
    input_BT=_matrix(
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ),
    kernel_G=_matrix(
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ),
    output_AT=_matrix(
        [1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]
    ),
)


def _combine(coefficients: np.ndarray, terms: Sequence[Array]) -> Array:
    total: Array | None = None
    for coefficient, term in zip(coefficients.tolist(), terms, strict=True):
        if coefficient == 0:
            continue
        part = term if coefficient == 1 else coefficient * term
        total = part if total is None else total + part
    assert total is not None, "a transform has no row of zeros"
    return total


def _both_sides(matrix: np.ndarray, planes: Planes) -> Planes:
    """``matrix @ planes @ matrix.T``, written out as sums that XLA can fuse."""
    by_rows = [[_combine(row, column) for column in zip(*planes, strict=True)] for row in matrix]
    return [[_combine(row, line) for row in matrix] for line in by_rows]


def _tile_counts(height: int, width: int, m: int) -> tuple[int, int]:
    return -(-height // m), -(-width // m)


def _input_tiles(x_NHWC: Array, pads: Pads, f: Transform) -> tuple[Planes, tuple[int, int]]:
    """The transformed input, (tiles, C) for each position, and the output's height and width."""
    n, height, width, channels = x_NHWC.shape
    out_h, out_w = height + sum(pads[0]) - 2, width + sum(pads[1]) - 2
    tiles_h, tiles_w = _tile_counts(out_h, out_w, f.m)
    # Padding may be negative: then lax.pad crops.
    more_h, more_w = f.m * tiles_h - out_h, f.m * tiles_w - out_w
    config = [
        (0, 0, 0),
        (pads[0][0], pads[0][1] + more_h, 0),
        (pads[1][0], pads[1][1] + more_w, 0),
        (0, 0, 0),
    ]
    padded = lax.pad(x_NHWC, jnp.zeros((), x_NHWC.dtype), config)
    last_h, last_w = f.m * (tiles_h - 1) + 1, f.m * (tiles_w - 1) + 1
    planes = [
        [
            lax.slice(padded, (0, i, j, 0), (n, i + last_h, j + last_w, channels), (1, f.m, f.m, 1))
            for j in range(f.m + 2)
        ]
        for i in range(f.m + 2)
    ]
    tiles = _both_sides(f.input_BT, planes)
    return [[tile.reshape(-1, channels) for tile in row] for row in tiles], (out_h, out_w)


def _correlate(x_NHWC: Array, kernels: Planes, pads: Pads, f: Transform, axis: int) -> Array:
    """Convolution by transformed kernels (C, O), whose `axis` is the one summed over."""
    n = x_NHWC.shape[0]
    # Without the barriers XLA would compute transforms again inside their consumers.
    tiles, kernels = lax.optimization_barrier((_input_tiles(x_NHWC, pads, f)[0], kernels))
    contract = (((1,), (axis,)), ((), ()))
    products = [
        [lax.dot_general(t, k, contract) for t, k in zip(*rows, strict=True)]
        for rows in zip(tiles, kernels, strict=True)
    ]
    out_h, out_w = (s + sum(p) - 2 for s, p in zip(x_NHWC.shape[1:3], pads, strict=True))
    tiles_h, tiles_w = _tile_counts(out_h, out_w, f.m)
    out = _both_sides(f.output_AT, lax.optimization_barrier(products))
    shape = (n, tiles_h, tiles_w, out[0][0].shape[-1])
    lines = [jnp.stack([pixel.reshape(shape) for pixel in row], axis=3) for row in out]
    y_NHWC = jnp.stack(lines, axis=2).reshape(n, tiles_h * f.m, tiles_w * f.m, shape[-1])
    return y_NHWC[:, :out_h, :out_w]


def _kernel_planes(kernel_HWIO: Array) -> Planes:
    return [[kernel_HWIO[i, j] for j in range(3)] for i in range(3)]


def convolve(x_NHWC: Array, kernel_HWIO: Array, pads: Pads, f: Transform) -> Array:
    """The convolution of stride 1, NHWC."""
    return _correlate(x_NHWC, _both_sides(f.kernel_G, _kernel_planes(kernel_HWIO)), pads, f, 0)


def input_gradient(dy_NHWC: Array, kernel_HWIO: Array, pads: Pads, f: Transform) -> Array:
    """The cotangent of the input, NHWC: convolution of `dy` with the kernel turned by 180 degrees.

    The kernel's two channel axes change places in the matrix products, so no transposed copy is
    made, and turning it is the same as reading G backwards.
    """
    kernels = _both_sides(f.kernel_G[:, ::-1], _kernel_planes(kernel_HWIO))
    back = tuple((2 - before, 2 - after) for before, after in pads)
    return _correlate(dy_NHWC, kernels, (back[0], back[1]), f, 1)


def kernel_gradient(x_NHWC: Array, dy_NHWC: Array, pads: Pads, f: Transform) -> Array:
    """The cotangent of the kernel, HWIO: ``G^T [sum over tiles of V^T (A dY A^T)] G``."""
    tiles, (out_h, out_w) = _input_tiles(x_NHWC, pads, f)
    tiles_h, tiles_w = _tile_counts(out_h, out_w, f.m)
    more_h, more_w = f.m * tiles_h - out_h, f.m * tiles_w - out_w
    dy = jnp.pad(dy_NHWC, ((0, 0), (0, more_h), (0, more_w), (0, 0)))
    planes = [[dy[:, i :: f.m, j :: f.m] for j in range(f.m)] for i in range(f.m)]
    dy_tiles = _both_sides(f.output_AT.T, planes)
    tiles, dy_tiles = lax.optimization_barrier((tiles, dy_tiles))
    over_tiles = (((0,), (0,)), ((), ()))
    products = [
        [
            lax.dot_general(tile, dy_tile.reshape(-1, dy_tile.shape[-1]), over_tiles)
            for tile, dy_tile in zip(*rows, strict=True)
        ]
        for rows in zip(tiles, dy_tiles, strict=True)
    ]
    return jnp.stack([jnp.stack(row) for row in _both_sides(f.kernel_G.T, products)])


def applies(kernel_shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a kernel (HWIO shape) with these strides is one that this module computes."""
    return tuple(kernel_shape[:2]) == (3, 3) and tuple(strides) == (1, 1)


__all__ = ["F2", "F4", "Transform", "applies", "convolve", "input_gradient", "kernel_gradient"]
