"""Networks that settle: the energy of a chain of layers, its minimum, and the contrast rule.

With h_k = act(u_k) the state of layer k, and a_k(theta, h_{k-1}) what the layer below would have it
see (`physjax.rules.chain`), the energy is

    E(theta, u) = sum_k D(a_k, u_k),    D(a, u) = integral from u to a of (act(t) - act(u)) dt,

the Bregman divergence of act's integral: 1/2 (h - a)^2 for the logits, which are linear, and
1/2 (h - ReLU(a))^2 + h max(0, -a) for ReLU. It is zero in the forward pass, the *free* state. With
eps_k = h_k - act(a_k),

    dE/dh_k = u_k - a_k - (da_{k+1}/dh_k)^T eps_{k+1},
    dE/dtheta = -sum_k (da_k/dtheta)^T eps_k,

so a state at rest has u_k = a_k + (da_{k+1}/dh_k)^T eps_{k+1}, which is what a move sets it to.
Every layer looks at its own input, output and residual, and at the residual above it; nothing
travels through the network but by the states.

For ReLU this is the energy 1/2 ||h - f||^2, f = ReLU(a), of predictive coding as in Kerjan, Hoier &
Scellier (arXiv:2606.03584), whose moves these are, but for what a unit costs that is on where the
layer below wants it off. That part makes the moves' resting state a minimum of one energy, which
also holds for any other nonlinearity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct

from physjax.rules.chain import Chain, Layer
from physjax.rules.rule import Network, Outputs, Tree

Cost = Literal["squared", "cross-entropy"]
"""C of an example: 1/2 ||h_L - y||^2, or the cross-entropy of softmax(h_L), in nats."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


class Free(struct.PyTreeNode):
    """The forward pass."""

    drives: tuple[jax.Array, ...]
    """a_k [N, ...] of every layer, the logits last."""
    outputs: Outputs


class Settled(struct.PyTreeNode):
    """S states of all layers, each of N examples."""

    states: tuple[jax.Array, ...]
    """u_k [S, N, ...]; the state itself is h_k = act(u_k)."""
    drives: tuple[jax.Array, ...]
    """a_k [S, N, ...], of the states of the layers below."""


def free_state(network: Network, params: Tree) -> Free:
    """The ordinary forward pass, with what each nonlinearity sees."""
    seen: list[jax.Array] = []

    def note(drive: jax.Array) -> jax.Array:
        seen.append(drive)
        return network.activation(drive)

    outputs = network.forward(params, note)
    return Free((*seen, outputs.logits), outputs)


def cost_slope(network: Network, outputs: jax.Array, cost: Cost) -> jax.Array:
    """dC/dh_L [..., N, K] of each example's own cost; zero for what only fills up a batch."""
    guess = jax.nn.softmax(outputs) if cost == "cross-entropy" else outputs
    targets = jnp.broadcast_to(network.targets, guess.shape).astype(guess.dtype)
    return jnp.where(jnp.broadcast_to(network.mask[:, None], guess.shape), guess - targets, 0)


def divergence(
    activation: Callable[[jax.Array], jax.Array] | None, drive: jax.Array, state: jax.Array
) -> jax.Array:
    """D(a, u), element by element; `activation` None: the identity.

    In closed form for the identity and ReLU, and by Gauss and Legendre's 16 points for others.
    """
    if activation is None:
        return 0.5 * (drive - state) ** 2
    h = activation(state)
    if activation is nn.relu:
        return 0.5 * (h - nn.relu(drive)) ** 2 + h * jnp.maximum(0, -drive)
    way, total = drive - state, jnp.zeros_like(drive)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        total += float(weight) / 2 * (activation(state + float(node + 1) / 2 * way) - h)
    return total * way


def energy(chain: Chain, params: Tree, states: Sequence[jax.Array]) -> jax.Array:
    """E [S, N] at any states u_k [S, N, ...]."""
    leaves, below = jax.tree.leaves(params), None
    total = jnp.zeros(states[-1].shape[:2], states[-1].dtype)
    for k, u in enumerate(states):
        drive = jnp.broadcast_to(chain.drive(k, leaves, below), u.shape)
        part = divergence(None if k == chain.last else chain.activation, drive, u)
        total += jnp.sum(part, axis=tuple(range(2, u.ndim)))
        below = chain.state(k, u)
    return total


def contrast(chain: Chain, params: Tree, settled: Settled, weights: jax.Array) -> Tree:
    """sum over states and examples of weight dE/dtheta, in the structure of the parameters.

    That of the free state is zero, so that this is the whole contrast.

    Args:
      chain: the layers.
      params: of the network.
      settled: the states.
      weights: [S], of each state.
    """
    states = [chain.state(k, u) for k, u in enumerate(settled.states)]
    residuals = [h - chain.state(k, settled.drives[k]) for k, h in enumerate(states)]
    weighed = [r * weights.reshape(-1, *(1,) * (r.ndim - 1)).astype(r.dtype) for r in residuals]
    return slopes(chain, params, states, weighed)


def slopes(
    chain: Chain, params: Tree, states: Sequence[jax.Array], residuals: Sequence[jax.Array]
) -> Tree:
    """-sum_k (da_k/dtheta)^T residual_k at states h_k, [S, N, ...] each: like the parameters."""
    leaves, structure = jax.tree.flatten(params)
    found = [jnp.zeros_like(leaf) for leaf in leaves]
    for k, layer in enumerate(chain.layers):

        def drive(own: Sequence[jax.Array], k: int = k, layer: Layer = layer) -> jax.Array:
            held = list(leaves)
            for i, leaf in zip(layer.leaves, own, strict=True):
                held[i] = leaf
            seen = chain.drive(k, held, states[k - 1] if k else None)
            return jnp.broadcast_to(seen, residuals[k].shape)

        (back,) = jax.vjp(drive, [leaves[i] for i in layer.leaves])[1](residuals[k])
        for i, slope in zip(layer.leaves, back, strict=True):
            found[i] = found[i] - slope
    return jax.tree.unflatten(structure, found)
