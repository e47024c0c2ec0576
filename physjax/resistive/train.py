"""Training: one network, or a stack of them side by side.

Both entry points compute in float64 inside `jax.enable_x64(True)`, and return NumPy arrays: the
process around them keeps JAX's float32 default. Between two points of the history they return to
Python, so that an interrupt need not wait for the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from physjax.resistive.checks import NetworkError, check_integer, check_seed
from physjax.resistive.compiled import no_basis, run_updates, training_error
from physjax.resistive.damage import cut
from physjax.resistive.examples import Examples
from physjax.resistive.linear_system import LinearSystem, Method, linear_system
from physjax.resistive.network import Floats, Ints, Network, check_wiring
from physjax.resistive.rules import Rule
from physjax.resistive.states import check_residual

MAX_STEPS = 10_000_000
"""Updates of one training."""
MAX_DRAWS = 2**29
"""Numbers of samples drawn in advance, over all updates and networks: 2 GiB."""


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes:
      steps: number of updates. Free and clamped state are solved once per update.
      batch: samples that an update averages over, drawn without replacement, epoch after epoch; 1
        is what the laboratory did. None: all training samples every time.
      history_points: how often to record error and resistances, besides before the first update;
        one or two more where `steps` is no multiple of it, or edges are cut.
      method: of the linear solves, see docs/resistive.md.
      damage: {step: edges to cut before that update}.

    Raises:
      NetworkError: for a value out of range.
    """

    steps: int
    batch: int | None = 1
    history_points: int = 100
    method: Method = "auto"
    damage: Mapping[int, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, 1, MAX_STEPS)
        if self.batch is not None:
            check_integer("batch", self.batch, 1, MAX_DRAWS)
        check_integer("history_points", self.history_points, 1, MAX_STEPS)
        for step in self.damage:
            check_integer("the step before which edges are cut", step, 0, self.steps - 1)


@dataclass(frozen=True, eq=False)
class TrainingHistory:
    """Error and resistances during training; with a leading axis of networks for a stack.

    Attributes:
      steps: updates done at each point, [points]; the first is 0.
      squared_error: mean over training samples and outputs in volts squared, [points].
      resistances: in ohms, [points, E].
      residual: the largest violation of Kirchhoff's law at any point, relative to the current fed
        in.
    """

    steps: Ints
    squared_error: Floats
    resistances: Floats
    residual: float


def train(
    net: Network, examples: Examples, rule: Rule, options: TrainOptions, *, seed: int = 0
) -> tuple[Network, TrainingHistory]:
    """Train one network.

    Args:
      net: where to start; rules move it onto their grid or into their bounds first.
      examples: what to learn, and the wiring.
      rule: what an edge does.
      options: how long, and how.
      seed: of the order of the samples, and of asynchronous updates.

    Returns:
      The trained network, and the history of the training.

    Raises:
      NetworkError: see :func:`physjax.resistive.network.check_wiring`; a batch larger than the
        training set; a singular system.
    """
    trained, history = _train([net], [examples], rule, options, [seed])
    history = replace(
        history, squared_error=history.squared_error[0], resistances=history.resistances[0]
    )
    return jax.tree.map(lambda x: x[0], trained), history


def train_many(
    nets: Sequence[Network],
    examples: Examples | Sequence[Examples],
    rule: Rule,
    options: TrainOptions,
    *,
    seeds: Sequence[int] | None = None,
) -> tuple[list[Network], TrainingHistory]:
    """Train several networks of one graph side by side.

    Args:
      nets: where to start.
      examples: what to learn: one set for each network, or one for all. Their wiring and numbers of
        samples must agree.
      rule: what an edge does.
      options: how long, and how.
      seeds: one for each network, as in :func:`train`; by default 0, 1, 2, ...

    Returns:
      The trained networks, and the history of the training.

    Raises:
      NetworkError: as :func:`train`; or the networks and examples do not fit together.
    """
    examples = [examples] * len(nets) if isinstance(examples, Examples) else list(examples)
    seeds = list(range(len(nets))) if seeds is None else list(seeds)
    trained, history = _train(list(nets), examples, rule, options, seeds)
    return [jax.tree.map(lambda x, i=i: x[i], trained) for i in range(len(nets))], history


