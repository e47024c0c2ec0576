"""The compiled part of training: a scan over updates, for one network or for a stack of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from physjax.resistive.linear_system import DENSE_BELOW, LinearSystem
from physjax.resistive.rules import Rule
from physjax.resistive.states import drops, needs_guess, solve_free, solve_states


class Progress(NamedTuple):
    """Where some updates have led; of a stack, each with a leading axis of networks.

    Attributes:
      conductances: in siemens, [E].
      basis: solutions from which the next solve may start, [n, S + T]; [0, 0] where none helps.
      squared_error: mean over training examples and outputs in volts squared, a scalar.
      residual: largest violation of Kirchhoff's law, relative to the current fed in, a scalar.
    """

    conductances: Any
    basis: Any
    squared_error: Any
    residual: Any


def no_basis(system: LinearSystem, networks: int) -> Any:
    """The basis of :class:`Progress` before the first update.

    Args:
      system: from :func:`physjax.resistive.linear_system.linear_system`.
      networks: how many are trained.

    Returns:
      Zeros, [networks, n, S + T], or without entries where a guess would not be used.
    """
    if not needs_guess(system):
        return np.zeros((networks, 0, 0))
    return np.zeros((networks, len(system.free), len(system.sources) + len(system.outputs)))


@partial(jax.jit, static_argnums=0)
def training_error(
    system: LinearSystem, effective: Array, inputs: Array, targets: Array
) -> tuple[Array, Array]:
    """How far the free state is from the targets.

    Args:
      system: from :func:`physjax.resistive.linear_system.linear_system`.
      effective: conductances in siemens, [E], 0 on cut edges.
      inputs: source voltages in volts, [samples, S].
      targets: desired output voltages in volts, [samples, T].

    Returns:
      Mean squared error in volts squared, and the relative residual, both scalars.
    """
    voltages, residual = solve_free(system, effective, inputs)
    outputs = voltages[jnp.array(system.outputs)].T
    return ((outputs - targets) ** 2).mean(), residual


def _run(
    system: LinearSystem,
    rule: Rule,
    k: Array,
    intact: Array,
    basis: Array,
    inputs: Array,
    targets: Array,
    order: Array,
    key: Array,
    first_step: Array,
) -> Progress:
    """The updates of `order` [steps, batch], the first of which is number `first_step`."""
    base = jax.random.wrap_key_data(key)

    def update(carry: tuple[Array, Array], step: tuple[Array, Array]) -> tuple:
        k, basis = carry
        sample, number = step
        x, y = (inputs[sample], targets[sample]) if sample.shape[0] else (inputs, targets)
        guess = basis if needs_guess(system) else None
        states = solve_states(system, k * intact, x, y, rule.amplitude, rule.nudge, guess)
        free, clamped = drops(system, states.free), drops(system, states.clamped)
        k = rule.update(k, free, clamped, jax.random.fold_in(base, number))
        return (k, states.basis if needs_guess(system) else basis), None

    numbers = first_step + jnp.arange(order.shape[0])
    (k, basis), _ = lax.scan(update, (k, basis), (order, numbers))
    return Progress(k, basis, *training_error(system, k * intact, inputs, targets))


_run_one = jax.jit(_run, static_argnums=(0, 1))
_run_vmapped = jax.jit(
    jax.vmap(_run, in_axes=(None, None, 0, 0, 0, 0, 0, 1, 0, None)), static_argnums=(0, 1)
)


def run_updates(
    system: LinearSystem,
    rule: Rule,
    k: Any,
    intact: Any,
    basis: Any,
    inputs: Any,
    targets: Any,
    order: Any,
    keys: Any,
    first_step: int,
) -> Progress:
    """Some updates of one or several networks, inside `jax.enable_x64(True)`.

    Args:
      system: from :func:`physjax.resistive.linear_system.linear_system`.
      rule: what an edge does.
      k: conductances in siemens, [networks, E].
      intact: 1 where an edge conducts, [networks, E].
      basis: from :func:`no_basis` or the updates before.
      inputs: source voltages in volts, [networks, samples, S].
      targets: desired output voltages in volts, [networks, samples, T].
      order: numbers of the samples of each update, [steps, networks, batch]; with batch 0 every
        update takes all samples.
      keys: data of each network's random key, [networks, 2].
      first_step: number of the first of these updates.

    Returns:
      NumPy arrays with a leading axis of networks.
    """
    stack = (system, rule, k, intact, basis, inputs, targets, order, keys, first_step)
    return _run_stack(*stack) if len(k) > 1 and _side_by_side(system) else _run_each(*stack)


def _side_by_side(system: LinearSystem) -> bool:
    """Whether a vmapped stack is faster than one network after another: not where each solve fills
    the machine by itself (LAPACK on more than a few nodes, the host's sparse solver)."""
    small = len(system.free) < DENSE_BELOW
    return system.method == "banded" or (system.method == "dense" and small)


def _run_stack(system: LinearSystem, rule: Rule, *stack: Any) -> Progress:
    """The stack under vmap; on a CPU a part of it on each core, since XLA keeps to one core where
    every operation is as small as here."""
    *by_network, order, keys, first_step = stack
    networks = len(keys)
    cores = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    size = -(-networks // cores)

    def run(start: int) -> Progress:
        part = slice(start, start + size)
        own = (x[part] for x in by_network)
        with jax.enable_x64(True):  # a setting of the thread
            done = _run_vmapped(system, rule, *own, order[:, part], keys[part], first_step)
            return jax.tree.map(np.asarray, done)

    with ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(run, range(0, networks, size)))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _run_each(system: LinearSystem, rule: Rule, *stack: Any) -> Progress:
    *by_network, order, keys, first_step = stack
    parts = [
        _run_one(system, rule, *own, order[:, i], keys[i], first_step)
        for i, own in enumerate(zip(*by_network, strict=True))
    ]
    return jax.tree.map(lambda *x: np.stack(x), *parts)
