"""RandAugment (Cubuk et al., arXiv:1909.13719): some of 14 operations on each image, on the device.

Operations and magnitudes are those of torchvision's `RandAugment`, pixels those of Pillow. What an
image gets is a number, and a `switch` over a batch computes every branch for every image. So the
operations are put into a few that all images go through, in which most are the identity: one gather
by an affine map, one blend with another image, and changes of levels. All but one quotient is in
whole numbers, and that is as good as one, so that every program on every platform makes the same
pixels.
"""

from __future__ import annotations

import itertools
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
_BLENDS = ("brightness", "color", "contrast", "sharpness")
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
    constants = _constants(magnitude, images.shape[1])

    def one(pixels: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        operation, opposite = drawn
        mine = {name: each[opposite.astype(jnp.int32), operation] for name, each in constants}
        pixels = _blended(_moved(pixels, mine["map"]), operation, _rows(mine["factor"]))
        pixels = pixels & _rows(mine["kept"])
        pixels = jnp.where(pixels >= _rows(mine["inverted"]), 255 - pixels, pixels)
        pixels = jnp.where(_is(operation, "autocontrast"), _stretched(pixels), pixels)
        return jnp.where(_is(operation, "equalize"), _equalized(pixels), pixels), None

    levels = jnp.round(images).astype(jnp.int32)
    each = draws["operation"].T, draws["opposite"].T
    return lax.scan(one, levels, each)[0]


def _constants(magnitude: int, size: int) -> list[tuple[str, jax.Array]]:
    """By sign (0: as it is, 1: opposite) and operation, [2, 14].

    `map` [2, 14, 6], for the numbers of pixels, and `factor`, of blends, in fixed point; `kept`: a
    mask of the bits that stay; `inverted`: levels from here on are.
    """
    found: dict[str, list[Any]] = {"map": [], "factor": [], "kept": [], "inverted": []}
    part, one = magnitude / LARGEST, 1 << _BITS
    for sign, name in itertools.product((1, -1), OPERATIONS):
        a, b, c, d, e, f = _affine_map(name, sign * part, size)
        by_number = (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2)
        found["map"].append([math.floor(x * one + 0.5) for x in by_number])
        found["factor"].append(round((1 + sign * 0.9 * part * (name in _BLENDS)) * one))
        dropped = round(part * 4) if name == "posterize" else 0
        found["kept"].append(255 >> dropped << dropped)
        found["inverted"].append(math.ceil(255 * (1 - part)) if name == "solarize" else 256)
    return [
        (
            name,
            jnp.asarray(
                np.array(values, np.int32).reshape(2, len(OPERATIONS), *np.shape(values)[1:])
            ),
        )
        for name, values in found.items()
    ]


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


def _moved(pixels: jax.Array, maps: jax.Array) -> jax.Array:
    """[N, S, S, 3] by maps [N, 6] of pixels' numbers."""
    count, size = pixels.shape[:2]
    x, y = jnp.arange(size)[None, None, :], jnp.arange(size)[None, :, None]
    a, b, c, d, e, f = (maps[:, i, None, None] for i in range(6))
    columns, rows = (a * x + b * y + c) >> _BITS, (d * x + e * y + f) >> _BITS
    # A black border, in place of a test of every pixel, which XLA:CPU repeats wherever it is used.
    framed = jnp.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)))
    batch = jnp.arange(count)[:, None, None]
    return framed[batch, jnp.clip(rows, -1, size) + 1, jnp.clip(columns, -1, size) + 1]


def _gray(pixels: jax.Array) -> jax.Array:
    """int32 [N, S, S]: ITU-R 601 luma, in Pillow's whole numbers."""
    red, green, blue = (pixels[..., i] for i in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def _rows(values: jax.Array) -> jax.Array:
    """[N] -> [N, 1, 1, 1]"""
    return values[:, None, None, None]


def _is(operation: jax.Array, name: str) -> jax.Array:
    return _rows(operation == OPERATIONS.index(name))


def _blended(pixels: jax.Array, operation: jax.Array, factor: jax.Array) -> jax.Array:
    """Away from black, the mean grey, the grey or the smoothed image, or towards it.

    That is other + factor (pixels - other), a fraction of a level cut off as Pillow does.
    """
    gray, size = _gray(pixels), pixels.shape[1]
    # Rounded as Pillow does, which adds a half.
    mean = (2 * gray.sum((1, 2)) + size * size) // (2 * size * size)
    other = jnp.where(_is(operation, "contrast"), _rows(mean), 0)
    other = jnp.where(_is(operation, "color"), gray[..., None], other)
    other = jnp.where(_is(operation, "sharpness"), _smooth(pixels), other)
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


def _stretched(pixels: jax.Array) -> jax.Array:
    """Pillow's `autocontrast`: in each channel the darkest level becomes 0, the brightest 255."""
    low = pixels.min((1, 2), keepdims=True)
    span = pixels.max((1, 2), keepdims=True) - low
    return jnp.where(span > 0, _quotient((pixels - low) * 255, span), pixels)


def _equalized(pixels: jax.Array) -> jax.Array:
    """Pillow's `equalize`: in each channel levels spread as evenly as whole ones can be."""
    count, _, _, channels = pixels.shape
    bins = jnp.arange(count * channels).reshape(count, 1, 1, channels) * 256 + pixels
    histogram = jnp.zeros(count * channels * 256, jnp.int32).at[bins].add(1)
    # How many pixels are darker, by level: counts of up to 2^24 are whole in float32.
    before = np.triu(np.ones((256, 256), np.float32), 1)
    by_level = histogram.reshape(-1, 256).astype(jnp.float32)
    darker = jnp.matmul(by_level, before, precision="highest").reshape(-1)[bins].astype(jnp.int32)
    # Of the brightest level all others are darker.
    step = darker.max((1, 2), keepdims=True) // 255
    spread = jnp.minimum(_quotient(darker + step // 2, step), 255)
    return jnp.where(step > 0, spread, pixels)


def _quotient(a: jax.Array, b: jax.Array) -> jax.Array:
    """a // b for a in 0 .. 2^20 and quotients of up to 256; something where b is 0.

    The division of whole numbers is slow. Half a unit more in `a` keeps a quotient that is whole
    further from the one below than float32 errs.
    """
    return jnp.floor((a + 0.5) / jnp.maximum(b, 1)).astype(jnp.int32)
