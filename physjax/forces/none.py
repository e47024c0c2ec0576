"""No force at all: the plain layer, as a law, so that nothing needs to ask for it specially."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from physjax.forces.law import ForceLaw, Params


def _force(params: Params, y: jax.Array) -> jax.Array:
    del params
    return jnp.zeros((y.shape[-1],), y.dtype)


NONE = ForceLaw(
    name="none",
    equation="0",
    source="the plain convolution: the arm that every law is compared with",
    force=_force,
    form="constant",
    ordered=False,
)
