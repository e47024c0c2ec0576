"""RandAugment (Cubuk et al., arXiv:1909.13719): some of 14 operations on each image, on the device.

Operations and magnitudes are those of torchvision's `RandAugment`, pixels those of Pillow. What an
image gets is a number, and a `switch` over a batch computes every branch for every image. So the
operations are put into three that all images go through, in which most are the identity: one gather
by an affine map, one blend with another image, one table of 256 levels for each channel. All is in
whole numbers, so that every program on every platform makes the same pixels.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

OPERATIONS = (
    "identity",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
"""By their numbers, all equally likely."""
LARGEST = 30
"""Magnitudes are 0 to this, in equal steps between the ends of each operation's range."""
_COLOR, _CONTRAST, _SHARPNESS, _AUTOCONTRAST, _EQUALIZE = map(
    OPERATIONS.index, ("color", "contrast", "sharpness", "autocontrast", "equalize")
)
_BLENDS = ("brightness", "color", "contrast", "sharpness")
_LEVELS = np.arange(256)
_BITS = 16
"""Of a fraction, in maps and factors: fixed point, as in Pillow."""


def draw(key: jax.Array, count: int, operations: int) -> dict[str, jax.Array]:
    """Which operations images get: `operation` int32 [count, operations], their numbers, and
    `opposite` bool, whether the magnitude is taken with the other sign, where it has one."""
    uniform = jax.random.uniform(key, (count, operations, 2))
    operation = jnp.floor(uniform[..., 0] * len(OPERATIONS)).astype(jnp.int32)
    return {"operation": operation, "opposite": uniform[..., 1] < 0.5}


