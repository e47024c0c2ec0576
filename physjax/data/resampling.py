"""Bilinear resampling of a batch of images, each on a grid of its own, as matrix products."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def positions(length: jax.Array, out_size: int) -> jax.Array:
    """Where out_size pixels lie in a line of `length` [N, 1]: [N, out] in 0 .. length - 1."""
    # Pixel centres are at half-integers; positions beyond the outer ones repeat the border.
    centres = (jnp.arange(out_size)[None, :] + 0.5) / out_size
    return jnp.clip(centres * length - 0.5, 0, length - 1)


def sample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear interpolation on a grid: two small matrix products for each image.

    Args:
      images: float32 [N, H, W, C].
      rows: [N, I] positions in 0 .. H - 1; columns: [N, J] in 0 .. W - 1.

    Returns:
      float32 [N, I, J, C].
    """
    count, height, width, channels = images.shape
    of_rows, of_columns = _hat(rows, height), _hat(columns, width)
    # Not the default precision: an accelerator would round weights to 8 bits. Columns first, while
    # the images are small: the second product then writes the large result in its final order.
    half = jnp.einsum("njw,nhwc->nhjc", of_columns, images, precision="highest").reshape(
        count, height, -1
    )
    whole = jnp.einsum("nih,nhq->niq", of_rows, half, precision="highest")
    return whole.reshape(count, rows.shape[1], columns.shape[1], channels)


def resize_whole(images: jax.Array, resized: int, start: int = 0, stop: int = 0) -> jax.Array:
    """Rows and columns start .. stop - 1 (0: all) of images [N, S, S, C] resized to `resized`."""
    count, size = images.shape[:2]
    found = positions(jnp.array([[size]]), resized)[:, start : stop or resized]
    found = jnp.broadcast_to(found, (count, found.shape[1]))
    return sample(images, found, found)


def _hat(at: jax.Array, size: int) -> jax.Array:
    """Weights of linear interpolation at positions [N, I]: [N, I, size], rows sum to 1."""
    return jnp.maximum(0.0, 1.0 - jnp.abs(at[..., None] - jnp.arange(size)[None, None, :]))
