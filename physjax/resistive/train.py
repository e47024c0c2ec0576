"""Training under `lax.scan`: one network, or a stack of them side by side under `vmap`.

Every entry point computes in float64 inside `jax.enable_x64(True)`, and hands NumPy arrays back:
the process around it keeps JAX's float32 default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from physjax.resistive.linear import DENSE_BELOW, Method, Plan, make_plan
from physjax.resistive.network import Network, NetworkError, check_wiring, cut
from physjax.resistive.rules import Rule
from physjax.resistive.solve import check_residual, drops, needs_guess, solve_free, solve_states
from physjax.resistive.tasks import Task

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Record:
    """The course of a training; a leading axis of networks where a stack was trained.

    Attributes:
      steps: updates done at each record, shape (records,); the first is 0.
      squared_error: mean over training samples and outputs, volts squared, shape (..., records).
      resistances: ohms, shape (..., records, E).
      residual: the largest relative violation of Kirchhoff's law met at a record.
    """

    steps: NDArray[np.int64]
    squared_error: Floats
    resistances: Floats
    residual: float


@dataclass(frozen=True)
class Score:
    """How well outputs meet their targets on a set of examples; accuracy is None for regression."""

    squared_error: float
    accuracy: float | None


def train(
    net: Network,
    task: Task,
    rule: Rule,
    *,
    steps: int,
    batch: int | None = 1,
    seed: int = 0,
    records: int = 100,
    method: Method = "auto",
    damage: Mapping[int, Sequence[int]] | None = None,
) -> tuple[Network, Record]:
    """Train one network on a task.

    Args:
      net: where to start; rules move it onto their grid or into their bounds first.
      task: examples and wiring.
      rule: what an edge does.
      steps: number of updates. Each free and clamped state is solved once an update.
      batch: samples an update averages over, drawn without replacement, epoch after epoch; 1 is
        the laboratory's way. None: all training samples every time.
      seed: of the order of the samples, and of asynchronous updates.
      records: about how many times to write down loss and resistances, after the start's.
      method: of the linear solves, see :mod:`physjax.resistive.linear`.
      damage: {step: edges to cut before that update}.

    Returns:
      The trained network, and the record.

    Raises:
      NetworkError: see :func:`physjax.resistive.network.check_wiring`; a singular system.
    """
    trained, record = _train(
        [net],
        [task],
        rule,
        steps,
        batch=batch,
        seeds=[seed],
        records=records,
        method=method,
        damage=damage,
    )
    record = replace(
        record, squared_error=record.squared_error[0], resistances=record.resistances[0]
    )
    return jax.tree.map(lambda x: x[0], trained), record


def train_many(
    nets: Sequence[Network],
    tasks: Task | Sequence[Task],
    rule: Rule,
    *,
    steps: int,
    batch: int | None = 1,
    seeds: Sequence[int] | None = None,
    records: int = 100,
    method: Method = "auto",
    damage: Mapping[int, Sequence[int]] | None = None,
) -> tuple[list[Network], Record]:
    """Train several networks of one graph side by side, each on its own task (or all on one).

    Arguments as :func:`train`; `seeds` default to 0, 1, 2, ...; the tasks' wiring and numbers of
    samples must agree.
    """
    tasks = [tasks] * len(nets) if isinstance(tasks, Task) else list(tasks)
    seeds = list(range(len(nets))) if seeds is None else list(seeds)
    trained, record = _train(
        list(nets),
        tasks,
        rule,
        steps,
        batch=batch,
        seeds=seeds,
        records=records,
        method=method,
        damage=damage,
    )
    return [jax.tree.map(lambda x, i=i: x[i], trained) for i in range(len(nets))], record


def evaluate(net: Network, task: Task, split: str = "test", method: Method = "auto") -> Score:
    """Free state of the `train` or `test` examples: squared error, and accuracy of classes.

    The class an example is assigned to is the one whose *training* examples' mean output voltages
    are nearest to its own.
    """
    if split not in ("train", "test"):
        raise NetworkError(f"unknown split {split!r}; one of train, test")
    check_wiring(net, task.sources, task.outputs)
    outputs = _outputs(net, task, task.inputs, method)
    if task.labels is not None:
        classes = np.unique(task.labels)
        means = np.stack([outputs[task.labels == c].mean(axis=0) for c in classes])
    targets, labels = task.targets, task.labels
    if split == "test":
        outputs = _outputs(net, task, task.test_inputs, method)
        targets, labels = task.test_targets, task.test_labels
    accuracy = None
    if labels is not None:
        distance = ((outputs[:, None] - means) ** 2).sum(axis=-1)
        accuracy = float((classes[distance.argmin(axis=1)] == labels).mean())
    return Score(float(((outputs - targets) ** 2).mean()), accuracy)


def _outputs(net: Network, task: Task, inputs: Floats, method: Method) -> Floats:
    """Output voltages in the free state, shape (samples, T)."""
    with jax.enable_x64(True):
        plan = make_plan(net.graph, task.sources, task.outputs, method)
        voltages, residual = _solve_free(plan, np.asarray(net.effective), inputs)
        check_residual(float(residual))
        return np.asarray(voltages)[list(task.outputs)].T


_solve_free = jax.jit(solve_free, static_argnums=0)


def _train(
    nets: list[Network],
    tasks: list[Task],
    rule: Rule,
    steps: int,
    *,
    batch: int | None,
    seeds: list[int],
    records: int,
    method: Method,
    damage: Mapping[int, Sequence[int]] | None,
) -> tuple[Network, Record]:
    _check_stack(nets, tasks, seeds)
    task, damage = tasks[0], dict(damage or {})
    late = [step for step in damage if not 0 <= step < steps]
    if late:
        raise NetworkError(f"damage at step {late[0]}, but training has steps 0..{steps - 1}")
    net = jax.tree.map(lambda *x: np.stack(x), *nets)
    check_wiring(net, task.sources, task.outputs)
    inputs, targets = (
        np.stack([getattr(t, name) for t in tasks]) for name in ("inputs", "targets")
    )
    order = np.stack([_order(inputs.shape[1], steps, batch, seed) for seed in seeds], axis=1)
    every = max(1, steps // max(1, records))
    with jax.enable_x64(True):
        plan = make_plan(net.graph, task.sources, task.outputs, method, len(nets) > 1)
        keys = np.stack([np.asarray(jax.random.key_data(jax.random.key(s))) for s in seeds])
        k = np.asarray(rule.start(jnp.asarray(net.conductances)))
        net = Network(net.graph, k, net.intact)
        run = _run_stack if len(nets) > 1 and _side_by_side(plan) else _run_each
        if 0 in damage:
            net = _damage(net, task, damage[0])
        marks, at = [0], 0
        error, residual = _errors(plan, net, inputs, targets)
        history = [(error[:, None], k[:, None])]
        worst = residual
        for stop in sorted({*damage, steps} - {0}):
            for length in _chunks(stop - at, every):
                index = order[at : at + length[0] * length[1]]
                index = index.reshape(*length, *index.shape[1:])
                k, error, course, residuals = run(
                    plan, rule, net.conductances, net.intact, inputs, targets, index, keys, at
                )
                net = Network(net.graph, np.asarray(k), net.intact)
                marks += [at + length[1] * (i + 1) for i in range(length[0])]
                at = marks[-1]
                history.append((np.asarray(error), np.asarray(course)))
                # A NaN must win against any number, which Python's max does not promise.
                worst = float(np.max([worst, *np.asarray(residuals).ravel()]))
            check_residual(worst)
            if stop in damage:
                net = _damage(net, task, damage[stop])
    errors, courses = (np.concatenate(part, axis=1) for part in zip(*history, strict=True))
    return net, Record(np.array(marks), errors, 1 / courses, worst)


def _check_stack(nets: list[Network], tasks: list[Task], seeds: list[int]) -> None:
    if not nets or not len(nets) == len(tasks) == len(seeds):
        raise NetworkError(f"{len(nets)} networks, {len(tasks)} tasks and {len(seeds)} seeds")
    if any(net.graph != nets[0].graph for net in nets):
        raise NetworkError("a stack of networks shares one graph; train other graphs on their own")
    if len({(t.sources, t.outputs, t.inputs.shape) for t in tasks}) > 1:
        raise NetworkError("tasks of a stack share sources, outputs and their number of samples")


def _damage(net: Network, task: Task, edges: Sequence[int]) -> Network:
    net = cut(net, edges)
    check_wiring(net, task.sources, task.outputs)
    return net


def _order(samples: int, steps: int, batch: int | None, seed: int) -> NDArray[np.int32]:
    """Sample numbers of each update, shape (steps, batch): epoch after epoch of permutations.

    With the whole set in every update the order says nothing, and has batch 0.
    """
    if steps < 1:
        raise NetworkError(f"training needs at least one step, not {steps}")
    if batch is None or batch == samples:
        return np.zeros((steps, 0), np.int32)
    if not 1 <= batch < samples:
        raise NetworkError(f"batch must lie between 1 and the {samples} samples, not {batch}")
    rng = np.random.default_rng(seed)
    epochs = -(-steps * batch // samples)
    order = np.concatenate([rng.permutation(samples) for _ in range(epochs)])
    return order[: steps * batch].reshape(steps, batch).astype(np.int32)


def _chunks(steps: int, every: int) -> list[tuple[int, int]]:
    """(chunks, length) whose products sum to `steps`: full chunks, then what remains."""
    whole, rest = divmod(steps, every)
    return ([(whole, every)] if whole else []) + ([(1, rest)] if rest else [])


def _errors(plan: Plan, net: Network, inputs: Floats, targets: Floats) -> tuple[Floats, float]:
    found = [_loss(plan, k, x, y) for k, x, y in zip(net.effective, inputs, targets, strict=True)]
    return np.array([float(e) for e, _ in found]), float(np.max([float(r) for _, r in found]))


@partial(jax.jit, static_argnums=0)
def _loss(plan: Plan, effective: Array, inputs: Array, targets: Array) -> tuple[Array, Array]:
    voltages, residual = solve_free(plan, effective, inputs)
    outputs = voltages[jnp.array(plan.outputs)].T
    return ((outputs - targets) ** 2).mean(), residual


def _run(
    plan: Plan,
    rule: Rule,
    k: Array,
    intact: Array,
    inputs: Array,
    targets: Array,
    order: Array,
    key: Array,
    first_step: Array,
) -> tuple[Array, Array, Array, Array]:
    """Scan over the updates of `order`, shape (chunks, length, batch); record after each chunk."""
    base = jax.random.wrap_key_data(key)

    def update(carry: tuple[Array, Array], step: tuple[Array, Array]) -> tuple:
        k, basis = carry
        sample, number = step
        x, y = (inputs[sample], targets[sample]) if sample.shape[0] else (inputs, targets)
        guess = basis if needs_guess(plan) else None
        states = solve_states(plan, k * intact, x, y, rule.amplitude, rule.nudge, guess)
        free, clamped = drops(plan, states.free), drops(plan, states.clamped)
        k = rule.update(k, free, clamped, jax.random.fold_in(base, number))
        return (k, states.basis if needs_guess(plan) else basis), None

    def chunk(carry: tuple[Array, Array], steps: tuple[Array, Array]) -> tuple:
        carry, _ = lax.scan(update, carry, steps)
        error, residual = _loss(plan, carry[0] * intact, inputs, targets)
        return carry, (error, carry[0], residual)

    numbers = first_step + jnp.arange(order.shape[0] * order.shape[1]).reshape(order.shape[:2])
    columns = len(plan.sources) + len(plan.outputs) if needs_guess(plan) else 0
    start = jnp.zeros((len(plan.free) if columns else 0, columns), k.dtype)
    marks: tuple[Array, Array, Array]
    (k, _), marks = lax.scan(chunk, (k, start), (order, numbers))
    return k, *marks


_run_vmapped = jax.jit(
    jax.vmap(_run, in_axes=(None, None, 0, 0, 0, 0, 2, 0, None)), static_argnums=(0, 1)
)


def _run_stack(plan: Plan, rule: Rule, *stack: Any) -> tuple[NDArray, ...]:
    """The stack under vmap; on a CPU a part of it on each core, since XLA keeps to one core where
    every operation is as small as here."""
    k, intact, inputs, targets, order, keys, first_step = stack
    cores = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    size = -(-len(k) // cores)

    def run(start: int) -> tuple[NDArray, ...]:
        part = slice(start, start + size)
        own = (x[part] for x in (k, intact, inputs, targets))
        with jax.enable_x64(True):  # a setting of the thread
            found = _run_vmapped(plan, rule, *own, order[:, :, part], keys[part], first_step)
            return tuple(np.asarray(x) for x in found)

    with ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(run, range(0, len(k), size)))
    return tuple(np.concatenate(found) for found in zip(*parts, strict=True))


_run_one = jax.jit(_run, static_argnums=(0, 1))


def _side_by_side(plan: Plan) -> bool:
    """Whether a vmapped stack is faster than one network after another: not where each solve fills
    the machine by itself (LAPACK on more than a few nodes, the host's sparse solver)."""
    return plan.method == "banded" or (plan.method == "dense" and len(plan.free) < DENSE_BELOW)


def _run_each(plan: Plan, rule: Rule, *stack: Any) -> tuple[NDArray, ...]:
    k, intact, inputs, targets, order, keys, first_step = stack
    runs = [
        _run_one(plan, rule, *parts, order[:, :, i], keys[i], first_step)
        for i, parts in enumerate(zip(k, intact, inputs, targets, strict=True))
    ]
    return tuple(np.stack(part) for part in zip(*runs, strict=True))
