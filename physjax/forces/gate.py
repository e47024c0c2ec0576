"""Gates: every channel of an image is multiplied by a factor that its ring neighbours' means set.

The factor depends on the image, so that no bias can do the same. `own-gate` is the twin without
neighbours: what a gate does by itself.
"""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from physjax.forces.law import ForceLaw, Params
from physjax.forces.neighborhood import channel_means, gate_spread, weighted_neighbors

Radius = Annotated[
    int, Field(ge=1, le=8, description="channels away that the furthest neighbour is")
]
PerChannel = Annotated[
    bool, Field(description="weights of its own for each channel, not one set for the layer")
]
Standardize = Annotated[
    bool, Field(description="take from an image's means their own mean, divide by their deviation")
]
Gain = Annotated[
    float,
    Field(gt=0, le=1e3, description="factor on the weights; they learn faster by its square"),
]


def _excess(params: Params, y: jax.Array, standardize: bool, gain: float) -> jax.Array:
    """g - 1, [N, 1, ..., 1, C], float32: 2 sigmoid(z) - 1 = tanh(z / 2), zero where z is."""
    means = channel_means(y)
    if standardize:
        centred = means - jnp.mean(means, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
        means = centred * jax.lax.rsqrt(variance + 1e-5)
    return jnp.tanh(0.5 * gain * weighted_neighbors(means, params["weights"]))


def _force(
    params: Params, y: jax.Array, *, standardize: Standardize = False, gain: Gain = 1.0
) -> jax.Array:
    return _excess(params, y, standardize, gain).astype(y.dtype) * y


def _diagnostics(
    params: Params, y: jax.Array, *, standardize: Standardize = False, gain: Gain = 1.0
) -> dict[str, jax.Array]:
    return gate_spread(1 + _excess(params, y, standardize, gain))


def _init(
    channels: int, *, radius: Radius = 1, per_channel: PerChannel = False
) -> dict[str, np.ndarray]:
    shape = (2 * radius + 1, channels if per_channel else 1)
    return {"weights": np.zeros(shape, np.float32)}


def _init_alone(channels: int, *, per_channel: PerChannel = False) -> dict[str, np.ndarray]:
    return {"weights": np.zeros((1, channels if per_channel else 1), np.float32)}


RING_GATE = ForceLaw(
    name="ring-gate",
    equation="(g[c] - 1) y[c], g[c] = 2 sigmoid(sum_j w[j] mean(y[c+j])), |j| <= radius",
    source="ECA on a ring: Wang et al., CVPR 2020, arXiv:1910.03151; circular as in timm",
    force=_force,
    init=_init,
    place="after_activation",
    diagnostics=_diagnostics,
)
OWN_GATE = ForceLaw(
    name="own-gate",
    equation="(g[c] - 1) y[c], g[c] = 2 sigmoid(w mean(y[c]))",
    source="the ring gate without neighbours: its control",
    force=_force,
    init=_init_alone,
    place="after_activation",
    diagnostics=_diagnostics,
    ordered=False,
)
