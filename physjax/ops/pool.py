"""Pooling over windows of pixels, NHWC.

XLA:CPU computes the gradient of a maximum over windows (select-and-scatter) one element at a time.
Here the forward pass saves which pixel of each window won, and the backward pass gathers: each
pixel looks at the windows that it lies in. `benchmarks/conv_algorithms.py` measures both.

At ties the first pixel wins, row by row, as in PyTorch and `flax.linen.max_pool`; NaN wins always.

The winner is saved, and never found again by x == max(x): XLA computes a cheap x anew in each loop
that reads it, with a fused multiply-add in one and without in another, and then no pixel equals
the maximum that another loop has found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

from physjax.ops.stored import stored

Pads = tuple[tuple[int, int], tuple[int, int]]


def max_pool(
    x_NHWC: Array,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Any = "VALID",
) -> Array:
    """The maximum over windows.

    Args:
      x_NHWC: batch, height, width, channels; floating point.
      window: height and width.
      strides: down and across; None: the window, so that windows do not overlap.
      padding: "SAME", "VALID" or ((top, bottom), (left, right)); padding never wins.

    Returns:
      Array [N, H', W', C].

    Raises:
      ValueError: a window, strides or padding that do not fit; the message names them.
    """
    window, strides, pads = _checked("max_pool", x_NHWC.shape, window, strides, padding)
    x = lax.pad(x_NHWC, jnp.array(-jnp.inf, x_NHWC.dtype), _config(pads))
    return _max_pool(x, window, strides, x.shape[1:3])


def avg_pool(
    x_NHWC: Array,
    window: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Any = "VALID",
    count_include_pad: bool = True,
) -> Array:
    """The mean over windows: arguments as in `max_pool`.

    With `count_include_pad` the zeros of the padding count as pixels, as by default in PyTorch.
    """
    window, strides, pads = _checked("avg_pool", x_NHWC.shape, window, strides, padding)
    if window == strides and pads == ((0, 0), (0, 0)):
        n, height, width, channels = x_NHWC.shape
        out_h, out_w = height // window[0], width // window[1]
        x = x_NHWC[:, : out_h * window[0], : out_w * window[1]]
        return x.reshape(n, out_h, window[0], out_w, window[1], channels).mean(axis=(2, 4))
    return nn.avg_pool(x_NHWC, window, strides, pads, count_include_pad)


def adaptive_avg_pool(x_NHWC: Array, output_size: Sequence[int]) -> Array:
    """The mean over as many windows as the output has pixels, whatever the input's size.

    Output pixel i covers input pixels floor(i H / H') up to ceil((i + 1) H / H'), as in PyTorch's
    AdaptiveAvgPool2d: windows overlap where H' does not divide H, and repeat pixels where H' > H.

    Args:
      x_NHWC: batch, height, width, channels.
      output_size: H' and W'.

    Returns:
      Array [N, H', W', C].

    Raises:
      ValueError: an output size that is not two positive integers.
    """
    if x_NHWC.ndim != 4 or len(output_size) != 2 or min(output_size) < 1:
        raise ValueError(
            f"adaptive_avg_pool: images NHWC and output_size (H', W'), got shape {x_NHWC.shape} "
            f"and {tuple(output_size)}"
        )
    x = x_NHWC
    for axis, size in zip((1, 2), output_size, strict=True):
        if x.shape[axis] != size:
            weights = jnp.asarray(_mean_matrix(x.shape[axis], size), x.dtype)
            x = jnp.moveaxis(jnp.tensordot(weights, x, axes=(1, axis)), 0, axis)
    return x


def _mean_matrix(size: int, output_size: int) -> np.ndarray:
    """(output_size, size): row i holds the weights of output pixel i."""
    weights = np.zeros((output_size, size))
    for i in range(output_size):
        start, stop = i * size // output_size, -(-(i + 1) * size // output_size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


def _checked(
    name: str, shape: Sequence[int], window: Any, strides: Any, padding: Any
) -> tuple[tuple[int, int], tuple[int, int], Pads]:
    window = tuple(window)
    strides = window if strides is None else tuple(strides)
    if len(shape) != 4 or len(window) != 2 or len(strides) != 2 or min(window + strides) < 1:
        raise ValueError(
            f"{name}: images NHWC, a window and strides of two positive integers, got shape "
            f"{tuple(shape)}, window={window}, strides={strides}"
        )
    if isinstance(padding, str) and padding in ("SAME", "VALID"):
        pads = tuple(lax.padtype_to_pads(shape[1:3], window, strides, padding))
    elif isinstance(padding, str | int) or np.shape(padding) != (2, 2):
        raise ValueError(
            f'{name}: padding={padding!r}, but it is "SAME", "VALID" or ((top, bottom), '
            "(left, right))"
        )
    else:
        pads = tuple(padding)
    pairs = tuple((int(before), int(after)) for before, after in pads)
    for pair, side in zip(pairs, window, strict=True):
        if min(pair) < 0 or max(pair) >= side:
            raise ValueError(
                f"{name}: padding={padding!r} with window={window}; a window must touch the image"
            )
    sizes = [size + sum(p) for size, p in zip(shape[1:3], pairs, strict=True)]
    if any(size < side for size, side in zip(sizes, window, strict=True)):
        raise ValueError(f"{name}: window={window} is larger than the images {tuple(shape)}")
    return window, strides, (pairs[0], pairs[1])


def _config(pads: Pads) -> list[tuple[int, int, int]]:
    return [(0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)]


def _windows(x_NHWC: Array, window: tuple[int, int], strides: tuple[int, int]) -> list[Array]:
    """For each position in a window, the [N, H', W', C] pixels there."""
    n, height, width, channels = x_NHWC.shape
    out_h, out_w = (height - window[0]) // strides[0] + 1, (width - window[1]) // strides[1] + 1
    last_h, last_w = strides[0] * (out_h - 1) + 1, strides[1] * (out_w - 1) + 1
    return [
        lax.slice(x_NHWC, (0, i, j, 0), (n, i + last_h, j + last_w, channels), (1, *strides, 1))
        for i in range(window[0])
        for j in range(window[1])
    ]


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(
    x_NHWC: Array, window: tuple[int, int], strides: tuple[int, int], size: tuple[int, int]
) -> Array:
    """`size`: height and width of x, for the backward pass, which has no x."""
    return _max_pool_fwd(x_NHWC, window, strides, size)[0]


@jax.named_scope("max_pool")
def _max_pool_fwd(
    x_NHWC: Array, window: tuple[int, int], strides: tuple[int, int], size: tuple[int, int]
) -> tuple[Array, Array]:
    """The maxima, and the place of each one in its window, counted row by row from 0."""
    del size
    # The smallest signed type that holds all places, and -1 beside them: int8 up to 128.
    dtype = np.min_scalar_type(-math.prod(window))
    y, *others = _windows(x_NHWC, window, strides)
    winner = jnp.zeros(y.shape, dtype)
    for place, pixel in enumerate(others, 1):
        # Larger than all before it, or NaN. Selected, not maximised: the derivative of a maximum
        # compares for equality, and the second derivative of a pool comes through here.
        wins = (pixel > y) | jnp.isnan(pixel)
        y = jnp.where(wins, pixel, y)
        winner = jnp.where(wins, jnp.asarray(place, dtype), winner)
    return y, stored(winner)


@jax.named_scope("max_pool")
def _max_pool_bwd(
    window: tuple[int, int],
    strides: tuple[int, int],
    size: tuple[int, int],
    winner: Array,
    dy: Array,
) -> tuple[Array]:
    """Each pixel takes the gradient of each window that it has won."""
    parts = []
    # A pixel lies in the window that starts in its own cell of `strides` pixels, if it reaches
    # that far, and in those that start `back` cells above or to the left.
    for back_h in range(-(-window[0] // strides[0])):
        for back_w in range(-(-window[1] // strides[1])):
            spread = partial(_spread, size=size, strides=strides, back=(back_h, back_w))
            rows = np.arange(size[0])[:, None] % strides[0] + back_h * strides[0]
            columns = np.arange(size[1]) % strides[1] + back_w * strides[1]
            inside = (rows < window[0]) & (columns < window[1])
            # Where in the window the pixel is; beyond its end, where no winner is.
            place = np.where(inside, rows * window[1] + columns, -1)[None, :, :, None]
            won = spread(winner) == jnp.asarray(place, winner.dtype)
            parts.append(jnp.where(won, spread(dy), 0))
    return (reduce(jnp.add, parts),)


def _spread(
    y_NHWC: Array, size: Sequence[int], strides: tuple[int, int], back: tuple[int, int]
) -> Array:
    """Every pixel of `y` copied over its cell, moved `back` cells on, cut or filled to `size`."""
    n, out_h, out_w, channels = y_NHWC.shape
    cells = [-(-side // stride) for side, stride in zip(size, strides, strict=True)]
    config = [
        (0, 0, 0),
        (back[0], cells[0] - out_h - back[0], 0),
        (back[1], cells[1] - out_w - back[1], 0),
        (0, 0, 0),
    ]
    # Where there is no window the gradient is 0 then.
    y = lax.pad(y_NHWC, jnp.zeros((), y_NHWC.dtype), config)
    y = jnp.broadcast_to(
        y[:, :, None, :, None, :], (n, cells[0], strides[0], cells[1], strides[1], channels)
    )
    y = y.reshape(n, cells[0] * strides[0], cells[1] * strides[1], channels)
    return y[:, : size[0], : size[1]]


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)