def _train(
    nets: list[Network],
    stack: list[Examples],
    rule: Rule,
    options: TrainOptions,
    seeds: list[int],
) -> tuple[Network, TrainingHistory]:
    _check_stack(nets, stack, seeds)
    examples, steps, damage = stack[0], options.steps, options.damage
    net = jax.tree.map(lambda *x: np.stack(x), *nets)
    check_wiring(net, examples.sources, examples.outputs)
    inputs = np.stack([each.inputs for each in stack])
    targets = np.stack([each.targets for each in stack])
    order = _sample_order(inputs.shape[1], options, seeds)
    later = net
    for step in sorted(damage):  # all of it now, and not only when the training is there
        later = _damage(later, examples, damage[step])
    every = max(1, steps // options.history_points)
    with jax.enable_x64(True):
        system = linear_system(
            net.graph, examples.sources, examples.outputs, options.method, len(nets) > 1
        )
        keys = np.stack([np.asarray(jax.random.key_data(jax.random.key(s))) for s in seeds])
        net = replace(net, conductances=np.asarray(rule.start(jnp.asarray(net.conductances))))
        if 0 in damage:
            net = _damage(net, examples, damage[0])
        error, worst = _errors(system, net, inputs, targets)
        points = [(0, error, net.conductances)]
        at, basis = 0, no_basis(system, len(nets))
        for stop in sorted({*damage, steps} - {0}):
            while at < stop:
                chunk = order[at : min(at + every, stop)]
                done = run_updates(
                    system,
                    rule,
                    net.conductances,
                    net.intact,
                    basis,
                    inputs,
                    targets,
                    chunk,
                    keys,
                    at,
                )
                net, basis = replace(net, conductances=done.conductances), done.basis
                at += len(chunk)
                points.append((at, done.squared_error, net.conductances))
                # A NaN must win against any number, which Python's max does not promise.
                worst = float(np.max([worst, *done.residual]))
                check_residual(worst)
            if stop in damage:
                net = _damage(net, examples, damage[stop])
    numbers, errors, conductances = zip(*points, strict=True)
    history = TrainingHistory(
        np.array(numbers), np.stack(errors, axis=1), 1 / np.stack(conductances, axis=1), worst
    )
    return net, history


def _check_stack(nets: list[Network], stack: list[Examples], seeds: list[int]) -> None:
    if not nets or not len(nets) == len(stack) == len(seeds):
        raise NetworkError(
            f"{len(nets)} networks, {len(stack)} sets of examples and {len(seeds)} seeds: give "
            "equally many, at least one"
        )
    for seed in seeds:
        check_seed(seed)
    if any(np.ndim(net.conductances) != 1 for net in nets):
        raise NetworkError("give a list of networks, not a stack of them")
    if any(net.graph != nets[0].graph for net in nets):
        raise NetworkError("a stack of networks shares one graph; train other graphs on their own")
    if len({(each.sources, each.outputs, each.inputs.shape) for each in stack}) > 1:
        raise NetworkError("examples of a stack share sources, outputs and number of samples")


def _damage(net: Network, examples: Examples, edges: Sequence[int]) -> Network:
    net = cut(net, edges)
    check_wiring(net, examples.sources, examples.outputs)
    return net


def _sample_order(samples: int, options: TrainOptions, seeds: list[int]) -> NDArray[np.int32]:
    """Numbers of the samples of each update, [steps, networks, batch]: permutations, epoch after
    epoch. With the whole set in every update the order says nothing, and has batch 0.
    """
    steps, batch = options.steps, options.batch
    if batch is None or batch == samples:
        return np.zeros((steps, len(seeds), 0), np.int32)
    check_integer("batch", batch, 1, samples)
    if steps * batch * len(seeds) > MAX_DRAWS:
        raise NetworkError(
            f"{len(seeds)} networks x {steps} steps x batch {batch} is more than {MAX_DRAWS} draws "
            "of samples; take fewer networks or steps"
        )
    epochs = -(-steps * batch // samples)
    orders = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = np.concatenate([rng.permutation(samples) for _ in range(epochs)])
        orders.append(order[: steps * batch].reshape(steps, batch).astype(np.int32))
    return np.stack(orders, axis=1)


def _errors(
    system: LinearSystem, net: Network, inputs: Floats, targets: Floats
) -> tuple[Floats, float]:
    """Squared error of each network, [networks], and the largest residual among them."""
    parts = [
        training_error(system, k, x, y)
        for k, x, y in zip(net.effective, inputs, targets, strict=True)
    ]
    errors, residuals = np.array([[float(e), float(r)] for e, r in parts]).T
    return errors, float(np.max(residuals))
