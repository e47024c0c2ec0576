"""Competition between ring neighbours: who has less energy than they is turned down.

The weights of the neighbourhood sum to one, and a channel among equals stays as it is. A positive
exponent is competition, a negative one cooperation. Weights that put everything on the channel
itself would be plain too, but lie at the softmax's infinity, where nothing is learned: the exponent
starts at zero instead, and the weights are equal.
"""

from __future__ import annotations

import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from physjax.forces.gate import PerChannel, Radius
from physjax.forces.law import ForceLaw, Params
from physjax.forces.neighborhood import weighted_neighbors

Kappa = Annotated[float, Field(gt=0, le=1e6, description="start of the energy that counts as none")]


def _excess(params: Params, y: jax.Array, kappa: float) -> jax.Array:
    """g - 1, [N, 1, ..., 1, C], float32: zero where the exponents are."""
    energy = _channel_energies(y)
    weights = jax.nn.softmax(params["neighbor_logits"], axis=0)
    floor = kappa * jnp.exp(params["log_kappa"])
    ratio = jnp.log(floor + energy) - jnp.log(floor + weighted_neighbors(energy, weights))
    exponents = params["exponents"].reshape((1,) * (y.ndim - 1) + (-1,))
    return jnp.expm1(jnp.broadcast_to(exponents, ratio.shape) * ratio)


def _channel_energies(y: jax.Array) -> jax.Array:
    """The mean square of each image's channels over the pixels: [N, ..., C] -> [N, 1, ..., 1, C].

    At least float32; of [N, C] and [C] the squares themselves.
    """
    pixels = tuple(range(1, y.ndim - 1))
    wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    # As a contraction: XLA:CPU takes the mean of an array of squares in twice the gate's time.
    axes = tuple(range(y.ndim))
    kept = tuple(axis for axis in axes if axis not in pixels)
    sums = jnp.einsum(wide, axes, wide, axes, kept, precision=jax.lax.Precision.HIGHEST)
    return jnp.expand_dims(sums, pixels) / math.prod(y.shape[1:-1])


def _force(params: Params, y: jax.Array, *, kappa: Kappa = 1.0) -> jax.Array:
    return _excess(params, y, kappa).astype(y.dtype) * y


def _gate(params: Params, y: jax.Array, *, kappa: Kappa = 1.0) -> jax.Array:
    return 1 + _excess(params, y, kappa)


def _init(
    channels: int, *, radius: Radius = 1, per_channel: PerChannel = False
) -> dict[str, np.ndarray]:
    own = channels if per_channel else 1
    return {
        "neighbor_logits": np.zeros((2 * radius + 1, own), np.float32),
        "exponents": np.zeros(own, np.float32),
        "log_kappa": np.zeros((), np.float32),
    }


ENERGY_GATE = ForceLaw(
    name="energy-gate",
    equation="y[c] (((K + r[c]^2) / (K + sum_j w[j] r[c+j]^2))^b - 1), r[c]^2 = mean(y[c]^2)",
    source="physjax's own: a divisive normalisation of whole feature maps",
    force=_force,
    init=_init,
    place="after_activation",
    gate=_gate,
)
