"""The square alone: what `miller` has beside its divisor."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from physjax.forces.law import ForceLaw, Params


def _force(params: Params, y: jax.Array) -> jax.Array:
    del params
    return jnp.square(y) - y


SQUARE = ForceLaw(
    name="square",
    equation="y[c]^2 - y[c]",
    source="the numerator of Miller, Chung & Miller, ICLR 2022, without the divisor: its control",
    force=_force,
    place="before_late_norm",
    starts_plain=False,
    ordered=False,
)
