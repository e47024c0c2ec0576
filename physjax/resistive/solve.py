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
from numpy.typing import ArrayLike, NDArray

from physjax.resistive.linear import Method, Plan, make_plan, multiply, solve
from physjax.resistive.network import Network, NetworkError, check_wiring

Nudge = Literal["voltage", "current"]
RESIDUAL_LIMIT = 1e-6


class States(NamedTuple):
    """Node voltages in volts, shape (N, samples) each, and what the next solve may start from."""

    free: Array
    clamped: Array
    basis: Array


def solve_states(
    plan: Plan,
    effective: Array,
    inputs: Array,
    targets: Array,
    amplitude: float,
    nudge: Nudge = "voltage",
    guess: Array | None = None,
) -> States:
    """Free and clamped state of every sample: pure, for use under jit, vmap and scan.

    Args:
      plan: from :func:`physjax.resistive.linear.make_plan`.
      effective: conductances in siemens, shape (E,), 0 on cut edges.
      inputs: source voltages, shape (samples, S).
      targets: output voltages wanted, shape (samples, T).
      amplitude: eta of the imposed voltage V_F + eta (target - V_F); or, for `nudge="current"`,
        beta in siemens of the injected current beta (target - V_F).
      guess: `basis` of an earlier call with as many samples.
    """
    samples, num_sources = inputs.shape
    into = jnp.concatenate([effective, jnp.zeros(1, effective.dtype)])[plan.source_edges]
    at_outputs = jnp.zeros((len(plan.free), len(plan.outputs)), effective.dtype)
    at_outputs = at_outputs.at[plan.output_positions, np.arange(len(plan.outputs))].set(1.0)
    # By linearity the sources' unit responses serve all samples; fewer samples are solved directly.
    by_source = num_sources <= samples or needs_guess(plan)
    currents = into if by_source else into @ inputs.T
    basis = solve(plan, effective, jnp.concatenate([currents, at_outputs], axis=1), guess)
    response, green = basis[:, : currents.shape[1]], basis[:, currents.shape[1] :]
    free = response @ inputs.T if by_source else response

    error = targets.T - free[plan.output_positions]
    pushed = amplitude * error
    if nudge == "voltage":
        own = green[plan.output_positions]
        pushed = pushed / own if len(plan.outputs) == 1 else jnp.linalg.solve(own, pushed)
    shift = green @ pushed
    held = jnp.concatenate([free, inputs.T])[plan.to_nodes]
    moved = jnp.concatenate([shift, jnp.zeros_like(inputs.T)])[plan.to_nodes]
    return States(held, held + moved, basis)


def needs_guess(plan: Plan) -> bool:
    """Whether a start close to the solution saves work: for the iterative methods."""
    return plan.method in ("cg", "factored")


def solve_free(plan: Plan, effective: Array, inputs: Array) -> tuple[Array, Array]:
    """The free state (N, samples) and its relative residual: the largest violation of Kirchhoff's
    current law at a free node over the largest current that a source feeds into one."""
    into = jnp.concatenate([effective, jnp.zeros(1, effective.dtype)])[plan.source_edges]
    if inputs.shape[1] <= inputs.shape[0]:
        free = solve(plan, effective, into) @ inputs.T
    else:
        free = solve(plan, effective, into @ inputs.T)
    violation = jnp.abs(multiply(plan, effective, free) - into @ inputs.T).max()
    fed = (into @ jnp.abs(inputs).T).max()
    residual = jnp.where(fed > 0, violation / jnp.where(fed > 0, fed, 1), violation)
    return jnp.concatenate([free, inputs.T])[plan.to_nodes], residual


def drops(plan: Plan, voltages: Array) -> Array:
    """Voltage drop V[tail] - V[head] across each edge, shape (E, samples), of (N, samples)."""
    tail, head = plan.graph.edges.T
    return voltages[tail] - voltages[head]


def free_state(
    net: Network, sources: Mapping[int, ArrayLike], method: Method = "auto"
) -> NDArray[np.float64]:
    """Node voltages with the sources held, solved in float64 and checked.

    Args:
      net: one network.
      sources: voltage of each source node; numbers, or arrays of shape (samples,).

    Returns:
      Voltages of shape (N,), or (samples, N).

    Raises:
      NetworkError: see :func:`physjax.resistive.network.check_wiring`, or a singular system.
    """
    return _solve_held(net, sources, method)


def clamped_state(
    net: Network,
    sources: Mapping[int, ArrayLike],
    targets: Mapping[int, ArrayLike],
    eta: float = 1.0,
    method: Method = "auto",
) -> NDArray[np.float64]:
    """Node voltages with the outputs also held, at V_F + eta (target - V_F).

    Arguments, result and errors as :func:`free_state`; `targets` gives each output node's target.
    This is a second solve, with the outputs among the held nodes: the long way round, which checks
    the short one of :func:`solve_states`.
    """
    _check_eta(eta)
    check_wiring(net, list(sources), list(targets))
    free = free_state(net, sources, method)
    wanted = {n: free[..., n] + eta * (np.asarray(t) - free[..., n]) for n, t in targets.items()}
    return _solve_held(net, {**sources, **wanted}, method)


def _solve_held(net: Network, held: Mapping[int, ArrayLike], method: Method) -> NDArray[np.float64]:
    if np.ndim(net.conductances) != 1:
        raise NetworkError("one network at a time; a stack of networks is trained, not drawn")
    nodes = tuple(int(node) for node in held)
    check_wiring(net, nodes, ())
    values = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in held.values()))
    inputs = np.stack(values, axis=-1)
    if len(nodes) == net.graph.num_nodes:
        order = np.argsort(nodes)
        return inputs[..., order]
    with jax.enable_x64(True):
        plan = make_plan(net.graph, nodes, (), method)
        voltages, residual = jax.jit(solve_free, static_argnums=0)(
            plan, np.asarray(net.effective), np.atleast_2d(inputs)
        )
        check_residual(float(residual))
        found = np.asarray(voltages).T
    return found if inputs.ndim == 2 else found[0]


def check_residual(residual: float) -> None:
    """Refuse voltages that violate Kirchhoff's law.

    Raises:
      NetworkError: when the relative residual is too large, or not a number.
    """
    if not residual <= RESIDUAL_LIMIT:
        raise NetworkError(
            f"singular system: Kirchhoff's current law is violated by {residual:.1e} of the fed "
            f"current (limit {RESIDUAL_LIMIT:g}); conductances lie too many orders of magnitude "
            "apart, or the rate drove them there - narrow the rule's bounds or lower its rate"
        )


def _check_eta(eta: float) -> None:
    if not 0 < eta <= 1:
        raise NetworkError(f"nudge amplitude eta must lie in (0, 1], not {eta}")
