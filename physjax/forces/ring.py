"""The paper's force: a learned constant per channel, felt by both neighbours on the ring."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from physjax.forces.law import ForceLaw, Params


def neighbor_sum(f: jax.Array) -> jax.Array:
    """F(f)[..., c] = f[..., c-1] + f[..., c+1], indices modulo C.

    F commutes with cyclic shifts of the channels: F(roll(f, k)) = roll(F(f), k). With one channel
    both neighbours are the channel itself, and with two both are the other one.

    >>> neighbor_sum(jnp.array([1.0, 2.0, 3.0, 4.0]))
    Array([6., 4., 6., 4.], dtype=float32)
    """
    return jnp.roll(f, 1, axis=-1) + jnp.roll(f, -1, axis=-1)


def _force(params: Params, y: jax.Array) -> jax.Array:
    del y
    return params["interaction_strength"] * neighbor_sum(params["neighbor_forces"])


def _init(channels: int) -> dict[str, np.ndarray]:
    return {"neighbor_forces": np.zeros(channels, np.float32)}


RING = ForceLaw(
    name="ring",
    equation="s (f[c-1] + f[c+1])",
    source="Cheng, Wang & Lu, Physic-Driven AlexNet, section III C",
    force=_force,
    init=_init,
    has_strength=True,
    form="constant",
)
