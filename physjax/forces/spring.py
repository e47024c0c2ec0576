"""Springs between neighbouring channels: each is pulled towards its ring neighbours' values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from physjax.forces.law import ForceLaw, Params
from physjax.forces.ring import neighbor_sum


def _constants(params: Params) -> jax.Array:
    # Never stiffer than 1/4, where the wave of the shortest length, whose eigenvalue under the
    # Laplacian is -4, is pulled to zero. Stiffer springs overshoot and spoil training.
    return jnp.tanh(params["interaction_strength"] * params["stiffness"]) / 4


def _force(params: Params, y: jax.Array) -> jax.Array:
    # In y's own type, which in a bfloat16 layer is not float32.
    constants = jnp.broadcast_to(_constants(params).astype(y.dtype), y.shape)
    return constants * (neighbor_sum(y) - 2 * y)


def _init(channels: int) -> dict[str, np.ndarray]:
    return {"stiffness": np.zeros(channels, np.float32)}


SPRING = ForceLaw(
    name="spring",
    equation="tanh(s k[c]) / 4 (y[c-1] + y[c+1] - 2 y[c])",
    source="Hooke's law on the ring of Cheng, Wang & Lu; the ring's discrete Laplacian",
    force=_force,
    init=_init,
    has_strength=True,
    form="linear",
)
