"""Squeeze and excitation: a gate that two dense layers set, without any notion of neighbours."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from physjax.forces.law import ForceLaw, Params, Start
from physjax.forces.neighborhood import channel_means, gate_spread


def _excess(params: Params, y: jax.Array) -> jax.Array:
    """g - 1, [N, 1, ..., 1, C], float32: zero where the second layer is."""
    means = channel_means(y)
    hidden = means @ params["squeeze"].T
    offset = params["squeeze_offset"].reshape((1,) * (y.ndim - 1) + (-1,))
    hidden = jax.nn.relu(hidden + jnp.broadcast_to(offset, hidden.shape))
    excited = hidden @ params["excite"]
    return jnp.tanh(0.5 * (excited + jnp.broadcast_to(params["excite_offset"], excited.shape)))


def _force(params: Params, y: jax.Array) -> jax.Array:
    return _excess(params, y).astype(y.dtype) * y


def _diagnostics(params: Params, y: jax.Array) -> dict[str, jax.Array]:
    return gate_spread(1 + _excess(params, y))


def _init(
    channels: int,
    *,
    reduction: Annotated[
        int, Field(ge=1, le=1024, description="channels for each unit of the hidden layer")
    ] = 16,
) -> dict[str, Start]:
    hidden = max(1, channels // reduction)

    def squeeze(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (hidden, channels)) * np.sqrt(2 / channels)

    return {
        "squeeze": squeeze,
        "squeeze_offset": np.zeros((hidden, 1), np.float32),
        "excite": np.zeros((hidden, channels), np.float32),
        "excite_offset": np.zeros(channels, np.float32),
    }


SE = ForceLaw(
    name="se",
    equation="(g[c] - 1) y[c], g = 2 sigmoid(E relu(S mean(y) + a) + b)",
    source="Hu, Shen & Sun, CVPR 2018, arXiv:1709.01507; here twice the sigmoid, and E from 0",
    force=_force,
    init=_init,
    place="after_activation",
    diagnostics=_diagnostics,
    ordered=False,
    recorded=(),
)
