"""Contrastive learning: the output is clamped to the target itself.

Coupled learning (`physjax.rules.coupled_learning`) with eta = 1, as it was first thought of
(Movellan, Connectionist Models (1990); Xie & Seung, Neural Computation 15, 441 (2003)):

    d theta = -d(E_clamped - E_free)/d theta,    h_L = y in the clamped state.

A control: so large a clamp takes the network far from where its energy is that of its answer.
"""

from __future__ import annotations

from physjax.rules.coupled_learning import ClampedCost, Damping, Rounds, clamped_update
from physjax.rules.rule import LearningRule, Network, Tree, Update


def _update(
    network: Network,
    params: Tree,
    *,
    rounds: Rounds = 15,
    damping: Damping = 0.5,
    cost: ClampedCost = "squared",
) -> Update:
    return clamped_update(network, params, eta=1.0, rounds=rounds, damping=damping, cost=cost)


CONTRASTIVE = LearningRule(
    name="contrastive",
    equation="d theta = -d(E_clamped - E_free)/d theta, the output clamped to the target",
    source="Movellan, Connectionist Models (1990); Xie & Seung, Neural Computation 15, 441 (2003)",
    update=_update,
    needs_chain=True,
)
