"""Resistances between in-channels and out-channels that learn by Eq. (1), and lower the loss.

Between input channel c and output channel o of a convolution lies a resistor R[c, o], 1 at the
start: the layer computes with K[:, :, c, o] / R[c, o]. A resistor dissipates E = V^2 / (2 R), and
the paper's Eq. (1) is its contrast rule,

    dR = (gamma / R^2) ([V^C]^2 - [V^F]^2) = -2 gamma d(E^C - E^F)/dR.

A convolution is no such circuit, but a network that settles has an energy of its own
(`physjax.rules.energy`). By it the same rule reads, the two clamped and free,

    dR[c, o] = -gamma d(E^C - E^F)/dR[c, o]
             = -(gamma / R[c, o]^2) sum over the taps of K (da/dK')^T eps,    K' = K / R,

with Eq. (1)'s prefactor: what stands behind it is the correlation of the layer's own input and
residual. It is the mean over examples, divided by eta.

(Cheng, Wang & Lu, Physic-Driven AlexNet, Eq. (1); Stern et al., Phys. Rev. X 11, 021045 (2021).)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from pydantic import Field

from physjax.nn.connection import Connection
from physjax.rules.backprop import gradient_update
from physjax.rules.coupled import COUPLED
from physjax.rules.coupled_learning import ClampedCost, Damping, Rounds, clamped_update
from physjax.rules.equilibrium_propagation import nudged_gradients
from physjax.rules.rule import LearningRule, Network, Tree, Update

Teacher = Literal["frozen", "contrast", "backprop"]
"""What moves a parameter: nothing, the same contrast as the resistances, or the gradient."""


def _update(
    network: Network,
    params: Tree,
    *,
    gamma: Annotated[
        float, Field(ge=0, le=1e6, description="learning rate of the resistances")
    ] = 0.1,
    output: Annotated[
        Literal["clamped", "nudged"], Field(description="how the network sees the target")
    ] = "clamped",
    eta: Annotated[
        float, Field(gt=0, le=10, description="how far the output is clamped, or nudged")
    ] = 0.1,
    kernels: Annotated[
        Teacher, Field(description="what moves the convolutions' kernels")
    ] = "contrast",
    dense: Annotated[
        Teacher, Field(description="what moves the dense layers, with their biases")
    ] = "contrast",
    others: Annotated[
        Teacher, Field(description="what moves the convolutions' biases, norms and forces")
    ] = "contrast",
    resistance_min: Annotated[float, Field(gt=0, le=1, description="least resistance")] = 0.1,
    resistance_max: Annotated[float, Field(ge=1, le=1e6, description="largest one")] = 10.0,
    rounds: Rounds = 15,
    damping: Damping = 0.5,
    cost: ClampedCost = "cross-entropy",
) -> Update:
    if output == "clamped":
        update = clamped_update(network, params, eta=eta, rounds=rounds, damping=damping, cost=cost)
    else:
        update = nudged_gradients(
            network, params, beta=eta, rounds=rounds, scheme="centred", cost=cost, damping=1.0
        )
    slopes = {"contrast": flatten_dict(update.gradients)}
    if "backprop" in (kernels, dense, others):
        slopes["backprop"] = flatten_dict(gradient_update(network, params).gradients)
    gradients: dict[tuple[str, ...], jax.Array] = {}
    moved: dict[tuple[str, ...], jax.Array] = {}
    flat = flatten_dict(params)
    dense_layers = {p[:-1] for p, value in flat.items() if p[-1] == "kernel" and value.ndim == 2}
    for path, value in flat.items():
        if path[:-1] in dense_layers:
            teacher = dense
        else:
            teacher = kernels if path[-1] == "kernel" else others
        gradients[path] = jnp.zeros_like(value)
        if path[-1] == "resistances":
            step = gamma * slopes["contrast"][path]
            moved[path] = jnp.clip(value - step, resistance_min, resistance_max)
        elif teacher == "frozen":
            moved[path] = value  # the optimiser's weight decay would shrink it
        else:
            gradients[path] = slopes[teacher][path]
    return Update(unflatten_dict(gradients), update.outputs, unflatten_dict(moved), update.relaxed)


def _effective_kernel(kernel: jax.Array, params: Mapping[str, Any]) -> jax.Array:
    return kernel / params["resistances"][None, None]


CHANNEL_RESISTANCES = LearningRule(
    name="channel-resistances",
    equation="dR = -gamma d(E_clamped - E_free)/dR ~ gamma / R^2, between the channels of each"
    " convolution",
    source="Cheng, Wang & Lu, Physic-Driven AlexNet, Eq. (1); Stern et al., Phys. Rev. X 11, 021045"
    " (2021)",
    update=_update,
    connection=Connection(params=COUPLED.connection.params, effective_kernel=_effective_kernel),
    needs_chain=True,
    diagnostics=COUPLED.diagnostics,
)
