"""Coupled learning between the channels of a convolution, by the paper's Eq. (1).

Between input channel c and output channel o of a layer lies a resistor R[c, o], 1 at the start,
whose conductance scales the kernel: K[:, :, c, o] / R[c, o]. A channel is one node of the network
and its voltage V its activation, averaged over the pixels. In the *free* state the layer computes
as ever. In the *clamped* state the network's output is nudged towards the target by eta, and with
it every node: V^C = V^F - eta dL/dV, with L the example's loss and dL/dV its derivative by an
offset common to all pixels of the channel. For the logits z and cross-entropy that is the usual
nudge z + eta (one-hot - softmax(z)). The image is the source: held, and the same in both states.

Every resistor compares the drop across it, dV = V[c] - V[o], in both states and changes itself:

    dR[c, o] = gamma / R[c, o]^2  mean over examples ([dV^C]^2 - [dV^F]^2)

(Cheng, Wang & Lu, Eq. (1); Dillavou et al., Phys. Rev. Applied 18, 014040). The resistances get no
gradient; the kernel trains as usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

IMAGE_CHANNELS = 3
"""No hidden layer is this narrow (`Classifier.channels`): three channels are the image."""

VOLTAGES = "voltages"
NUDGES = "nudges"


def observe(module: nn.Module, name: str, x_NHWC: jax.Array) -> jax.Array:
    """x, after its channels' voltages [N, C] went into the collection `voltages` under `name`.

    Where the collection `nudges` is given, its offsets [N, 1, 1, C] are added to x: they are
    zeros, and the gradient by them is dL/dV.
    """
    voltages = jnp.mean(x_NHWC.astype(jnp.float32), axis=(1, 2))
    module.sow(VOLTAGES, name, voltages, reduce_fn=lambda _, new: new)
    if module.has_variable(NUDGES, name):
        nudge: jax.Array = module.get_variable(NUDGES, name)
        x_NHWC = x_NHWC + jnp.broadcast_to(nudge, x_NHWC.shape).astype(x_NHWC.dtype)
    return x_NHWC


def zero_nudges(voltages: Mapping[str, Any]) -> dict[str, Any]:
    """Zero offsets, [N, 1, 1, C], for each voltage [N, C] that can move: the image's cannot."""
    found: dict[str, Any] = {}
    for name, value in voltages.items():
        if isinstance(value, Mapping):
            below = zero_nudges(value)
            if below:
                found[name] = below
        elif not (name == "input" and value.shape[-1] == IMAGE_CHANNELS):
            found[name] = jnp.zeros((value.shape[0], 1, 1, value.shape[1]), jnp.float32)
    return found


def squared_drop_changes(
    voltages: Mapping[str, Any], gradients: Mapping[str, Any], eta: float
) -> dict[str, Any]:
    """By layer, [in, out]: [dV^C]^2 - [dV^F]^2, summed over the examples.

    `voltages` holds `input` [N, in] and `output` [N, out] for each layer; `gradients` the
    derivative of each example's own loss by the nudges, [N, 1, 1, C], absent for a held node.
    """
    if isinstance(voltages.get("output"), jax.Array):
        free_in, free_out = voltages["input"], voltages["output"]
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


def update_resistances(
    params: Mapping[str, Any],
    changes: Mapping[str, Any],
    gamma: float,
    bounds: tuple[float, float],
) -> dict[str, Any]:
    """`params` with every layer's resistances moved by Eq. (1) and clipped to `bounds`.

    `changes` is :func:`squared_drop_changes`, averaged over the examples.
    """
    updated: dict[str, Any] = {}
    for name, value in params.items():
        if name == "resistances":
            step = gamma / jnp.square(value) * changes["drops"]
            updated[name] = jnp.clip(value + step, *bounds)
        elif isinstance(value, Mapping):
            updated[name] = update_resistances(value, changes.get(name, {}), gamma, bounds)
        else:
            updated[name] = value
    return updated
