"""The state of rest of a layered network, by exact block coordinate descent.

Nodes settle where the co-content

    E(v) = 1/2 sum over resistors g_ij (v_i - v_j)^2 - sum over nodes b_i v_i

is least among the voltages that the diodes allow: a convex quadratic programme. As nodes of one
layer are not joined, the exact minimum over a whole layer, all others fixed, is the projection of

    v_j = (sum_i g_ij v_i + b_j) / sum_i g_ij,    i the neighbours of j,

on each node's half line. A round moves all even layers, and then all odd ones; no move raises E.
(Scellier, arXiv:2402.11674, algorithm 2.) An output that is nudged by beta has one neighbour more:
its target, through a conductance beta, which may be negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import ArrayLike

from physjax.resistive.checks import NetworkError
from physjax.resistive.layered.network import LayeredNetwork
from physjax.resistive.network import Floats

Voltages = tuple[Array, ...]
"""Of layers 1 .. L in volts, [S, n_k] each."""


@dataclass(frozen=True)
class Drive:
    """What is done to a network from outside.

    Attributes:
      sources: voltages of layer 0 in volts, [S, n_0].
      fed: the current that the sources feed into layer 1 where that is at 0 V, [S, n_1].
      beta: conductance to the target in siemens, 0 in the free state.
      targets: of the outputs in volts, [S, n_L].
    """

    sources: Array
    fed: Array
    beta: float | Array
    targets: Array


def drive(net: LayeredNetwork, inputs: Array) -> Drive:
    """The free network with inputs [S, inputs] at its sources."""
    sources = net.gain * jnp.concatenate([inputs, -inputs], axis=1)
    outputs = jnp.zeros((len(inputs), net.sizes[-1]), sources.dtype)
    return Drive(sources, sources @ net.conductances[0], 0.0, outputs)


def nudged(free: Drive, beta: float | Array, targets: Array) -> Drive:
    """The same inputs, with a current beta (target - v) into each output."""
    return replace(free, beta=beta, targets=targets)


def at_zero(net: LayeredNetwork, driven: Drive) -> Voltages:
    """All nodes at 0 V, which every diode allows."""
    samples, dtype = len(driven.sources), driven.sources.dtype
    return tuple(jnp.zeros((samples, size), dtype) for size in net.sizes[1:])


def _load(net: LayeredNetwork, driven: Drive, layer: int) -> Array:
    """The sum of the conductances at each node of a layer, [1, n_k]."""
    total = net.conductances[layer - 1].sum(axis=0)[None]
    if layer < len(net):
        return total + net.conductances[layer].sum(axis=1)[None]
    return total + driven.beta


def _current(net: LayeredNetwork, driven: Drive, voltages: Sequence[Array], layer: int) -> Array:
    """What flows into each node of a layer while that is at 0 V, [S, n_k]."""
    below = driven.fed if layer == 1 else voltages[layer - 2] @ net.conductances[layer - 1]
    current = below + net.currents[layer - 1][None]
    if layer < len(net):
        return current + voltages[layer] @ net.conductances[layer].T
    return current + driven.beta * driven.targets


def one_round(net: LayeredNetwork, driven: Drive, voltages: Voltages) -> Voltages:
    """Even layers, then odd ones. A node that nothing conducts to stays at 0 V."""
    moved = list(voltages)
    for first in (2, 1):
        for layer in range(first, len(net) + 1, 2):
            load = _load(net, driven, layer)
            rest = _current(net, driven, moved, layer) / jnp.where(load == 0, 1.0, load)
            low, high = net.limits(layer)
            moved[layer - 1] = jnp.clip(jnp.where(load == 0, 0.0, rest), low[None], high[None])
    return tuple(moved)


def rounds_of(net: LayeredNetwork, driven: Drive, start: Voltages, rounds: int) -> Voltages:
    """The voltages after a fixed number of rounds."""
    return lax.fori_loop(0, rounds, lambda _, v: one_round(net, driven, v), start)


def energy(net: LayeredNetwork, driven: Drive, voltages: Voltages) -> Array:
    """E of each sample in watts, [S]; with beta/2 (v - target)^2 of the outputs where nudged."""
    layers = (driven.sources, *voltages)
    total = 0.5 * driven.beta * ((voltages[-1] - driven.targets) ** 2).sum(axis=1)
    for k, g in enumerate(net.conductances):
        below, above = layers[k], layers[k + 1]
        # sum_ij g_ij (a_i - b_j)^2 without an array over samples and resistors.
        total += 0.5 * (below**2 @ g.sum(axis=1) + above**2 @ g.sum(axis=0))
        total -= ((below @ g) * above).sum(axis=1) + above @ net.currents[k]
    return total


def violation(net: LayeredNetwork, driven: Drive, voltages: Voltages) -> Array:
    """How far a state is from rest: the largest current that should not be there.

    At rest the KKT conditions hold: the currents into a node sum to zero where its diode blocks,
    and where it conducts (v = 0) they sum to what the diode drains, which has one sign.

    Returns:
      The largest violation over nodes and samples, relative to the largest current that flows from
      the sources into a node of layer 1 at 0 V; a scalar.
    """
    worst = jnp.zeros((), driven.fed.dtype)
    for layer, v in enumerate(voltages, 1):
        surplus = _current(net, driven, voltages, layer) - _load(net, driven, layer) * v
        low, high = (limit[None] for limit in net.limits(layer))
        surplus = jnp.where((v <= low) & (surplus < 0), 0.0, surplus)
        surplus = jnp.where((v >= high) & (surplus > 0), 0.0, surplus)
        outside = jnp.maximum(jnp.maximum(low - v, v - high), 0.0)  # an infinite limit: -inf
        worst = jnp.maximum(worst, jnp.maximum(jnp.abs(surplus).max(), outside.max()))
    scale = jnp.abs(driven.fed).max()
    return worst / jnp.where(scale == 0, 1.0, scale)


@jax.jit
def _to_rest(
    net: LayeredNetwork, inputs: Array, beta: Array, targets: Array, tolerance: Array, most: Array
) -> tuple[Voltages, Array]:
    driven = nudged(drive(net, inputs), beta, targets)

    def goes_on(state: tuple[Array, Voltages, Array]) -> Array:
        return (state[0] < most) & (state[2] > tolerance)

    def go_on(state: tuple[Array, Voltages, Array]) -> tuple[Array, Voltages, Array]:
        done, voltages, _ = state
        voltages = one_round(net, driven, voltages)
        return done + 1, voltages, violation(net, driven, voltages)

    infinite = jnp.full((), jnp.inf, driven.fed.dtype)
    start = (jnp.zeros((), jnp.int32), at_zero(net, driven), infinite)
    _, voltages, left = lax.while_loop(goes_on, go_on, start)
    return voltages, left


def layered_state(
    net: LayeredNetwork,
    inputs: ArrayLike,
    *,
    beta: float = 0.0,
    targets: ArrayLike | None = None,
    tolerance: float = 1e-10,
    max_rounds: int = 100_000,
) -> tuple[Floats, ...]:
    """Voltages at rest, free or nudged.

    Args:
      net: the network.
      inputs: [S, inputs], before the gain.
      beta: conductance between outputs and targets in siemens; negative pushes away.
      targets: of the outputs in volts, [S, n_L]; needed where beta is not 0.
      tolerance: up to which violation of the KKT conditions, see :func:`violation`.
      max_rounds: after which to give up.

    Returns:
      Voltages of layers 1 .. L in volts, [S, n_k] each.

    Raises:
      NetworkError: shapes that do not fit; a negative beta beyond what holds an output; a network
        that is not at rest after `max_rounds`.
    """
    with jax.enable_x64(True):
        x = jnp.asarray(np.asarray(inputs, np.float64))
        if x.ndim != 2 or 2 * x.shape[1] != net.sizes[0]:
            raise NetworkError(
                f"inputs have shape {x.shape}; this network takes (samples, {net.sizes[0] // 2})"
            )
        if beta and targets is None:
            raise NetworkError("a nudge, beta, needs the targets that it goes to")
        y = np.zeros((len(x), net.sizes[-1])) if targets is None else np.asarray(targets, float)
        if y.shape != (len(x), net.sizes[-1]):
            raise NetworkError(f"targets have shape {y.shape}, not {(len(x), net.sizes[-1])}")
        check_nudge(net, beta)
        voltages, left = _to_rest(net, x, beta, y, tolerance, max_rounds)
        if not float(left) <= tolerance:
            raise NetworkError(
                f"the network is not at rest after {max_rounds} rounds: {float(left):.1e} of the "
                "current fed in is left over; its conductances are too far apart"
            )
        return tuple(np.asarray(v) for v in voltages)


def check_nudge(net: LayeredNetwork, beta: float) -> None:
    """Refuse a beta with which an output would run away: E must have a minimum.

    Args:
      net: the network.
      beta: conductance between outputs and targets in siemens, of either sign.

    Raises:
      NetworkError: an output has less conductance than the nudge takes from it.
    """
    least = float(np.asarray(net.conductances[-1]).sum(axis=0).min())
    if beta < 0 and least + beta <= 0:
        raise NetworkError(
            f"beta is {abs(beta):g} S, but the resistors of an output conduct {least:g} S in all: "
            "pushed away from its target it would run off; choose a smaller beta"
        )
