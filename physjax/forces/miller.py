"""Divisive normalisation between neighbouring channels, as it was published.

The layer computes convolution, nonlinearity, division, norm, pool. Length, gain, constant and
exponent are learned, one of each for a layer; those that must be positive by their logarithm.
"""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from physjax.forces.law import ForceLaw, Params
from physjax.forces.neighborhood import exponential_sum

_Start = Annotated[float, Field(gt=0, le=1e3)]


def _force(
    params: Params,
    y: jax.Array,
    *,
    # As published it is four lengths; lengths up to `reach` / 4 are not cut.
    reach: Annotated[
        int,
        Field(ge=0, le=256, description="channels away that the furthest neighbour ever is"),
    ] = 16,
) -> jax.Array:
    wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    length = jnp.exp(params["log_length"])
    squares = jnp.square(wide)
    energy = exponential_sum(squares, length, reach) / length
    log = params["log_k"] + jnp.log1p(jnp.exp(params["log_alpha"]) * energy)
    return squares * jnp.exp(-params["beta"] * log) - wide


def _init(
    channels: int,
    *,
    length: Annotated[
        _Start, Field(description="start of lambda, channels by which a weight falls to 1/e")
    ] = 2.0,
    alpha: Annotated[
        _Start, Field(description="start of alpha; published: 0.1 in networks without a norm")
    ] = 1.0,
    beta: Annotated[_Start, Field(description="start of the exponent")] = 1.0,
    k: Annotated[_Start, Field(description="start of k")] = 1.0,
) -> dict[str, np.ndarray]:
    del channels
    starts = {"log_length": np.log(length), "log_alpha": np.log(alpha), "log_k": np.log(k)}
    return {name: np.asarray(x, np.float32) for name, x in {**starts, "beta": beta}.items()}


MILLER = ForceLaw(
    name="miller",
    equation="y[c]^2 / (k (1 + alpha/l sum_j y[c+j]^2 exp(-|j|/l)))^beta - y[c], |j| <= 4 l",
    source="Miller, Chung & Miller, ICLR 2022 (divisive feature normalization in AlexNet)",
    force=_force,
    init=_init,
    place="before_late_norm",
    starts_plain=False,
)
