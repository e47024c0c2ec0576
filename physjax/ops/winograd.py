"""Winograd's minimal filtering for 3x3 convolutions of stride 1: F(2x2, 3x3) and F(4x4, 3x3).

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308: a tile of
m x m output pixels is ``A [(G g G^T) * (B d B^T)] A^T`` (equation 8; A is transposed there), with d
the (m+2) x (m+2) pixels of the input below it and g the kernel. The product ``*`` of each of the
(m+2)^2 tile positions becomes one matrix product over all tiles and channels. It needs 2.25 (m=2)
or 4 (m=4) times fewer multiplications than the convolution, and loses some digits: in float32 the
result is off by about 1e-6 (m=2) or 1e-5 (m=4) of its size.

The matrix products are one batched product, and each transform is two fused loops and no more: as
fast within the noise as one product and one loop for each position, and compiled in a third of the
time, which counts in a network of twenty layers.

What the tiles of a whole batch take, 150 MB for AlexNet's second layer and 250 images, does not fit
into a CPU's caches. So a batch is taken a few images at a time, in a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Pads = tuple[tuple[int, int], tuple[int, int]]


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


def _rows(matrix: np.ndarray, terms: Sequence[Array]) -> Array:
    """``matrix @ terms``, stacked: sums without the zeros, which XLA fuses into one loop."""
    sums = []
    for row in matrix.tolist():
        parts = [term if c == 1 else c * term for c, term in zip(row, terms, strict=True) if c]
        sums.append(reduce(jnp.add, parts))
    return jnp.stack(sums)


def _barrier(x: Array) -> Array:
    """Without this XLA computes a transform again inside each of its consumers."""
    return lax.optimization_barrier(x)


def _tile_counts(height: int, width: int, m: int) -> tuple[int, int]:
    return -(-height // m), -(-width // m)


def _output_size(x_NHWC: Array, pads: Pads) -> tuple[int, int]:
    return x_NHWC.shape[1] + sum(pads[0]) - 2, x_NHWC.shape[2] + sum(pads[1]) - 2


def _input_tiles(x_NHWC: Array, pads: Pads, f: Transform) -> Array:
    """B^T d B: (tile positions, tiles, C). Positions run down within across, as everywhere here."""
    n, _, _, channels = x_NHWC.shape
    out_h, out_w = _output_size(x_NHWC, pads)
    tiles_h, tiles_w = _tile_counts(out_h, out_w, f.m)
    more_h, more_w = f.m * tiles_h - out_h, f.m * tiles_w - out_w
    # Padding may be negative: then lax.pad crops.
    config = [
        (0, 0, 0),
        (pads[0][0], pads[0][1] + more_h, 0),
        (pads[1][0], pads[1][1] + more_w, 0),
        (0, 0, 0),
    ]
    padded = lax.pad(x_NHWC, jnp.zeros((), x_NHWC.dtype), config)
    side = range(f.m + 2)
    last_h, last_w = f.m * (tiles_h - 1) + 1, f.m * (tiles_w - 1) + 1
    down = _barrier(_rows(f.input_BT, [padded[:, i : i + last_h : f.m] for i in side]))
    tiles = _rows(f.input_BT, [down[:, :, :, j : j + last_w : f.m] for j in side])
    return _barrier(tiles.reshape((f.m + 2) ** 2, n * tiles_h * tiles_w, channels))


def _both_sides(matrix: np.ndarray, planes: Array) -> Array:
    """``matrix @ plane @ matrix.T`` for small planes on the first, joint axis: one product."""
    kron = jnp.asarray(np.kron(matrix, matrix), planes.dtype)
    return (kron @ planes.reshape(kron.shape[1], -1)).reshape(-1, *planes.shape[1:])


def _transformed_kernel(kernel_HWIO: Array, matrix: np.ndarray) -> Array:
    """G g G^T: (tile positions, I, O)."""
    planes = jnp.swapaxes(kernel_HWIO, 0, 1).reshape(9, *kernel_HWIO.shape[2:])
    return _barrier(_both_sides(matrix, planes))


def _correlate(x_NHWC: Array, kernels: Array, pads: Pads, f: Transform, axis: int) -> Array:
    """Convolution by transformed kernels, summed over their `axis` of (positions, C, O)."""
    n, side = x_NHWC.shape[0], f.m + 2
    out_h, out_w = _output_size(x_NHWC, pads)
    tiles_h, tiles_w = _tile_counts(out_h, out_w, f.m)
    contract = (((2,), (axis,)), ((0,), (0,)))
    products = _barrier(lax.dot_general(_input_tiles(x_NHWC, pads, f), kernels, contract))
    features = products.shape[-1]
    products = products.reshape(side, side, n * tiles_h * tiles_w, features)
    across = _barrier(_rows(f.output_AT, [products[j] for j in range(side)]))
    pixels = _rows(f.output_AT, [across[:, i] for i in range(side)])
    pixels = pixels.reshape(f.m, f.m, n, tiles_h, tiles_w, features)
    y_NHWC = pixels.transpose(2, 3, 0, 4, 1, 5).reshape(n, tiles_h * f.m, tiles_w * f.m, features)
    return y_NHWC[:, :out_h, :out_w]


_PIECE_BYTES = 4 * 2**20
"""What the tiles of the images that are taken at a time may take, at the least."""


def _images_at_a_time(
    output_shape: Sequence[int], kernels_shape: Sequence[int], f: Transform
) -> int:
    """How many images a loop over the batch takes at a time: a divisor of their number.

    As many as keep within `_PIECE_BYTES`, or within the size of the transformed kernels or their
    gradient where that is more, as each round reads them. All where no divisor comes near; and
    where XLA splits the program over the devices of a mesh: it does so along the images, and cannot
    split a loop over them.

    Args:
      output_shape: N, H, W and features of the convolution's output.
      kernels_shape: tile positions, I, O.
      f: the transform.
    """
    images, height, width = output_shape[:3]
    split = jax.sharding.AxisType.Auto in jax.sharding.get_abstract_mesh().axis_types
    if split or not isinstance(images, int):
        return images
    positions, channels, features = kernels_shape
    tiles_h, tiles_w = _tile_counts(height, width, f.m)
    tile_bytes = 4 * positions * tiles_h * tiles_w * (channels + features)
    limit = max(_PIECE_BYTES, 4 * positions * channels * features)
    most = max(1, limit // tile_bytes)
    best = max(n for n in range(1, min(most, images) + 1) if images % n == 0)
    return best if 4 * best > most else images


def _pieces(x: Array, images: int) -> Array:
    """[N, ...] -> [N / images, images, ...]."""
    return x.reshape(-1, images, *x.shape[1:])


def _correlate_in_pieces(
    x_NHWC: Array, kernels: Array, pads: Pads, f: Transform, axis: int
) -> Array:
    """What :func:`_correlate` gives, a few images at a time."""
    correlate = partial(_correlate, kernels=kernels, pads=pads, f=f, axis=axis)
    n = x_NHWC.shape[0]
    images = _images_at_a_time((n, *_output_size(x_NHWC, pads)), kernels.shape, f)
    if images == n:
        return correlate(x_NHWC)
    y = lax.map(correlate, _pieces(x_NHWC, images))
    return y.reshape(n, *y.shape[2:])


def convolve(x_NHWC: Array, kernel_HWIO: Array, pads: Pads, f: Transform) -> Array:
    """The convolution of stride 1, NHWC."""
    kernels = _transformed_kernel(kernel_HWIO, f.kernel_G)
    return _correlate_in_pieces(x_NHWC, kernels, pads, f, 1)


def input_gradient(dy_NHWC: Array, kernel_HWIO: Array, pads: Pads, f: Transform) -> Array:
    """The cotangent of the input, NHWC: convolution of `dy` with the kernel turned by 180 degrees.

    The kernel's two channel axes change places in the matrix products, so no transposed copy is
    made, and turning it is the same as reading G backwards.
    """
    kernels = _transformed_kernel(kernel_HWIO, f.kernel_G[:, ::-1])
    back = tuple((2 - before, 2 - after) for before, after in pads)
    return _correlate_in_pieces(dy_NHWC, kernels, (back[0], back[1]), f, 2)


def kernel_gradient(x_NHWC: Array, dy_NHWC: Array, pads: Pads, f: Transform) -> Array:
    """The cotangent of the kernel, HWIO: ``G^T [sum over tiles of V^T (A dY A^T)] G``."""
    n, kernels_shape = dy_NHWC.shape[0], ((f.m + 2) ** 2, x_NHWC.shape[3], dy_NHWC.shape[3])
    images = _images_at_a_time(dy_NHWC.shape, kernels_shape, f)
    if images == n:
        summed = _tile_products(x_NHWC, dy_NHWC, pads, f)
    else:
        summed, _ = lax.scan(
            lambda total, piece: (total + _tile_products(*piece, pads, f), None),
            jnp.zeros(kernels_shape, x_NHWC.dtype),
            (_pieces(x_NHWC, images), _pieces(dy_NHWC, images)),
        )
    planes = _both_sides(f.kernel_G.T, summed)
    return jnp.swapaxes(planes.reshape(3, 3, *planes.shape[1:]), 0, 1)


def _tile_products(x_NHWC: Array, dy_NHWC: Array, pads: Pads, f: Transform) -> Array:
    """Sum over tiles of V^T (A dY A^T): (tile positions, I, O)."""
    n, out_h, out_w, features = dy_NHWC.shape
    tiles_h, tiles_w = _tile_counts(out_h, out_w, f.m)
    more_h, more_w = f.m * tiles_h - out_h, f.m * tiles_w - out_w
    dy = jnp.pad(dy_NHWC, ((0, 0), (0, more_h), (0, more_w), (0, 0)))
    dy = dy.reshape(n, tiles_h, f.m, tiles_w, f.m, features)
    down = _barrier(_rows(f.output_AT.T, [dy[:, :, i] for i in range(f.m)]))
    dy_tiles = _rows(f.output_AT.T, [down[:, :, :, :, j] for j in range(f.m)])
    dy_tiles = _barrier(dy_tiles.reshape((f.m + 2) ** 2, n * tiles_h * tiles_w, features))
    over_tiles = (((1,), (1,)), ((0,), (0,)))
    return lax.dot_general(_input_tiles(x_NHWC, pads, f), dy_tiles, over_tiles)


def applies(kernel_shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a kernel (HWIO shape) with these strides is one that this module computes."""
    return tuple(kernel_shape[:2]) == (3, 3) and tuple(strides) == (1, 1)
