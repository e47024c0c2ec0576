"""Learned divisive normalisation among neighbouring channels on the ring."""

from __future__ import annotations

from typing import Annotated

import jax
import numpy as np
from pydantic import Field

from physjax.forces.law import ForceLaw, Params
from physjax.forces.neighborhood import exponential_weights, normalizing_force


def _force(
    params: Params,
    y: jax.Array,
    *,
    length: Annotated[
        float,
        Field(gt=0, le=1e3, description="channels by which a neighbour's weight falls to 1/e"),
    ] = 2.0,
    # At length 2 the weight beyond 4 channels is below a tenth of a channel's own.
    reach: Annotated[
        int, Field(ge=0, le=64, description="how many channels away the furthest neighbour is")
    ] = 4,
) -> jax.Array:
    weights = exponential_weights(length, reach)
    return normalizing_force(y, params["exponents"].reshape(-1), weights, 1.0, True)


def _init(channels: int) -> dict[str, np.ndarray]:
    return {"exponents": np.zeros(channels, np.float32)}


# Miller et al. learn the neighbourhood's length, its gain and one exponent per layer, from 2, 0.1
# and 1. The gain needs no parameter of its own, since the kernel or norm before the law scales y,
# and the length is a setting, fixed while the network learns. The exponents start at 0, where
# nothing is divided.
DIVISIVE = ForceLaw(
    name="divisive",
    equation="y[c] ((1 + sum_j w[|j|] y[c+j]^2)^-b[c] - 1), w[j] ~ exp(-j/length), j <= reach",
    source="after Miller et al., ICLR 2022 (divisive feature normalization in AlexNet)",
    force=_force,
    init=_init,
    after_activation=True,
)
