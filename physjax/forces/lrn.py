"""AlexNet's local response normalisation: the control arm from the literature."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
from pydantic import Field

from physjax.forces.law import ForceLaw, Params
from physjax.forces.neighborhood import normalizing_force


def _force(
    params: Params,
    y: jax.Array,
    *,
    neighbors: Annotated[
        int, Field(ge=0, le=64, description="channels on each side: n = 2 neighbors + 1")
    ] = 2,
    k: Annotated[float, Field(gt=0, le=1e6, description="what keeps the sum positive")] = 2.0,
    alpha: Annotated[float, Field(ge=0, le=1e6, description="factor on the sum of squares")] = 1e-4,
    beta: Annotated[float, Field(ge=0, le=100, description="exponent")] = 0.75,
) -> jax.Array:
    del params
    exponents = jnp.full((y.shape[-1],), beta, jnp.float32)
    # On a line, as published: the first and the last channels have fewer neighbours.
    return normalizing_force(y, exponents, (alpha,) * (neighbors + 1), k, False)


LRN = ForceLaw(
    name="lrn",
    equation="y[c] ((k + alpha sum_j y[c+j]^2)^-beta - 1), |j| <= neighbors, channels on a line",
    source="Krizhevsky, Sutskever & Hinton, NIPS 2012, section 3.3",
    force=_force,
    after_activation=True,
    starts_plain=False,
)
