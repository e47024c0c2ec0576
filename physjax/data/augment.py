"""Random changes of the training images, and the evaluation's preprocessing, on the device.

`draw` makes the random numbers of a whole global batch; `apply` is a pure function of images and
their draws, row by row. So a batch does not depend on how it is split over devices: draw all, slice
both, apply. Everything can be jitted; shapes depend on the configuration alone. What mixes examples
with each other comes after it (`physjax.data.mixing`).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from physjax.config import AugmentConfig, ConfigError
from physjax.data import randaugment
from physjax.data.resampling import positions, resize_whole, sample

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

AREA = (0.08, 1.0)
"""Range of a random resized crop's area, as a fraction of the image's (uniform)."""
ASPECT = (3 / 4, 4 / 3)
"""Range of its width / height (log-uniform)."""
ATTEMPTS = 10
"""Boxes that are tried before the central one is taken."""
RESIZE_RATIO = 256 / 224
"""Evaluation of crop=resized: the image is resized to this multiple of what the model sees."""

Channels = tuple[float, float, float]


def draw(
    key: jax.Array,
    count: int,
    config: AugmentConfig,
    image_size: int,
    out_size: int,
    mirror: bool,
    mirrored: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """The random parameters of `count` images; every value has the leading axis `count`.

    Args:
      key: a JAX random key; the draws are a pure function of it and the other arguments.
      count: examples in the global batch.
      config: what is varied.
      image_size: side of the stored images, in pixels.
      out_size: side of the images that `apply` makes, in pixels.
      mirror: whether the data set allows mirroring (`DatasetInfo.mirror`).
      mirrored: bool [count], which images are mirrored where config.alternate says so.

    Returns:
      crop=pad: `top`, `left` int32, uniform in 0 .. 2 pad, the crop's corner in the padded image;
      crop=resized: `top`, `left`, `height`, `width` int32, a box inside the image; mirroring:
      `mirror` bool; cutout: `cutout_row`, `cutout_column` int32, the square's centre in the output;
      randaugment: those of `physjax.data.randaugment.draw`.

    Raises:
      ConfigError: padding that a reflection cannot fill.
    """
    _check(config, image_size)
    # One call for all, in a fixed order: each random generator costs compile time, and a batch
    # keeps its crops when only cutout is switched on.
    uniform = jax.random.uniform(key, (count, 5 + 2 * ATTEMPTS))
    draws: dict[str, jax.Array] = {}
    if config.crop == "pad":
        draws["top"] = _integer(uniform[:, 0], 2 * config.pad + 1)
        draws["left"] = _integer(uniform[:, 1], 2 * config.pad + 1)
    elif config.crop == "resized":
        draws |= _boxes(uniform[:, :2], uniform[:, 5:], image_size)
    if config.mirror and mirror:
        draws["mirror"] = uniform[:, 2] < 0.5 if mirrored is None else mirrored
    if config.cutout:
        draws["cutout_row"] = _integer(uniform[:, 3], out_size)
        draws["cutout_column"] = _integer(uniform[:, 4], out_size)
    if config.randaugment:
        own = jax.random.fold_in(key, 1)
        draws |= randaugment.draw(own, count, config.randaugment_ops)
    return draws


def _integer(uniform: jax.Array, stop: int | jax.Array) -> jax.Array:
    """From [0, 1) in steps of 2^-23 to 0 .. stop - 1, whose odds differ by less than stop 2^-23."""
    return jnp.floor(uniform * stop).astype(jnp.int32)


def _check(config: AugmentConfig, image_size: int) -> None:
    if config.crop == "pad" and config.pad >= image_size:
        raise ConfigError(
            f"augment.pad is {config.pad}, but reflecting an image of {image_size} pixels gives at "
            f"most {image_size - 1}"
        )


def _boxes(corner: jax.Array, attempts: jax.Array, size: int) -> dict[str, jax.Array]:
    """Boxes as torchvision's RandomResizedCrop draws them: the first of 10 that fits the image.

    If none fits, the central box whose aspect is closest: in a square image, the whole image.
    `corner` [N, 2] and `attempts` [N, 20] are uniform in [0, 1).
    """
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])
    area = size * size * (AREA[0] + (AREA[1] - AREA[0]) * attempts[:, :ATTEMPTS])
    aspect = jnp.exp(low + (high - low) * attempts[:, ATTEMPTS:])
    width = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    height = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (width > 0) & (width <= size) & (height > 0) & (height <= size)
    first = jnp.argmax(fits, axis=1, keepdims=True)
    some = fits.any(axis=1)
    width = jnp.where(some, jnp.take_along_axis(width, first, 1)[:, 0], size)
    height = jnp.where(some, jnp.take_along_axis(height, first, 1)[:, 0], size)
    top = _integer(corner[:, 0], size - height + 1)
    left = _integer(corner[:, 1], size - width + 1)
    return {"top": top, "left": left, "height": height, "width": width}


def apply(
    draws: dict[str, jax.Array],
    images: jax.Array,
    config: AugmentConfig,
    out_size: int,
    mean: Channels,
    std: Channels,
) -> jax.Array:
    """Crop, resize, mirror, apply RandAugment, normalise and cut out.

    Args:
      draws: of `draw`, with the same config and sizes; sliced as the images are.
      images: uint8 [N, S, S, 3].
      config: what is varied.
      out_size: side of the result.
      mean: of each channel in [0, 1], unless config.normalize is imagenet.
      std: likewise.

    Returns:
      float32 [N, out_size, out_size, 3], normalised; cut-out squares are 0, the mean. A resized
      image is interpolated bilinearly inside its box, border repeated, and rounded for RandAugment
      alone. There is no antialiasing: in 32 -> 32 and 32 -> 224 a box is only ever enlarged.
    """
    size, as_levels = images.shape[1], config.randaugment > 0

    def early(pixels: jax.Array) -> jax.Array:
        return pixels.astype(jnp.float32) if as_levels else _normalise(pixels, config, mean, std)

    if config.crop == "resized":
        rows = draws["top"][:, None] + positions(draws["height"][:, None], out_size)
        columns = draws["left"][:, None] + positions(draws["width"][:, None], out_size)
        if "mirror" in draws:
            columns = jnp.where(draws["mirror"][:, None], columns[:, ::-1], columns)
        result = sample(early(images), rows, columns)
    else:
        result = early(_move(images, draws, config))
        if out_size != size:
            result = resize_whole(result, out_size)
    if as_levels:
        result = randaugment.apply(draws, result, config.randaugment)
        result = _normalise(result, config, mean, std)
    if config.cutout:
        result = jnp.where(_cutout_mask(draws, config.cutout, out_size), 0.0, result)
    return result


def _reflect(index: jax.Array, size: int) -> jax.Array:
    """Index into an image of the padded index, -pad .. size - 1 + pad, border not repeated."""
    return size - 1 - jnp.abs(size - 1 - jnp.abs(index))


def _move(images: jax.Array, draws: dict[str, jax.Array], config: AugmentConfig) -> jax.Array:
    """Padded crop and mirroring, which move whole pixels: one gather of bytes, the fastest way.

    On XLA:CPU products with one-hot matrices take four times as long, a slice for each image twice.
    """
    count, size = images.shape[:2]
    rows = columns = jnp.broadcast_to(jnp.arange(size), (count, size))
    if "mirror" in draws:
        columns = jnp.where(draws["mirror"][:, None], size - 1 - columns, columns)
    if config.crop == "pad":
        rows = _reflect(rows + draws["top"][:, None] - config.pad, size)
        columns = _reflect(columns + draws["left"][:, None] - config.pad, size)
    batch = jnp.arange(count)[:, None, None]
    return images[batch, rows[:, :, None], columns[:, None, :]]


def _normalise(
    images: jax.Array, config: AugmentConfig, mean: Channels, std: Channels
) -> jax.Array:
    """(images / 255 - mean) / std in float32, as one multiplication and one addition.

    It comes before resizing, on the smaller array: weights that sum to 1 commute with it.
    """
    if config.normalize == "imagenet":
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    scale = jnp.array([1 / (255 * s) for s in std]).reshape(1, 1, 1, -1)
    offset = jnp.array([m / s for m, s in zip(mean, std, strict=True)]).reshape(1, 1, 1, -1)
    return images.astype(jnp.float32) * scale - offset


def _cutout_mask(draws: dict[str, jax.Array], side: int, out_size: int) -> jax.Array:
    """True inside each image's square, which the border may cut off: bool [N, out, out, 1]."""

    def covered(centre: jax.Array) -> jax.Array:
        start = centre[:, None] - side // 2
        pixels = jnp.arange(out_size)[None, :]
        return (start <= pixels) & (pixels < start + side)

    rows, columns = covered(draws["cutout_row"]), covered(draws["cutout_column"])
    return rows[:, :, None, None] & columns[:, None, :, None]


def preprocess(
    images: jax.Array, out_size: int, mean: Channels, std: Channels, config: AugmentConfig
) -> jax.Array:
    """What evaluation does to images: resize where the model wants another size, and normalise.

    Args:
      images: uint8 [N, S, S, 3].
      out_size: side of the result. S: the pixels are taken as they are. Otherwise they are resized
        bilinearly, for crop=resized to 8/7 of out_size with the centre cut out (torchvision's
        Resize(256), CenterCrop(224)), else to out_size, since training saw the whole image too.
      mean: of each channel in [0, 1], unless config.normalize is imagenet.
      std: likewise.
      config: the training's.

    Returns:
      float32 [N, out_size, out_size, 3], normalised.
    """
    normalised = _normalise(images, config, mean, std)
    if out_size == images.shape[1]:
        return normalised
    side, start = resized(images.shape[1], out_size, config)
    return resize_whole(normalised, side, start, start + out_size)


def resized(side: int, out_size: int, config: AugmentConfig) -> tuple[int, int]:
    """What :func:`preprocess` resizes images of that side to, and where in it the result begins."""
    if side == out_size or config.crop != "resized":
        return out_size, 0
    larger = round(out_size * RESIZE_RATIO)
    return larger, round((larger - out_size) / 2)
