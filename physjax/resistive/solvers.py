"""The ways of solving a network's linear system, for use under jit, vmap and scan.

dense     Cholesky. Small networks, whatever their shape.
banded    L D L^T in reverse Cuthill-McKee order: one scan over the nodes, vectorised over a
          vmapped axis of networks, at a cost of n * bandwidth^2. Many lattice-like networks.
cg        conjugate gradients with a Jacobi preconditioner, started from a guess. Compiled, and
          no larger than the network: for accelerators, or where sparse factors do not fit.
factored  conjugate gradients on the host, preconditioned with SciPy's sparse factors of an
          *earlier* network (see factored.py). Large networks on a CPU.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jax.scipy.linalg import cho_solve
from numpy.typing import NDArray

from physjax.resistive.checks import NetworkError
from physjax.resistive.linear_system import LinearSystem

CG_MAX_STEPS = 20_000
"""Steps after which `cg` gives up; the residual then tells."""


def multiply(system: LinearSystem, effective: Array, x: Array) -> Array:
    """The product A x, by gathers alone (XLA's scatter-add is slow on a CPU).

    Args:
      system: from :func:`physjax.resistive.linear_system.linear_system`.
      effective: conductances in siemens, [E], 0 on cut edges.
      x: voltages of the free nodes, [n, m].

    Returns:
      A x, currents in amperes, [n, m].
    """
    edge_of, position_of = system.neighbours
    k = _pad(effective)[edge_of]
    return k.sum(axis=1)[:, None] * x - jnp.einsum("nd,ndm->nm", k, _pad(x)[position_of])


def solve(
    system: LinearSystem,
    effective: Array,
    rhs: Array,
    guess: Array | None = None,
    tolerance: float = 1e-11,
) -> Array:
    """Voltages x of the free nodes with A x = b; NaN where `factored` finds A singular.

    Args:
      system: from :func:`physjax.resistive.linear_system.linear_system`.
      effective: conductances in siemens, [E], 0 on cut edges.
      rhs: currents b into the free nodes in amperes, [n, m].
      guess: where the iterative methods start, [n, m]; the direct ones ignore it.
      tolerance: relative residual at which the iterative methods stop.

    Returns:
      x in volts, [n, m].
    """
    guess = jnp.zeros_like(rhs) if guess is None else guess
    tolerance = max(tolerance, 20 * float(jnp.finfo(rhs.dtype).eps))
    if system.method == "dense":
        k = _pad(effective)
        off = -k[system.edge_matrix]
        matrix = off + jnp.diag(k[system.neighbours[0]].sum(axis=1))
        return cho_solve((jnp.linalg.cholesky(matrix, symmetrize_input=False), True), rhs)
    if system.method == "banded":
        k = _pad(effective)
        rows = (-k[system.band_edges]).at[:, -1].set(k[system.neighbours[0]].sum(axis=1))
        return _solve_banded(rows, rhs)
    if system.method == "cg":
        return _conjugate_gradient(system, effective, rhs, guess, tolerance)
    if system.method == "factored":
        return _solve_on_host(system, effective, rhs, guess, tolerance)
    raise NetworkError(f"unknown method {system.method!r}; one of dense, banded, cg, factored")


def _solve_on_host(
    system: LinearSystem, effective: Array, rhs: Array, guess: Array, tolerance: float
) -> Array:
    dtype = np.dtype(rhs.dtype)

    # Numbers cross as bytes: a callback runs in a thread that may not have this one's
    # `jax.enable_x64`, and JAX would round its float64 arguments and results to float32 there.
    def call(*raw: Array) -> NDArray[np.uint8]:
        k, b, x = (np.asarray(part).view(dtype)[..., 0] for part in raw)
        try:
            voltages = system.factors.solve(k, b, x, tolerance)
        except (RuntimeError, FloatingPointError):
            # A singular system. An error would leave the callback as one of the XLA runtime; NaN
            # is refused as a violation of Kirchhoff's law, by a message of ours.
            voltages = np.full_like(b, np.nan)
        return voltages[..., None].view(np.uint8)

    raw = [lax.bitcast_convert_type(part, jnp.uint8) for part in (effective, rhs, guess)]
    result = jax.ShapeDtypeStruct((*rhs.shape, dtype.itemsize), jnp.uint8)
    voltages = jax.pure_callback(call, result, *raw, vmap_method="sequential")
    return lax.bitcast_convert_type(voltages, dtype)


def _pad(x: Array) -> Array:
    """x with a 0 (row) after its end, where padded indices point."""
    return jnp.concatenate([x, jnp.zeros((1, *x.shape[1:]), x.dtype)])


@custom_vmap
def _solve_banded(rows: Array, rhs: Array) -> Array:
    return _banded(rows[..., None], rhs[..., None])[..., 0]


@_solve_banded.def_vmap
def _solve_banded_batch(
    axis_size: int, in_batched: list[bool], rows: Array, rhs: Array
) -> tuple[Array, bool]:
    # The networks go last, where a CPU's vector registers are: each scan step is then one
    # elementwise pass over [b, b, networks].
    last = [
        jnp.moveaxis(x, 0, -1) if batched else jnp.broadcast_to(x[..., None], (*x.shape, axis_size))
        for x, batched in zip((rows, rhs), in_batched, strict=True)
    ]
    return jnp.moveaxis(_banded(*last), -1, 0), True


def _banded(rows: Array, rhs: Array) -> Array:
    """L D L^T without pivoting (A is positive definite) on a sliding (b + 1)-square window.

    rows[i, t] = A[i, i - b + t], [n, b + 1, networks]; rhs [n, m, networks].
    """
    n, width, batch = rows.shape
    # The window starts on `width` unit nodes before the first, and ends on as many after the last.
    unit = jnp.zeros((width, width, batch), rows.dtype).at[:, -1].set(1.0)
    rows = jnp.concatenate([rows, unit])
    rhs = jnp.concatenate([rhs, jnp.zeros((width, *rhs.shape[1:]), rhs.dtype)])
    window = jnp.broadcast_to(jnp.eye(width, dtype=rows.dtype)[..., None], (width, width, batch))

    def eliminate(carry: tuple[Array, Array], new: tuple[Array, Array]) -> tuple:
        window, flow = carry
        row, current = new
        pivot, y = window[0], flow[0] / window[0, :1]
        factor = pivot[1:] / pivot[:1]
        inner = window[1:, 1:] - factor[:, None] * pivot[None, 1:]
        inner = jnp.concatenate([inner, row[:-1, None]], axis=1)
        window = jnp.concatenate([inner, row[None]], axis=0)
        flow = jnp.concatenate([flow[1:] - pivot[1:, None] * y[None], current[None]])
        return (window, flow), (factor, y)

    def substitute(later: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, y = step
        x = y - (factor[:, None] * later).sum(axis=0)
        return jnp.concatenate([x[None], later[:-1]]), x

    start = (window, jnp.zeros((width, *rhs.shape[1:]), rhs.dtype))
    steps: tuple[Array, Array]
    _, steps = lax.scan(eliminate, start, (rows, rhs))
    later = jnp.zeros((width - 1, *rhs.shape[1:]), rhs.dtype)
    solved = jax.tree.map(lambda step: step[width:], steps)
    _, xs = lax.scan(substitute, later, solved, reverse=True)
    return xs[:n]


def _conjugate_gradient(
    system: LinearSystem, effective: Array, rhs: Array, guess: Array, tolerance: float
) -> Array:
    diagonal = _pad(effective)[system.neighbours[0]].sum(axis=1)[:, None]
    limit = tolerance * jnp.linalg.norm(rhs, axis=0)

    def unfinished(carry: tuple) -> Array:
        _, r, _, _, step = carry
        return jnp.any(jnp.linalg.norm(r, axis=0) > limit) & (step < CG_MAX_STEPS)

    def advance(carry: tuple) -> tuple:
        x, r, p, rz, step = carry
        ap = multiply(system, effective, p)
        size = _safe(rz, (p * ap).sum(axis=0))[None]
        x, r = x + size * p, r - size * ap
        z = r / diagonal
        rz_next = (r * z).sum(axis=0)
        return x, r, z + _safe(rz_next, rz)[None] * p, rz_next, step + 1

    r = rhs - multiply(system, effective, guess)
    z = r / diagonal
    return lax.while_loop(unfinished, advance, (guess, r, z, (r * z).sum(axis=0), 0))[0]


def _safe(a: Array, b: Array) -> Array:
    """a / b, and 0 where a column has converged exactly."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