def apply(draws: dict[str, jax.Array], images: jax.Array, magnitude: int) -> jax.Array:
    """Images after their operations, one after the other.

    Args:
      draws: of :func:`draw`, sliced as the images are.
      images: [N, S, S, 3], levels of 0 to 255; what is no whole number is rounded.
      magnitude: 0 to `LARGEST`.

    Returns:
      int32 [N, S, S, 3], levels of 0 to 255. What is moved in from beyond the border is black, and
      a place between pixels takes the nearest one.
    """
    tables = _tables(magnitude, images.shape[1])

    def one(pixels: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        operation, opposite = drawn
        mine = {name: table[opposite.astype(jnp.int32), operation] for name, table in tables}
        pixels = _moved(pixels, mine["map"])
        gray = _gray(pixels)
        pixels = _blended(pixels, gray, operation, mine["factor"])
        return _looked_up(pixels, gray, operation, mine["factor"], mine["levels"]), None

    levels = jnp.round(images).astype(jnp.int32)
    each = draws["operation"].T, draws["opposite"].T
    return lax.scan(one, levels, each)[0]


def _tables(magnitude: int, size: int) -> list[tuple[str, jax.Array]]:
    """Constants by sign (0: as it is, 1: opposite) and operation.

    `map` [2, 14, 6] for pixels' numbers and `factor` [2, 14] of blends, in fixed point, and
    `levels` [2, 14, 256] of what needs no look at the image.
    """
    found: dict[str, list[Any]] = {"map": [], "factor": [], "levels": []}
    part = magnitude / LARGEST
    for sign in (1, -1):
        for values in found.values():
            values.append([])
        for name in OPERATIONS:
            a, b, c, d, e, f = _affine_map(name, sign * part, size)
            by_number = (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2)
            factor = 1 + sign * 0.9 * part if name in _BLENDS else 1.0
            found["map"][-1].append(np.floor(np.multiply(by_number, 1 << _BITS) + 0.5))
            found["factor"][-1].append(round(factor * (1 << _BITS)))
            found["levels"][-1].append(_fixed(name, part, factor))
    return [(name, jnp.asarray(np.array(values, np.int32))) for name, values in found.items()]


def _affine_map(name: str, part: float, size: int) -> tuple[float, ...]:
    """(a, b, c, d, e, f): output (x, y) shows what lies at (a x + b y + c, d x + e y + f).

    Args:
      name: of the operation.
      part: of the largest magnitude, signed.
      size: side of the image; x and y are measured from its corner, pixel centres at halves.
    """
    if name == "shear-x":
        return (1, 0.3 * part, 0, 0, 1, 0)
    if name == "shear-y":
        return (1, 0, 0, 0.3 * part, 1, 0)
    if name in ("translate-x", "translate-y"):
        # 150 pixels of the 331 that the ImageNet models of the paper's policy saw.
        shift = -int(150 / 331 * size * part)
        return (1, 0, shift, 0, 1, 0) if name == "translate-x" else (1, 0, 0, 0, 1, shift)
    if name == "rotate":
        angle, middle = math.radians(30 * part), size / 2
        cos, sin = math.cos(angle), math.sin(angle)
        return (cos, -sin, middle * (1 - cos + sin), sin, cos, middle * (1 - sin - cos))
    return (1, 0, 0, 0, 1, 0)


def _fixed(name: str, part: float, factor: float) -> np.ndarray:
    """[256]: what an operation makes of each level, whatever the image."""
    if name == "brightness":
        return np.clip(np.float32(factor) * _LEVELS.astype(np.float32), 0, 255).astype(np.int32)
    if name == "posterize":
        dropped = round(part * 4)
        return _LEVELS >> dropped << dropped
    if name == "solarize":
        inverted = 255 * (1 - part) <= _LEVELS
        return np.where(inverted, 255 - _LEVELS, _LEVELS)
    return _LEVELS


def _moved(pixels: jax.Array, maps: jax.Array) -> jax.Array:
    """[N, S, S, 3] by maps [N, 6] of pixels' numbers."""
    count, size = pixels.shape[:2]
    x, y = jnp.arange(size)[None, None, :], jnp.arange(size)[None, :, None]
    a, b, c, d, e, f = (maps[:, i, None, None] for i in range(6))
    columns, rows = (a * x + b * y + c) >> _BITS, (d * x + e * y + f) >> _BITS
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    batch = jnp.arange(count)[:, None, None]
    found = pixels[batch, jnp.clip(rows, 0, size - 1), jnp.clip(columns, 0, size - 1)]
    return jnp.where(inside[..., None], found, 0)


def _gray(pixels: jax.Array) -> jax.Array:
    """int32 [N, S, S]: ITU-R 601 luma, in Pillow's whole numbers."""
    red, green, blue = (pixels[..., i] for i in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def _blended(
    pixels: jax.Array, gray: jax.Array, operation: jax.Array, factor: jax.Array
) -> jax.Array:
    """Colour and sharpness: away from the grey or the smoothed image, or towards it."""
    other = jnp.where(_is(operation, _SHARPNESS, 4), _smooth(pixels), gray[..., None])
    blends = _is(operation, _COLOR, 4) | _is(operation, _SHARPNESS, 4)
    return jnp.where(blends, _blend(other, pixels, factor[:, None, None, None]), pixels)


def _is(operation: jax.Array, number: int, ndim: int) -> jax.Array:
    return (operation == number).reshape(-1, *[1] * (ndim - 1))


def _blend(other: jax.Array, pixels: jax.Array, factor: jax.Array) -> jax.Array:
    """other + factor (pixels - other), a fraction of a level cut off as Pillow does."""
    # The factor is off by half a unit at most, and levels by 255: what should be whole stays so.
    change = (factor * (pixels - other) + 128) >> _BITS
    return jnp.clip(other + change, 0, 255)


def _smooth(pixels: jax.Array) -> jax.Array:
    """Pillow's SMOOTH: weights 1/13 around 5/13, the border left as it is."""
    inner, end = pixels[:, 1:-1, 1:-1], pixels.shape[1] - 2
    total = 4 * inner
    for i in range(3):
        for j in range(3):
            total += pixels[:, i : i + end, j : j + end]
    # Rounded to the nearest: a 13th part never lies half-way.
    return pixels.at[:, 1:-1, 1:-1].set((2 * total + 13) // 26)


def _looked_up(
    pixels: jax.Array,
    gray: jax.Array,
    operation: jax.Array,
    factor: jax.Array,
    fixed: jax.Array,
) -> jax.Array:
    """[N, S, S, 3] by a table for each image and channel."""
    count, size, _, channels = pixels.shape
    bins = jnp.arange(count * channels).reshape(count, 1, 1, channels) * 256 + pixels
    histogram = jnp.zeros(count * channels * 256, jnp.int32).at[bins].add(1)
    histogram = histogram.reshape(count, channels, 256)
    table = jnp.broadcast_to(fixed[:, None], histogram.shape)
    # Rounded as Pillow does, which adds a half to the mean.
    mean = (2 * gray.sum((1, 2)) + size * size) // (2 * size * size)
    levels = jnp.arange(256).reshape(1, 1, 256)
    contrast = _blend(mean[:, None, None], levels, factor[:, None, None])
    table = jnp.where(_is(operation, _CONTRAST, 3), contrast, table)
    table = jnp.where(_is(operation, _AUTOCONTRAST, 3), _stretched(histogram, levels), table)
    table = jnp.where(_is(operation, _EQUALIZE, 3), _equalized(histogram, levels), table)
    return table.reshape(-1)[bins]


def _stretched(histogram: jax.Array, levels: jax.Array) -> jax.Array:
    """Pillow's `autocontrast`: the darkest level becomes 0, the brightest 255."""
    there = histogram > 0
    low = jnp.argmax(there, axis=-1, keepdims=True)
    high = 255 - jnp.argmax(there[..., ::-1], axis=-1, keepdims=True)
    stretched = (levels - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, jnp.clip(stretched, 0, 255), levels)


def _equalized(histogram: jax.Array, levels: jax.Array) -> jax.Array:
    """Pillow's `equalize`: levels as evenly spread as whole levels can be."""
    high = 255 - jnp.argmax((histogram > 0)[..., ::-1], axis=-1, keepdims=True)
    brightest = jnp.take_along_axis(histogram, high, axis=-1)
    step = (histogram.sum(-1, keepdims=True) - brightest) // 255
    below = jnp.cumsum(histogram, axis=-1) - histogram
    spread = (below + step // 2) // jnp.maximum(step, 1)
    return jnp.where(step > 0, jnp.minimum(spread, 255), levels)
