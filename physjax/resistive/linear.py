"""Kirchhoff's law as linear systems: A x = b, with A the Laplacian between the free nodes.

Everything that depends on the graph alone (orderings, gather tables) is computed once, in NumPy, in
a :class:`Plan`; what remains per solve depends on the conductances and is traced.

    dense     Cholesky. Small networks, whatever their shape.
    banded    L D L^T in reverse Cuthill-McKee order, one scan over the nodes, vectorised over a
              vmapped axis of networks, cost n * bandwidth^2. Many lattice-like networks at once.
    cg        conjugate gradients with Jacobi preconditioner, started from a guess. Compiled, and
              no larger than the network: for accelerators, or where SciPy's factors do not fit.
    factored  conjugate gradients on the host, preconditioned with SciPy's sparse factors of an
              *earlier* network (see factored.py). Large networks on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jax.scipy.linalg import cho_solve
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from physjax.resistive.factored import FactorCache
from physjax.resistive.network import Graph, NetworkError

Method = Literal["auto", "dense", "banded", "cg", "factored"]
DENSE_BELOW = 40  # free nodes; below, one LAPACK call beats a scan (benchmarks/resistive.py)
DENSE_LIMIT = 400
BAND_LIMIT = 24
CG_MAX_STEPS = 20_000


@dataclass(frozen=True, eq=False)
class Plan:
    """What a graph and its held nodes fix about the linear system; indices are free positions.

    Attributes:
      graph, sources, outputs: what the plan is for.
      method: how A x = b is solved.
      free: node number of each of the n free positions, shape (n,).
    """

    graph: Graph
    sources: tuple[int, ...]
    outputs: tuple[int, ...]
    method: str
    free: NDArray[np.int64]

    @cached_property
    def position(self) -> NDArray[np.int64]:
        """Free position of each node, shape (N,); n for held nodes."""
        position = np.full(self.graph.num_nodes, len(self.free))
        position[self.free] = np.arange(len(self.free))
        return position

    @cached_property
    def output_positions(self) -> NDArray[np.int64]:
        return self.position[list(self.outputs)]

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Free positions of tail and head of each edge, shape (E, 2); n for held nodes."""
        return self.position[self.graph.edges]

    @cached_property
    def to_nodes(self) -> NDArray[np.int64]:
        """Where each node's voltage stands in [free voltages, source voltages], shape (N,)."""
        where = self.position.copy()
        where[list(self.sources)] = len(self.free) + np.arange(len(self.sources))
        return where

    @cached_property
    def neighbours(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Edge and free position of each free node's neighbours, both (n, largest degree).

        Padding has edge E and position n, where the tables it points into hold a 0.
        """
        n, num_edges = len(self.free), self.graph.num_edges
        ends = np.concatenate([self.edges, self.edges[:, ::-1]])
        names = np.tile(np.arange(num_edges), 2)
        order = np.argsort(ends[:, 0], kind="stable")
        here, there, names = ends[order, 0], ends[order, 1], names[order]
        here, there, names = (a[here < n] for a in (here, there, names))
        slot = np.arange(len(here)) - np.searchsorted(here, here)
        edge_of = np.full((n, int(slot.max()) + 1), num_edges)
        position_of = np.full_like(edge_of, n)
        edge_of[here, slot] = names
        position_of[here, slot] = there
        return edge_of, position_of

    @cached_property
    def source_edges(self) -> NDArray[np.int64]:
        """The edge between each free node and each source, shape (n, S); E where there is none."""
        table = np.full((len(self.free) + 1, len(self.sources)), self.graph.num_edges)
        ends = self.graph.edges
        for column, source in enumerate(self.sources):
            for here, there in ((0, 1), (1, 0)):
                found = np.flatnonzero(ends[:, here] == source)
                table[self.edges[found, there], column] = found
        return table[:-1]

    @cached_property
    def bandwidth(self) -> int:
        inside = self.edges[(self.edges < len(self.free)).all(axis=1)]
        return int(np.abs(inside[:, 0] - inside[:, 1]).max(initial=0))

    @cached_property
    def edge_matrix(self) -> NDArray[np.int64]:
        """The edge between each two free nodes, shape (n, n); E where there is none."""
        return self._edge_table(np.arange(len(self.free))[None, :])

    @cached_property
    def band_edges(self) -> NDArray[np.int64]:
        """The edge between i and i - b + t, shape (n, b + 1) for bandwidth b."""
        width = self.bandwidth
        return self._edge_table(np.arange(len(self.free))[:, None] + np.arange(-width, 1)[None, :])

    def _edge_table(self, columns: NDArray[np.int64]) -> NDArray[np.int64]:
        edge_of, position_of = self.neighbours
        columns = np.broadcast_to(columns, (len(self.free), columns.shape[-1]))
        table = np.full(columns.shape, self.graph.num_edges)
        for slot in range(edge_of.shape[1]):
            there = position_of[:, slot : slot + 1]
            hit = (columns == there) & (there < len(self.free))
            table = np.where(hit, edge_of[:, slot : slot + 1], table)
        return table

    @cached_property
    def factors(self) -> FactorCache:
        return FactorCache(self.edges, len(self.free))


@lru_cache(maxsize=64)
def make_plan(
    graph: Graph,
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    method: Method = "auto",
    stacked: bool = False,
) -> Plan:
    """The plan of a wiring, for one network, or for many `stacked` under vmap.

    `auto` chooses by size, shape and platform; see the module's table.
    """
    free = np.setdiff1d(np.arange(graph.num_nodes), sources)
    if len(free) == 0:
        raise NetworkError("every node is a source; there is nothing to solve for")
    banded = Plan(graph, sources, outputs, "banded", free[_narrow_order(graph, free)])
    if method == "auto":
        method = _choose(len(free), banded.bandwidth, stacked)
    if method == "banded":
        return banded
    return Plan(graph, sources, outputs, method, free)


def _narrow_order(graph: Graph, free: NDArray[np.int64]) -> NDArray[np.int64]:
    keep = np.isin(graph.edges, free).all(axis=1)
    tail, head = np.searchsorted(free, graph.edges[keep]).T
    ones = np.ones(len(tail))
    matrix = csr_array((ones, (tail, head)), shape=(len(free),) * 2)
    order = reverse_cuthill_mckee((matrix + matrix.T).tocsr(), symmetric_mode=True)
    return order.astype(np.int64)


def _choose(num_free: int, bandwidth: int, stacked: bool) -> Method:
    if num_free < DENSE_BELOW:
        return "dense"
    on_cpu = jax.default_backend() == "cpu"
    # A scan over the nodes pays where many networks share each of its steps.
    if on_cpu and stacked and bandwidth <= BAND_LIMIT:
        return "banded"
    if num_free <= DENSE_LIMIT:
        return "dense"
    return "factored" if on_cpu else "cg"


def multiply(plan: Plan, effective: Array, x: Array) -> Array:
    """A x for x of shape (n, m), by gathers alone (XLA's scatter-add is slow on a CPU)."""
    edge_of, position_of = plan.neighbours
    k = _pad(effective)[edge_of]
    return k.sum(axis=1)[:, None] * x - jnp.einsum("nd,ndm->nm", k, _pad(x)[position_of])


def solve(
    plan: Plan, effective: Array, rhs: Array, guess: Array | None = None, tolerance: float = 1e-11
) -> Array:
    """Voltages x of the free nodes with A x = b.

    Args:
      plan: from :func:`make_plan`.
      effective: conductances of shape (E,), 0 on cut edges.
      rhs: currents b into the free nodes, shape (n, m).
      guess: where the iterative methods start, shape (n, m); the direct ones ignore it.
      tolerance: relative residual at which the iterative methods stop.

    Returns:
      x, shape (n, m).
    """
    guess = jnp.zeros_like(rhs) if guess is None else guess
    tolerance = max(tolerance, 20 * float(jnp.finfo(rhs.dtype).eps))
    if plan.method == "dense":
        k = _pad(effective)
        off = -k[plan.edge_matrix]
        matrix = off + jnp.diag(k[plan.neighbours[0]].sum(axis=1))
        return cho_solve((jnp.linalg.cholesky(matrix, symmetrize_input=False), True), rhs)
    if plan.method == "banded":
        k = _pad(effective)
        rows = (-k[plan.band_edges]).at[:, -1].set(k[plan.neighbours[0]].sum(axis=1))
        return _solve_banded(rows, rhs)
    if plan.method == "cg":
        return _conjugate_gradient(plan, effective, rhs, guess, tolerance)
    if plan.method == "factored":
        return _solve_on_host(plan, effective, rhs, guess, tolerance)
    raise NetworkError(f"unknown method {plan.method!r}; one of dense, banded, cg, factored, auto")


def _solve_on_host(
    plan: Plan, effective: Array, rhs: Array, guess: Array, tolerance: float
) -> Array:
    dtype = np.dtype(rhs.dtype)

    # Numbers cross as bytes: a callback runs in a thread that may not have this one's
    # `jax.enable_x64`, and JAX would round its float64 arguments and results to float32 there.
    def call(*raw: Array) -> NDArray[np.uint8]:
        k, b, x = (np.asarray(part).view(dtype)[..., 0] for part in raw)
        return plan.factors.solve(k, b, x, tolerance)[..., None].view(np.uint8)

    raw = [lax.bitcast_convert_type(part, jnp.uint8) for part in (effective, rhs, guess)]
    result = jax.ShapeDtypeStruct((*rhs.shape, dtype.itemsize), jnp.uint8)
    found = jax.pure_callback(call, result, *raw, vmap_method="sequential")
    return lax.bitcast_convert_type(found, dtype)


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
    # elementwise pass over (b, b, networks).
    last = [
        jnp.moveaxis(x, 0, -1) if batched else jnp.broadcast_to(x[..., None], (*x.shape, axis_size))
        for x, batched in zip((rows, rhs), in_batched, strict=True)
    ]
    return jnp.moveaxis(_banded(*last), -1, 0), True


def _banded(rows: Array, rhs: Array) -> Array:
    """L D L^T without pivoting (A is positive definite) on a sliding (b + 1)-square window.

    rows[i, t] = A[i, i - b + t], shape (n, b + 1, networks); rhs (n, m, networks).
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
    plan: Plan, effective: Array, rhs: Array, guess: Array, tolerance: float
) -> Array:
    diagonal = _pad(effective)[plan.neighbours[0]].sum(axis=1)[:, None]
    limit = tolerance * jnp.linalg.norm(rhs, axis=0)

    def unfinished(carry: tuple) -> Array:
        _, r, _, _, step = carry
        return jnp.any(jnp.linalg.norm(r, axis=0) > limit) & (step < CG_MAX_STEPS)

    def advance(carry: tuple) -> tuple:
        x, r, p, rz, step = carry
        ap = multiply(plan, effective, p)
        size = _safe(rz, (p * ap).sum(axis=0))[None]
        x, r = x + size * p, r - size * ap
        z = r / diagonal
        rz_next = (r * z).sum(axis=0)
        return x, r, z + _safe(rz_next, rz)[None] * p, rz_next, step + 1

    r = rhs - multiply(plan, effective, guess)
    z = r / diagonal
    return lax.while_loop(unfinished, advance, (guess, r, z, (r * z).sum(axis=0), 0))[0]


def _safe(a: Array, b: Array) -> Array:
    """a / b, and 0 where a column has converged exactly."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
