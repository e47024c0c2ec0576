"""Mixup and CutMix: the images of a batch mixed by pairs, on the device, after all other changes.

The partner of an example is its neighbour in the batch: rows 2k and 2k + 1 mix with each other. An
epoch's order is a random permutation, so that a neighbour is as random a partner as any. And where
devices, hosts and parts of a batch all take whole pairs, the partner is at hand and the same for
any number of them: nothing is sent.

Of a pair one image is `share` of the one and 1 - `share` of the other, and the second image the
other way round. So which of the two is called the mixture of which row is free, and a row is always
the one that has more of its own image: its own label is the dominant one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from physjax.config import AugmentConfig

_LEAST_ALPHA = 1e-6
"""Beta(a, a) of less gives 0 and 1 in float32 too, and its logarithms no longer fit."""
_GRID = 2.0**16
"""Lambda is a multiple of 1 / this: programs that round Beta's logarithms in other ways draw the
same one."""


def mixes(config: AugmentConfig) -> bool:
    """Whether images are mixed at all."""
    return config.mixup > 0 or config.cutmix > 0


def draw(key: jax.Array, count: int, config: AugmentConfig, size: int) -> dict[str, jax.Array]:
    """The random parameters of a batch: one lambda and one box for all, as both papers have it.

    lambda ~ Beta(alpha, alpha). Mixup (Zhang et al., arXiv:1710.09412): x = lambda x_a +
    (1 - lambda) x_b. CutMix (Yun et al., arXiv:1905.04899): a box of side sqrt(1 - lambda) times
    the image's, whose centre is uniform over the image, whose border may cut it, shows x_b, and
    lambda becomes what is left of x_a. Where both are on a batch takes either with probability 1/2.

    Args:
      key: a JAX random key.
      count: examples in the whole batch, an even number.
      config: what is mixed; :func:`mixes` holds.
      size: side of the images, in pixels.

    Returns:
      [count] each, the same for all rows, to be sliced as the images are: `share` float32, at least
      1/2, of an image that is its own; with cutmix also the box, `box_top`, `box_bottom`,
      `box_left`, `box_right` int32, `box_own` bool, whether the image is its own inside the box in
      place of outside it, and `box_used` bool, False where the batch takes mixup.
    """
    toss, center, of_mixup, of_cutmix = jax.random.split(key, 4)
    mixup, draws = _lambda(of_mixup, config.mixup), {}
    share = jnp.maximum(mixup, 1 - mixup)
    if config.cutmix > 0:
        # As torchvision's CutMix: whole pixels on both sides of the centre.
        half = jnp.floor(0.5 * jnp.sqrt(1 - _lambda(of_cutmix, config.cutmix)) * size)
        half = half.astype(jnp.int32)
        row, column = jax.random.randint(center, (2,), 0, size)
        top, bottom = jnp.maximum(row - half, 0), jnp.minimum(row + half, size)
        left, right = jnp.maximum(column - half, 0), jnp.minimum(column + half, size)
        area = (bottom - top) * (right - left)
        inside = area.astype(jnp.float32) / (size * size)
        used = jax.random.bernoulli(toss) if config.mixup > 0 else jnp.bool_(True)
        draws = {
            "box_top": top,
            "box_bottom": bottom,
            "box_left": left,
            "box_right": right,
            "box_own": inside > 0.5,
            "box_used": used,
        }
        share = jnp.where(used, jnp.maximum(inside, 1 - inside), share)
    draws["share"] = share
    return {name: jnp.broadcast_to(value, (count,)) for name, value in draws.items()}


def _lambda(key: jax.Array, alpha: float) -> jax.Array:
    if not alpha:
        return jnp.float32(1)
    alpha = max(alpha, _LEAST_ALPHA)
    beta = jax.random.beta(key, alpha, alpha)
    return jnp.round(beta * _GRID) / _GRID


def partners(rows: jax.Array) -> jax.Array:
    """What belongs to the partners of examples: [n, ...] with rows 2k and 2k + 1 exchanged."""
    pairs = rows.reshape(-1, 2, *rows.shape[1:])
    return pairs[:, ::-1].reshape(rows.shape)


def apply(draws: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    """Images, each mixed with its partner's.

    Args:
      draws: of :func:`draw`, sliced as the images are, into whole pairs.
      images: float32 [n, S, S, C], n even.

    Returns:
      float32 [n, S, S, C].
    """
    own = draws["share"][:, None, None, None]
    if "box_used" in draws:
        pixels = jnp.arange(images.shape[1])[None, :]
        rows = _between(pixels, draws["box_top"], draws["box_bottom"])
        columns = _between(pixels, draws["box_left"], draws["box_right"])
        inside = rows[:, :, None] & columns[:, None, :]
        shown = (inside == draws["box_own"][:, None, None])[..., None]
        used = draws["box_used"][:, None, None, None]
        own = jnp.where(used, shown.astype(jnp.float32), own)
    return own * images + (1 - own) * partners(images)


def _between(pixels: jax.Array, first: jax.Array, stop: jax.Array) -> jax.Array:
    return (first[:, None] <= pixels) & (pixels < stop[:, None])
