"""The free and the clamped state of a network, as Kirchhoff's law gives them.

Both come from *one* factorisation. With G the inverse of the Laplacian between the free nodes and T
the output nodes, the clamped state differs from the free one by the voltages that currents into the
outputs alone would cause,

    V_C = V_F + G[:, T] i,

where holding the outputs at V_F + eta (target - V_F) needs the currents i = G[T, T]^-1 eta (target
- V_F), and equilibrium propagation simply applies i = beta (target - V_F). The difference V_C - V_F
is computed as such, so a nudge of 1e-3 loses no digits to subtraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from physjax.resistive.checks import NetworkError, check_number
from physjax.resistive.linear_system import LinearSystem, Method, linear_system
from physjax.resistive.network import Floats, Network, check_wiring
from physjax.resistive.solvers import multiply, solve

Nudge = Literal["voltage", "current"]
"""What is imposed on the outputs in the clamped (or nudged) state."""
RESIDUAL_LIMIT = 1e-6
"""Largest violation of Kirchhoff's law accepted, relative to the current fed in."""
ETA_MIN = 1e-12
"""Smallest nudge amplitude; below, a float64 voltage cannot show the nudge."""


class States(NamedTuple):
    """Both states of a network.

    Attributes:
      free: node voltages in volts, [N, samples].
      clamped: node voltages in volts, [N, samples].
      basis: solutions from which the next solve may start, [n, S + T].
    """

    free: Array
    clamped: Array
    basis: Array


def solve_states(
    system: LinearSystem,
    effective: Array,
    inputs: Array,
    targets: Array,
    amplitude: float,
    nudge: Nudge = "voltage",
    guess: Array | None = None,
) -> States:
    """Free and clamped state of every sample: pure, for use under jit, vmap and scan.

    Args:
      system: from :func:`physjax.resistive.linear_system.linear_system`.
      effective: conductances in siemens, [E], 0 on cut edges.
      inputs: source voltages in volts, [samples, S].
      targets: desired output voltages in volts, [samples, T].
      amplitude: eta of the imposed voltage V_F + eta (target - V_F); or, for `nudge="current"`,
        beta in siemens of the injected current beta (target - V_F).
      nudge: whether the clamped state imposes voltages or feeds in currents.
      guess: `basis` of an earlier call with as many samples.

    Returns:
      Both states.
    """
    samples, num_sources = inputs.shape
    into = jnp.concatenate([effective, jnp.zeros(1, effective.dtype)])[system.source_edges]
    at_outputs = jnp.zeros((len(system.free), len(system.outputs)), effective.dtype)
    at_outputs = at_outputs.at[system.output_positions, np.arange(len(system.outputs))].set(1.0)
    # By linearity the sources' unit responses serve all samples; fewer samples are solved directly.
    by_source = num_sources <= samples or needs_guess(system)
    currents = into if by_source else into @ inputs.T
    basis = solve(system, effective, jnp.concatenate([currents, at_outputs], axis=1), guess)
    response, green = basis[:, : currents.shape[1]], basis[:, currents.shape[1] :]
    free = response @ inputs.T if by_source else response

    error = targets.T - free[system.output_positions]
    pushed = amplitude * error
    if nudge == "voltage":
        own = green[system.output_positions]
        pushed = pushed / own if len(system.outputs) == 1 else jnp.linalg.solve(own, pushed)
    shift = green @ pushed
    held = jnp.concatenate([free, inputs.T])[system.to_nodes]
    moved = jnp.concatenate([shift, jnp.zeros_like(inputs.T)])[system.to_nodes]
    return States(held, held + moved, basis)


def needs_guess(system: LinearSystem) -> bool:
    """Whether a start close to the solution saves work: with the iterative methods."""
    return system.method in ("cg", "factored")


def solve_free(system: LinearSystem, effective: Array, inputs: Array) -> tuple[Array, Array]:
    """The free state, and how well it obeys Kirchhoff's current law.

    Args:
      system: from :func:`physjax.resistive.linear_system.linear_system`.
      effective: conductances in siemens, [E], 0 on cut edges.
      inputs: source voltages in volts, [samples, S].

    Returns:
      Node voltages in volts, [N, samples], and the relative residual, a scalar: the largest
      violation of the law at a free node, divided by the largest current that a source feeds into
      one.
    """
    into = jnp.concatenate([effective, jnp.zeros(1, effective.dtype)])[system.source_edges]
    if inputs.shape[1] <= inputs.shape[0]:
        free = solve(system, effective, into) @ inputs.T
    else:
        free = solve(system, effective, into @ inputs.T)
    violation = jnp.abs(multiply(system, effective, free) - into @ inputs.T).max()
    fed = (into @ jnp.abs(inputs).T).max()
    residual = jnp.where(fed > 0, violation / jnp.where(fed > 0, fed, 1), violation)
    return jnp.concatenate([free, inputs.T])[system.to_nodes], residual


