"""A first layer that starts with the images whitened.

The patches that the kernel sees have a covariance with eigenvectors e_i and eigenvalues v_i. Output
2i of the layer becomes e_i / sqrt(v_i + epsilon), output 2i + 1 its negative, the largest
eigenvalues first: the outputs are uncorrelated, of variance 1 (Page, How to Train Your ResNet 8,
2019; Jordan, arXiv:2404.00498). Outputs beyond twice the patch's size stay random.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from physjax.data import augment
from physjax.data.lazy import Images
from physjax.models import first_layer
from physjax.train.setup import TrainSetup

IMAGES = 1000
"""So many training images, the first ones, are looked at."""
EPSILON = 5e-4
_AT_ONCE = 50
_BYTES = 256 << 20
"""Of the patches that are looked at together: large images are taken fewer at a time."""


def whiten_first_layer(
    setup: TrainSetup, params: Mapping[str, Any], images: Images
) -> dict[str, Any]:
    """`params` with the first layer's kernel made of the patches of `images`.

    Args:
      setup: of the run.
      params: of the network.
      images: uint8 [N, H, W, 3], the training images.
    """
    path = first_layer(setup.model(), setup.image_size)

    def changed(node: Mapping[str, Any], rest: tuple[str, ...]) -> dict[str, Any]:
        if rest:
            return {**node, rest[0]: changed(node[rest[0]], rest[1:])}
        kernel = np.array(node["kernel"])
        covariance = _patch_covariance(setup, images[:IMAGES], kernel.shape[:2])
        return {**node, "kernel": jax.numpy.asarray(_whitening(kernel, covariance))}

    return changed(params, path)


def _patch_covariance(setup: TrainSetup, images: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """float64 [P, P] of normalised patches of P = height width 3 numbers, in the kernel's order."""
    info = setup.info
    prepared = jax.jit(
        partial(
            augment.preprocess,
            out_size=setup.image_size,
            mean=info.mean,
            std=info.std,
            config=setup.config.augment,
        )
    )
    size = window[0] * window[1] * images.shape[-1]
    total, count = np.zeros((size, size)), 0
    at_once = max(1, min(_AT_ONCE, _BYTES // (8 * size * setup.image_size**2)))
    for start in range(0, len(images), at_once):
        seen = np.asarray(prepared(images[start : start + at_once]))
        # [N, H', W', 3, height, width] -> patches in the order of a kernel's height, width, 3.
        patches = sliding_window_view(seen, window, axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
        flat = patches.reshape(-1, size).astype(np.float64)
        total, count = total + flat.T @ flat, count + len(flat)
    return total / count


def _whitening(kernel: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """`kernel` [height, width, 3, out] with as many filters as there are directions replaced."""
    values, vectors = np.linalg.eigh(covariance)
    filters = (vectors / np.sqrt(values + EPSILON))[:, ::-1]
    # An eigenvector's sign is arbitrary: the largest number in it is positive.
    largest = np.take_along_axis(filters, np.abs(filters).argmax(0)[None], 0)
    filters = (filters * np.sign(largest)).astype(np.float32)
    pairs = min(filters.shape[1], kernel.shape[-1] // 2)
    flat = kernel.reshape(-1, kernel.shape[-1]).copy()
    flat[:, : 2 * pairs : 2], flat[:, 1 : 2 * pairs : 2] = filters[:, :pairs], -filters[:, :pairs]
    return flat.reshape(kernel.shape)
