"""Taps on activations: record a layer's channels, and add a perturbation to measure a gradient.

The collections are those of a Flax module: a caller that makes `VOLTAGES` mutable gets the means,
and one that hands in `PERTURBATIONS` gets, as the gradient with respect to them, that with respect
to an offset common to all pixels of a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

VOLTAGES = "voltages"
"""Collection of the channels' mean activations, [N, C] by layer and name."""
PERTURBATIONS = "perturbations"
"""Collection of the offsets that are added, [N, 1, 1, C] by layer and name."""

SOURCE = "source"
"""Name of the tap on the network's own input: recorded, and never perturbed."""


def tap(module: nn.Module, name: str, x_NHWC: jax.Array) -> jax.Array:
    """x plus the perturbation of that name, if one is given; x's channel means are sown first."""
    means_NC = jnp.mean(x_NHWC.astype(jnp.float32), axis=(1, 2))
    module.sow(VOLTAGES, name, means_NC, reduce_fn=lambda _, new: new)
    if module.has_variable(PERTURBATIONS, name):
        offset: jax.Array = module.get_variable(PERTURBATIONS, name)
        x_NHWC = x_NHWC + jnp.broadcast_to(offset, x_NHWC.shape).astype(x_NHWC.dtype)
    return x_NHWC


def zero_perturbations(voltages: Mapping[str, Any]) -> dict[str, Any]:
    """Zero offsets [N, 1, 1, C] for each tap [N, C] in `voltages` but those on the source."""
    zeros: dict[str, Any] = {}
    for name, value in voltages.items():
        if isinstance(value, Mapping):
            below = zero_perturbations(value)
            if below:
                zeros[name] = below
        elif name != SOURCE:
            zeros[name] = jnp.zeros((value.shape[0], 1, 1, value.shape[1]), jnp.float32)
    return zeros
