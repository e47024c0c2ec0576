"""Coupled learning between the channels of a convolution, by the paper's Eq. (1).

Between input channel c and output channel o of a layer lies a resistor R[c, o], 1 at the start,
whose conductance scales the kernel: K[:, :, c, o] / R[c, o]. A channel is one node of the network
and its voltage V its activation, averaged over the pixels. In the *free* state the layer computes
as ever. In the *clamped* state the network's output is nudged towards the target by eta, and with
it every node: V^C = V^F - eta dL/dV, with L the example's loss and dL/dV its derivative with
respect to an offset common to all pixels of the channel. For the logits z and cross-entropy that is
the usual nudge z + eta (one-hot - softmax(z)). The image is the source: held, and the same in both
states.

Every resistor compares the drop across it, dV = V[c] - V[o], in both states and changes itself:

    dR[c, o] = gamma / R[c, o]^2  mean over examples ([dV^C]^2 - [dV^F]^2)

(Cheng, Wang & Lu, Eq. (1); Dillavou et al., Phys. Rev. Applied 18, 014040). The resistances get no
gradient; the kernel trains as usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from physjax.nn.connection import Connection
from physjax.nn.taps import PERTURBATIONS, SOURCE, zero_perturbations
from physjax.rules.rule import LearningRule, Network, Tree, Update


def squared_drop_changes(
    voltages: Mapping[str, Any], gradients: Mapping[str, Any], eta: float
) -> dict[str, Any]:
    """By layer, [in, out]: [dV^C]^2 - [dV^F]^2, summed over the examples.

    `voltages` holds, for each layer, `output` [N, out] and `input` [N, in], or `source` where the
    input is the image. `gradients` holds the derivatives of each example's own loss with respect to
    the perturbations, [N, 1, 1, C]; a source has none, for it is held.
    """
    if isinstance(voltages.get("output"), jax.Array):
        held = SOURCE in voltages
        free_in, free_out = voltages[SOURCE if held else "input"], voltages["output"]
        move_in = _move(gradients, "input", eta, free_in)
        move_out = _move(gradients, "output", eta, free_out)
        # (V + m)^2 - V^2 = m (2 V + m) for the drop V = in - out and its move m = in - out: written
        # out, so that small moves are not lost in the difference of two large squares.
        sums_in = jnp.sum(move_in * (2 * free_in + move_in), 0)
        sums_out = jnp.sum(move_out * (2 * free_out + move_out), 0)
        cross = move_in.T @ (2 * free_out + move_out) + (2 * free_in + move_in).T @ move_out
        return {"drops": sums_in[:, None] + sums_out[None, :] - cross}
    return {
        name: squared_drop_changes(value, gradients.get(name, {}), eta)
        for name, value in voltages.items()
    }


def _move(gradients: Mapping[str, Any], name: str, eta: float, like: jax.Array) -> jax.Array:
    if name not in gradients:
        return jnp.zeros_like(like)
    return -eta * gradients[name].reshape(like.shape)


def moved_resistances(
    params: Mapping[str, Any],
    changes: Mapping[str, Any],
    gamma: float,
    bounds: tuple[float, float],
) -> dict[str, Any]:
    """Every layer's resistances after Eq. (1), clipped to `bounds`; nothing else of `params`.

    `changes` is :func:`squared_drop_changes`, averaged over the examples.
    """
    moved: dict[str, Any] = {}
    for name, value in params.items():
        if name == "resistances":
            step = gamma / jnp.square(value) * changes["drops"]
            moved[name] = jnp.clip(value + step, *bounds)
        elif isinstance(value, Mapping):
            below = moved_resistances(value, changes.get(name, {}), gamma, bounds)
            if below:
                moved[name] = below
    return moved


def _update(
    network: Network,
    params: Tree,
    *,
    gamma: Annotated[
        float,
        Field(ge=0, le=1e6, description="learning rate of the resistances; 0: they stay at 1"),
    ] = 1e-3,
    eta: Annotated[
        float,
        Field(gt=0, le=1e6, description="how far the clamped state moves down the loss gradient"),
    ] = 1.0,
    resistance_min: Annotated[float, Field(gt=0, le=1, description="least resistance")] = 0.1,
    resistance_max: Annotated[float, Field(ge=1, le=1e6, description="largest one")] = 10.0,
) -> Update:
    voltages = jax.eval_shape(lambda: network.loss(params, {})[1].voltages)
    zeros = {PERTURBATIONS: zero_perturbations(voltages)}
    (gradients, slopes), outputs = jax.grad(network.loss, argnums=(0, 1), has_aux=True)(
        params, zeros
    )
    gradients = network.sum_over_devices(gradients)
    # The gradient of the mean loss, times the count: of each example's own loss.
    slopes = jax.tree.map(lambda g: g * network.examples, slopes[PERTURBATIONS])
    drops = squared_drop_changes(outputs.voltages, slopes, eta)
    drops = jax.tree.map(lambda d: d / network.examples, network.sum_over_devices(drops))
    moved = moved_resistances(params, drops, gamma, (resistance_min, resistance_max))
    return Update(gradients, outputs, moved)


def _effective_kernel(kernel: jax.Array, params: Mapping[str, jax.Array]) -> jax.Array:
    return kernel / jax.lax.stop_gradient(params["resistances"])[None, None]


def _ones(key: jax.Array, kernel_shape: tuple[int, ...], dtype: Any) -> jax.Array:
    del key
    return jnp.ones(kernel_shape[-2:], dtype)


def _diagnostics(layer: Mapping[str, jax.Array]) -> dict[str, float]:
    resistances = np.asarray(layer["resistances"], np.float64)
    return {
        "resistance_mean": float(resistances.mean()),
        "resistance_sd": float(resistances.std()),
        "resistance_change": float(np.abs(resistances - 1).mean()),
    }


COUPLED = LearningRule(
    name="coupled",
    equation="dR = gamma / R^2 ([dV^C]^2 - [dV^F]^2); kernels by the gradient",
    source="Cheng, Wang & Lu, Physic-Driven AlexNet, Eq. (1); Dillavou et al., Phys. Rev. Applied"
    " 18, 014040 (2022)",
    update=_update,
    connection=Connection(
        params={"resistances": _ones},
        effective_kernel=_effective_kernel,
        taps=True,
    ),
    diagnostics=_diagnostics,
)
