"""Training of layered networks by equilibrium propagation, centred.

Each update lets the network settle three times: free, and with its outputs nudged towards their
targets and away from them by beta. Every resistor compares its own drop in the nudged states,

    dg = -(rate / 4 beta) (dV_+^2 - dV_-^2),    db = (rate / 2 beta) (v_+ - v_-),

averaged over the examples of the update, and g stays at 0 or above. For small beta, and networks
at rest, that is gradient descent on the mean of 1/2 |v_L - y|^2, with an error of order beta^2
(Scellier & Bengio 2017; Laborieux et al. 2021; Scellier, arXiv:2402.11674).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from physjax.resistive.checks import NetworkError, check_integer, check_number, check_seed
from physjax.resistive.examples import Examples
from physjax.resistive.layered.network import LayeredNetwork
from physjax.resistive.layered.settling import (
    at_zero,
    check_nudge,
    drive,
    layered_state,
    nudged,
    rounds_of,
    violation,
)
from physjax.resistive.network import Floats, Ints
from physjax.resistive.rules import MAX_BETA, MAX_RATE
from physjax.resistive.states import ETA_MIN
from physjax.resistive.train import MAX_STEPS

MAX_ROUNDS = 10_000
"""Of settling, in each state of an update."""
EVALUATED_AT_ONCE = 2000
"""Examples that settle side by side in an evaluation."""


@dataclass(frozen=True)
class LayeredOptions:
    """How to train.

    Attributes:
      steps: number of updates.
      batch: samples that an update averages over, drawn without replacement, epoch after epoch;
        None: all of them.
      rates: learning rate of the conductances of each layer, and of the currents into it; one
        number for all, or L of them.
      decay: by what the rates are multiplied from epoch to epoch.
      beta: of the nudge in siemens.
      rounds: of settling from 0 V, and again from there when nudged.
      history_points: how often to note the error, besides before the first update.

    Raises:
      NetworkError: for a value out of range.
    """

    steps: int
    batch: int | None = 10
    rates: float | Sequence[float] = 0.01
    decay: float = 1.0
    beta: float = 0.1
    rounds: int = 6
    history_points: int = 100

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, 1, MAX_STEPS)
        if self.batch is not None:
            check_integer("batch", self.batch, 1, MAX_STEPS)
        for rate in np.atleast_1d(self.rates).tolist():
            check_number("rate", rate, 0, MAX_RATE)
        check_number("decay", self.decay, 1e-3, 1)
        check_number("beta in siemens", self.beta, ETA_MIN, MAX_BETA)
        check_integer("rounds", self.rounds, 1, MAX_ROUNDS)
        check_integer("history_points", self.history_points, 1, MAX_STEPS)

    def of_layers(self, layers: int) -> tuple[float, ...]:
        """The rate of each of so many layers. Raises NetworkError: there are more or fewer."""
        rates = np.atleast_1d(np.asarray(self.rates, float))
        if len(rates) not in (1, layers):
            raise NetworkError(f"{len(rates)} rates for {layers} layers: give one, or one each")
        return tuple(np.broadcast_to(rates, layers).tolist())


@dataclass(frozen=True, eq=False)
class LayeredHistory:
    """What happened in a training.

    Attributes:
      steps: updates done at each point, [points]; the first is 0.
      squared_error: mean over training samples and outputs in volts squared, [points].
      violation: the largest of the free state after the training's rounds at any point, of the KKT
        conditions, relative to the current fed in.
    """

    steps: Ints
    squared_error: Floats
    violation: float


def train_layered(
    net: LayeredNetwork, examples: Examples, options: LayeredOptions, *, seed: int = 0
) -> tuple[LayeredNetwork, LayeredHistory]:
    """Train a layered network.

    Args:
      net: where to start.
      examples: what to learn. Their sources are the inputs, of which each becomes two sources.
      options: how long, and how.
      seed: of the order of the samples.

    Returns:
      The trained network, in float64, and the history of the training.

    Raises:
      NetworkError: examples that do not fit the network; a batch larger than the training set; a
        beta with which an output would run away.
    """
    check_seed(seed)
    check_examples(net, examples)
    rates = options.of_layers(len(net))
    samples = len(examples.inputs)
    batch = samples if options.batch is None else options.batch
    check_integer("batch", batch, 1, samples)
    rng, order = np.random.default_rng(seed), np.zeros(0, np.int64)
    every = max(1, options.steps // options.history_points)
    steps, errors, worst = [0], [], 0.0
    with jax.enable_x64(True):
        x, y = (jnp.asarray(a, jnp.float64) for a in (examples.inputs, examples.targets))
        settings = jnp.asarray(rates), options.beta
        while True:
            check_nudge(net, -options.beta)
            error, left = _measure(net, x, y, options.rounds)
            errors.append(error)
            # A NaN must win against any number, which Python's max does not promise.
            worst = float(np.max([worst, left]))
            if not np.isfinite(worst + error):
                raise NetworkError(
                    f"the training has diverged after {steps[-1]} updates; choose a smaller rate"
                )
            if steps[-1] == options.steps:
                break
            chunk = min(every, options.steps - steps[-1])
            while len(order) < chunk * batch:
                order = np.concatenate([order, rng.permutation(samples)])
            now, order = order[: chunk * batch].reshape(chunk, batch), order[chunk * batch :]
            epochs = (steps[-1] + np.arange(chunk)) * batch // samples
            factors = options.decay**epochs
            net = _updates(net, x, y, now, factors, *settings, options.rounds)
            steps.append(steps[-1] + chunk)
        net = jax.tree.map(np.asarray, net)
    return net, LayeredHistory(np.array(steps), np.array(errors), worst)


def gradients(
    net: LayeredNetwork, inputs: Array, targets: Array, beta: float | Array, rounds: int
) -> LayeredNetwork:
    """The slope of the mean of 1/2 |v_L - y|^2, as the difference of two nudged states.

    Args:
      net: the network.
      inputs: [S, inputs], before the gain.
      targets: of the outputs in volts, [S, n_L].
      beta: of the nudge in siemens.
      rounds: of settling, in each of three states.

    Returns:
      In the structure of the network: by conductance and by current.
    """
    free = drive(net, inputs)
    start = rounds_of(net, free, at_zero(net, free), rounds)
    up = rounds_of(net, nudged(free, beta, targets), start, rounds)
    down = rounds_of(net, nudged(free, -beta, targets), start, rounds)
    # As (v_+ - v_-)(v_+ + v_-): two squares that nearly agree would lose half of their digits.
    change = [jnp.zeros_like(free.sources), *(a - b for a, b in zip(up, down, strict=True))]
    both = [2 * free.sources, *(a + b for a, b in zip(up, down, strict=True))]
    share = 1 / (2 * beta * len(inputs))
    slopes = []
    for k in range(len(net)):
        (d, s), (e, t) = (change[k], both[k]), (change[k + 1], both[k + 1])
        squares = (d * s).sum(axis=0)[:, None] + (e * t).sum(axis=0)[None] - d.T @ t - s.T @ e
        slopes.append(0.5 * share * squares)
    biases = [-share * e.sum(axis=0) for e in change[1:]]
    return replace(net, conductances=tuple(slopes), currents=tuple(biases))


@partial(jax.jit, static_argnames="rounds")
def _updates(
    net: LayeredNetwork,
    inputs: Array,
    targets: Array,
    order: Array,
    factors: Array,
    rates: Array,
    beta: float,
    rounds: int,
) -> LayeredNetwork:
    """The updates of `order` [steps, batch], with rates [L] times factors [steps]."""

    def update(net: LayeredNetwork, step: tuple[Array, Array]) -> tuple[LayeredNetwork, None]:
        chosen, factor = step
        slope = gradients(net, inputs[chosen], targets[chosen], beta, rounds)
        speed = [factor * rates[k] for k in range(len(net))]
        pairs = zip(net.conductances, slope.conductances, speed, strict=True)
        conductances = tuple(jnp.maximum(0.0, g - r * s) for g, s, r in pairs)
        feeds = zip(net.currents, slope.currents, speed, strict=True)
        currents = tuple(b - r * s for b, s, r in feeds)
        return replace(net, conductances=conductances, currents=currents), None

    return lax.scan(update, net, (order, factors))[0]


@partial(jax.jit, static_argnames="rounds")
def _free(net: LayeredNetwork, inputs: Array, targets: Array, rounds: int) -> tuple[Array, Array]:
    free = drive(net, inputs)
    voltages = rounds_of(net, free, at_zero(net, free), rounds)
    return ((voltages[-1] - targets) ** 2).mean(), violation(net, free, voltages)


def _measure(
    net: LayeredNetwork, inputs: Array, targets: Array, rounds: int
) -> tuple[float, float]:
    """Squared error and violation of the free state after the training's rounds."""
    some = slice(0, EVALUATED_AT_ONCE)  # of a large set its beginning
    error, left = _free(net, inputs[some], targets[some], rounds)
    return float(error), float(left)


