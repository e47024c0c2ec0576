"""Backpropagation: the plain gradient, as a rule, so that nothing needs to ask for it specially."""

from __future__ import annotations

import jax

from physjax.rules.rule import LearningRule, Network, Tree, Update


def gradient_update(network: Network, params: Tree) -> Update:
    """The gradient of the mean loss over the batch, by reverse-mode differentiation."""
    gradients, outputs = jax.grad(network.loss, has_aux=True)(params, {})
    return Update(network.sum_over_devices(gradients), outputs)


BACKPROP = LearningRule(
    name="backprop",
    equation="d theta = -dL/d theta",
    source="Rumelhart, Hinton & Williams, Nature 323 (1986)",
    update=gradient_update,
)
