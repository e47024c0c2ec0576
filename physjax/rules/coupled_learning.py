"""Coupled learning: the network settles with its output clamped a little closer to the target.

The output is held at h_L = h_L^free - eta dC/dh_L, which for the squared error is
(1 - eta) h_L^free + eta y, and the hidden layers relax to the minimum of the energy
(`physjax.rules.energy`). Every parameter moves down the contrast,

    d theta = -(1/eta) d(E_clamped - E_free)/d theta,

and E_free is zero, with all its derivatives (Stern, Hexner, Rocks & Liu, Phys. Rev. X 11, 021045
(2021)). This is no gradient of the cost, also for small eta: the errors of the outputs are weighted
by the inverse of how they respond to each other. It is the derivative of the energy that it takes
to hold the output where it is clamped.

A full move overshoots where a layer's squared slope exceeds 1, and an output that is held forgives
nothing: the layers' moves are damped, as much as they turn out to need.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from physjax.rules.chain import Chain
from physjax.rules.energy import Cost, contrast, cost_slope, free_state
from physjax.rules.rule import LearningRule, Network, Tree, Update
from physjax.rules.settling import Relaxed, settle

Rounds = Annotated[int, Field(ge=1, le=200, description="of settling")]
Damping = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="share of its way that a layer moves at first; where that overshoots, less",
    ),
]
ClampedCost = Annotated[Cost, Field(description="what the output is clamped down the slope of")]


def clamped_state(
    network: Network,
    chain: Chain,
    params: Tree,
    *,
    eta: float,
    rounds: int,
    damping: float,
    cost: Cost,
) -> Relaxed:
    """The network at rest with its output clamped, and its free state."""
    free = free_state(network, params)
    logits = free.outputs.logits
    held = (logits - eta * cost_slope(network, logits, cost))[None]
    settled, trace = settle(
        chain,
        params,
        free.drives,
        lambda outputs, drive: held,
        rounds=rounds,
        damping=damping,
        adaptive=True,
        trace=network.trace,
    )
    return Relaxed(free, settled, trace)


def clamped_update(
    network: Network, params: Tree, *, eta: float, rounds: int, damping: float, cost: Cost
) -> Update:
    """The contrast between clamped and free state, per example and divided by eta."""
    chain = network.chain(params)
    rest = clamped_state(network, chain, params, eta=eta, rounds=rounds, damping=damping, cost=cost)
    weights = (1 / (eta * network.examples))[None]
    gradients = contrast(chain, params, rest.settled, weights)
    return Update(network.sum_over_devices(gradients), rest.free.outputs, relaxed=rest)


def _update(
    network: Network,
    params: Tree,
    *,
    eta: Annotated[
        float,
        Field(gt=0, le=10, description="share of the way to the target that the output is clamped"),
    ] = 0.1,
    rounds: Rounds = 15,
    damping: Damping = 0.5,
    cost: ClampedCost = "cross-entropy",
) -> Update:
    return clamped_update(network, params, eta=eta, rounds=rounds, damping=damping, cost=cost)


COUPLED_LEARNING = LearningRule(
    name="coupled-learning",
    equation="d theta = -(1/eta) d(E_clamped - E_free)/d theta, the output clamped by eta",
    source="Stern, Hexner, Rocks & Liu, Phys. Rev. X 11, 021045 (2021)",
    update=_update,
    needs_chain=True,
)