jit_solve_free = jax.jit(solve_free, static_argnums=0)


def drops(system: LinearSystem, voltages: Array) -> Array:
    """Voltage drop V[tail] - V[head] across each edge.

    Args:
      system: whose graph has the edges.
      voltages: of the nodes in volts, [N, samples].

    Returns:
      Drops in volts, [E, samples].
    """
    tail, head = system.graph.edges.T
    return voltages[tail] - voltages[head]


def free_state(net: Network, sources: Mapping[int, ArrayLike], method: Method = "auto") -> Floats:
    """Node voltages with the sources held, solved in float64 and checked.

    Args:
      net: one network.
      sources: voltage of each source node in volts; numbers, or arrays [samples].
      method: of the linear solve, see docs/resistive.md.

    Returns:
      Voltages in volts, [N] or [samples, N].

    Raises:
      NetworkError: see :func:`physjax.resistive.network.check_wiring`; a voltage that is not
        finite; or a singular system.
    """
    return _solve_held(net, sources, method)


def clamped_state(
    net: Network,
    sources: Mapping[int, ArrayLike],
    targets: Mapping[int, ArrayLike],
    eta: float = 1.0,
    method: Method = "auto",
) -> Floats:
    """Node voltages with the outputs held as well, at V_F + eta (target - V_F).

    This is a second solve, with the outputs among the held nodes: independent of, and a check on,
    the shorter computation of :func:`solve_states`.

    Args:
      net: one network.
      sources: voltage of each source node in volts; numbers, or arrays [samples].
      targets: desired voltage of each output node in volts, in the same form.
      eta: nudge amplitude in (0, 1].
      method: of the linear solve, see docs/resistive.md.

    Returns:
      Voltages in volts, [N] or [samples, N].

    Raises:
      NetworkError: as :func:`free_state`, or eta out of range.
    """
    check_eta(eta)
    check_wiring(net, list(sources), list(targets))
    free = free_state(net, sources, method)
    wanted = {n: free[..., n] + eta * (np.asarray(t) - free[..., n]) for n, t in targets.items()}
    return _solve_held(net, {**sources, **wanted}, method)


def _solve_held(net: Network, held: Mapping[int, ArrayLike], method: Method) -> Floats:
    if np.ndim(net.conductances) != 1:
        raise NetworkError("give one network, not a stack of them")
    nodes = tuple(int(node) for node in held)
    check_wiring(net, nodes, ())
    values = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in held.values()))
    inputs = np.stack(values, axis=-1)
    if not np.isfinite(inputs).all():
        raise NetworkError(f"held voltages must be finite, but nodes {list(nodes)} are at {inputs}")
    if len(nodes) == net.graph.num_nodes:
        order = np.argsort(nodes)
        return inputs[..., order]
    with jax.enable_x64(True):
        system = linear_system(net.graph, nodes, (), method)
        voltages, residual = jit_solve_free(
            system, np.asarray(net.effective), np.atleast_2d(inputs)
        )
        check_residual(float(residual))
        states = np.asarray(voltages).T
    return states if inputs.ndim == 2 else states[0]


def check_residual(residual: float) -> None:
    """Refuse voltages that violate Kirchhoff's law.

    Args:
      residual: relative to the current fed in, from :func:`solve_free`.

    Raises:
      NetworkError: when the relative residual is too large, or not a number.
    """
    if not residual <= RESIDUAL_LIMIT:
        raise NetworkError(
            f"singular system: Kirchhoff's current law is violated by {residual:.1e} of the "
            f"current fed in (limit {RESIDUAL_LIMIT:g}); conductances are too many orders of "
            "magnitude apart, or the learning rate drove them there: narrow the rule's bounds or "
            "lower its rate"
        )


def check_eta(eta: float) -> None:
    """Refuse a nudge amplitude outside (0, 1], or too small for float64.

    Args:
      eta: the amplitude.

    Raises:
      NetworkError: it is out of range.
    """
    check_number("nudge amplitude eta", eta, ETA_MIN, 1)
