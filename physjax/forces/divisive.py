"""Learned divisive normalisation among neighbouring channels on the ring."""

from __future__ import annotations

import jax
import numpy as np

from physjax.forces.law import ForceLaw, Params
from physjax.forces.neighborhood import exponential_weights, normalizing_force

# Neighbours weigh exp(-|j| / 2); beyond 4 channels the weight is below a tenth of a channel's own.
WEIGHTS = exponential_weights(2.0, 4)


def _force(params: Params, y: jax.Array) -> jax.Array:
    return normalizing_force(y, params["exponents"].reshape(-1), WEIGHTS, 1.0, True)


def _init(channels: int) -> dict[str, np.ndarray]:
    return {"exponents": np.zeros(channels, np.float32)}


# Miller et al. learn the neighbourhood's length, its gain and one exponent per layer, from 2, 0.1
# and 1. The gain needs no parameter of its own, since the kernel or norm before the law scales y,
# and the length is fixed at their start. The exponents start at 0, where nothing is divided.
DIVISIVE = ForceLaw(
    name="divisive",
    equation="y[c] ((1 + sum_j w[|j|] y[c+j]^2)^-b[c] - 1), w[j] ~ exp(-j/2), j <= 4",
    source="after Miller et al., ICLR 2022 (divisive feature normalization in AlexNet)",
    force=_force,
    init=_init,
    after_activation=True,
)
