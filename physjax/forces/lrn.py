"""AlexNet's local response normalisation: the control arm from the literature."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from physjax.forces.law import ForceLaw, Params
from physjax.forces.neighborhood import normalizing_force

NEIGHBORS = 2
"""Channels on each side: the paper's n = 5 with the channel itself."""
CONSTANT, ALPHA, BETA = 2.0, 1e-4, 0.75


def _force(params: Params, y: jax.Array) -> jax.Array:
    del params
    exponents = jnp.full((y.shape[-1],), BETA, jnp.float32)
    # On a line, as published: the first and the last channels have fewer neighbours.
    return normalizing_force(y, exponents, (ALPHA,) * (NEIGHBORS + 1), CONSTANT, False)


LRN = ForceLaw(
    name="lrn",
    equation="y[c] ((2 + 1e-4 sum_j y[c+j]^2)^-0.75 - 1), |j| <= 2, channels on a line",
    source="Krizhevsky, Sutskever & Hinton, NIPS 2012, section 3.3",
    force=_force,
    after_activation=True,
    starts_plain=False,
)