def check_examples(net: LayeredNetwork, examples: Examples) -> None:
    """Refuse examples that do not fit a network.

    Args:
      net: the network.
      examples: what it is to learn.

    Raises:
      NetworkError: other numbers of inputs or outputs.
    """
    wanted = (net.sizes[0] // 2, net.sizes[-1])
    given = (examples.inputs.shape[1], examples.targets.shape[1])
    if wanted != given:
        raise NetworkError(
            f"{examples.name} has {given[0]} inputs and {given[1]} outputs, the network "
            f"{wanted[0]} and {wanted[1]}"
        )


def layered_outputs(net: LayeredNetwork, inputs: Floats) -> tuple[Floats, float]:
    """Output voltages of the free state at rest, and the share of hidden diodes that conduct.

    Args:
      net: the network.
      inputs: [S, inputs], before the gain.

    Returns:
      Volts, [S, n_L], and the share over hidden nodes and samples: 0 without diodes, NaN without
      hidden nodes.
    """
    parts = range(0, len(inputs), EVALUATED_AT_ONCE)
    states = [layered_state(net, inputs[i : i + EVALUATED_AT_ONCE], tolerance=1e-8) for i in parts]
    held = [v == 0 for state in states for v in state[:-1]]
    nodes = sum(h.size for h in held)
    share = sum(int(h.sum()) for h in held) / nodes if nodes else float("nan")
    return np.concatenate([state[-1] for state in states]), share
