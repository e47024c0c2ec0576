"""Dual propagation: every unit is a dyad, two states whose difference is the error.

With h_k = alpha h_k+ + (1 - alpha) h_k- the mean state of a layer, what it sees from below is
a_k(h_{k-1}) and from above g_k = (da_{k+1}/dh_k)^T (h_{k+1}+ - h_{k+1}-), and

    h_k+ = act(a_k + (1 - alpha) g_k),    h_k- = act(a_k - alpha g_k).

The output is linear, with g_L = -beta dC/da_L. Layers are visited up and down, and

    d theta = (1/beta) sum_k (da_k/dtheta)^T (h_k+ - h_k-)

is the gradient of the cost to first order in beta, or to second where alpha is 1/2 (Høier, Staudt &
Zach, arXiv:2302.01228; Høier, Staudt & Zach, arXiv:2402.08573).

In the fast form the mean states stay where the forward pass has them. Then one sweep down is all
there is, and it is backpropagation with a difference quotient for the slope of the nonlinearity:
[act(a + alpha e) - act(a - (1 - alpha) e)] / beta for act'(a) e / beta, with e = -g_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import jax
from pydantic import Field

from physjax.rules.chain import Chain
from physjax.rules.energy import Cost, cost_slope, free_state, slopes
from physjax.rules.rule import LearningRule, Network, Tree, Update

Form = Literal["dyads", "fast"]


class _Dyads:
    """The states of all layers, [1, N, ...] each: their means, and the differences of the two."""

    def __init__(
        self, chain: Chain, params: Tree, free: Sequence[jax.Array], alpha: float, form: Form
    ) -> None:
        self.chain, self.leaves, self.alpha = chain, jax.tree.leaves(params), alpha
        self.moving = form == "dyads"
        self.drives = [a[None] for a in free]
        self.means = [chain.state(k, a) for k, a in enumerate(self.drives)]
        self.differences: list[jax.Array] = []  # from the output down, in the sweep at hand

    def sweep_up(self) -> None:
        """Look at each layer's input again, once the means below it have moved."""
        kept = dict(zip(reversed(range(len(self.chain))), self.differences, strict=True))
        for k in range(1, len(self.chain)):
            self.drives[k] = self.chain.drive(k, self.leaves, self.means[k - 1])
            if k < self.chain.last:
                self.pair(k, self.feedback(k, kept[k + 1]))

    def sweep_down(self, error: jax.Array) -> None:
        """Carry the output's difference down, pair by pair."""
        self.differences = [error]
        for k in reversed(range(self.chain.last)):
            self.differences.append(self.pair(k, self.feedback(k, self.differences[-1])))

    def feedback(self, k: int, difference: jax.Array) -> jax.Array:
        """g_k, of the difference above."""
        above = partial(self.chain.drive, k + 1, self.leaves)
        (back,) = jax.vjp(above, self.means[k])[1](difference)
        return back

    def pair(self, k: int, back: jax.Array) -> jax.Array:
        """h_k+ - h_k-; their mean is kept."""
        plus = self.chain.state(k, self.drives[k] + (1 - self.alpha) * back)
        minus = self.chain.state(k, self.drives[k] - self.alpha * back)
        if self.moving:
            self.means[k] = self.alpha * plus + (1 - self.alpha) * minus
        return plus - minus


def _update(
    network: Network,
    params: Tree,
    *,
    beta: Annotated[float, Field(gt=0, le=10, description="how far the output is moved")] = 0.1,
    alpha: Annotated[
        float, Field(ge=0, le=1, description="share of h+ in the mean state of a dyad")
    ] = 0.5,
    sweeps: Annotated[
        int, Field(ge=1, le=50, description="up and down; the first up is the forward pass")
    ] = 1,
    form: Annotated[
        Form,
        Field(
            description="dyads: means move with their dyads; fast: they stay as the forward pass "
            "has them, in nearly the time of backpropagation, and nearly as it"
        ),
    ] = "dyads",
    cost: Annotated[Cost, Field(description="what the gradient is of")] = "cross-entropy",
) -> Update:
    chain, free = network.chain(params), free_state(network, params)
    dyads = _Dyads(chain, params, free.drives, alpha, form)
    for sweep in range(sweeps if form == "dyads" else 1):
        if sweep:
            dyads.sweep_up()
        dyads.sweep_down(-beta * cost_slope(network, dyads.drives[-1], cost))
    weighed = [d / (beta * network.examples) for d in reversed(dyads.differences)]
    gradients = slopes(chain, params, dyads.means, weighed)
    return Update(network.sum_over_devices(gradients), free.outputs)


DUAL_PROPAGATION = LearningRule(
    name="dual-propagation",
    equation="d theta = (1/beta) (da/dtheta)^T (h+ - h-), with h+ = act(a + (1 - alpha) g) and"
    " h- = act(a - alpha g)",
    source="Høier, Staudt & Zach, arXiv:2302.01228 and arXiv:2402.08573",
    update=_update,
    needs_chain=True,
)
