"""Equilibrium propagation: the network settles with its output nudged a little towards the target.

E + beta C is minimised from the free state on (`physjax.rules.energy`), the output free to move:
h_L = a_L - beta dC/dh_L at rest. Then

    dL/dtheta = lim (1/beta) dE/dtheta (nudged by beta),    beta -> 0,

with L the batch's mean cost: to first order in beta, or to second as the difference of two states
that are nudged by +beta and by -beta (Scellier & Bengio, Frontiers in Computational Neuroscience
11:24 (2017); Laborieux et al. 2021; on this energy, and with a random sign, Kerjan, Hoier &
Scellier, arXiv:2606.03584).
"""

from __future__ import annotations

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from physjax.rules.energy import Cost, contrast, cost_slope, free_state
from physjax.rules.rule import LearningRule, Network, Tree, Update
from physjax.rules.settling import Relaxed, settle

Scheme = Literal["centred", "forward", "backward", "random"]


def _signs(network: Network, scheme: Scheme) -> jax.Array:
    """[S]: the sign of each state's nudge."""
    if scheme == "random":
        # One for the whole batch, and the same on every device.
        return jax.random.rademacher(network.key, (1,), jnp.float32)
    return jnp.array({"centred": [1.0, -1.0], "forward": [1.0], "backward": [-1.0]}[scheme])


def nudged_gradients(
    network: Network,
    params: Tree,
    *,
    rounds: int,
    beta: float,
    scheme: Scheme,
    cost: Cost,
    damping: float,
) -> Update:
    """The gradient of the mean cost, as the contrast of states that are nudged by +-beta."""
    chain, free = network.chain(params), free_state(network, params)
    signs = _signs(network, scheme)

    def nudge(outputs: jax.Array, drive: jax.Array) -> jax.Array:
        strength = (beta * signs).reshape(-1, 1, 1).astype(outputs.dtype)
        return drive - strength * cost_slope(network, outputs, cost)

    settled, trace = settle(
        chain,
        params,
        free.drives,
        nudge,
        states=len(signs),
        rounds=rounds,
        damping=damping,
        trace=network.trace,
    )
    weights = signs / (len(signs) * beta * network.examples)
    gradients = contrast(chain, params, settled, weights)
    rest = Relaxed(free, settled, trace)
    return Update(network.sum_over_devices(gradients), free.outputs, relaxed=rest)


def _update(
    network: Network,
    params: Tree,
    *,
    rounds: Annotated[
        int,
        Field(ge=0, le=200, description="of settling; 0: as many as the network has layers"),
    ] = 0,
    beta: Annotated[
        float, Field(gt=0, le=10, description="how strongly the output is nudged")
    ] = 0.02,
    scheme: Annotated[
        Scheme,
        Field(
            description="of the difference in beta; centred: of two states, the others of one and "
            "the free state; random: the sign is tossed for every batch"
        ),
    ] = "centred",
    cost: Annotated[
        Cost, Field(description="what the output is nudged down, and the gradient is of")
    ] = "cross-entropy",
    damping: Annotated[
        float, Field(gt=0, le=1, description="share of its way that a layer moves at once")
    ] = 1.0,
) -> Update:
    return nudged_gradients(
        network, params, rounds=rounds, beta=beta, scheme=scheme, cost=cost, damping=damping
    )


EQUILIBRIUM_PROPAGATION = LearningRule(
    name="equilibrium-propagation",
    equation="d theta = -(1/beta) dE/dtheta of the nudged state, which minimises E + beta C",
    source="Scellier & Bengio, Front. Comput. Neurosci. 11:24 (2017); Kerjan, Hoier & Scellier,"
    " arXiv:2606.03584",
    update=_update,
    needs_chain=True,
)
