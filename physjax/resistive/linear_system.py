"""Kirchhoff's law as a linear system: A x = b, with A the Laplacian between the free nodes.

Everything that depends on the graph alone (orderings, gather tables) is computed once, in NumPy, in
a :class:`LinearSystem`; what remains for each solve depends on the conductances and is traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

import jax
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from physjax.resistive.checks import NetworkError, check_choice
from physjax.resistive.factored import FactorCache
from physjax.resistive.network import Graph, Ints

Method = Literal["auto", "dense", "banded", "cg", "factored"]
"""How A x = b is solved; `auto` chooses one of the others."""
DENSE_BELOW = 40
"""Free nodes below which one LAPACK call beats a scan (benchmarks/resistor_networks.py)."""
DENSE_LIMIT = 400
"""Free nodes up to which `auto` takes `dense` for one network."""
BAND_LIMIT = 24
"""Largest bandwidth for which `auto` takes `banded`."""


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """A x = b as far as the graph and its held nodes fix it; indices are free positions.

    Attributes:
      graph: nodes and edges.
      sources: numbers of the held nodes, S of them.
      outputs: numbers of the nodes that are read, T of them.
      method: how A x = b is solved; never `auto`.
      free: node number of each of the n free positions, [n].
    """

    graph: Graph
    sources: tuple[int, ...]
    outputs: tuple[int, ...]
    method: str
    free: Ints

    @cached_property
    def position(self) -> Ints:
        """Free position of each node, [N]; n for held nodes."""
        position = np.full(self.graph.num_nodes, len(self.free))
        position[self.free] = np.arange(len(self.free))
        return position

    @cached_property
    def output_positions(self) -> Ints:
        """Free position of each output, [T]."""
        return self.position[list(self.outputs)]

    @cached_property
    def edges(self) -> Ints:
        """Free positions of tail and head of each edge, [E, 2]; n for held nodes."""
        return self.position[self.graph.edges]

    @cached_property
    def to_nodes(self) -> Ints:
        """Row of each node's voltage in the free voltages followed by the source voltages, [N]."""
        rows = self.position.copy()
        rows[list(self.sources)] = len(self.free) + np.arange(len(self.sources))
        return rows

    @cached_property
    def neighbours(self) -> tuple[Ints, Ints]:
        """Edge and free position of each free node's neighbours, both [n, largest degree].

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
    def source_edges(self) -> Ints:
        """The edge between each free node and each source, [n, S]; E where there is none."""
        table = np.full((len(self.free) + 1, len(self.sources)), self.graph.num_edges)
        ends = self.graph.edges
        for column, source in enumerate(self.sources):
            for here, there in ((0, 1), (1, 0)):
                at_source = np.flatnonzero(ends[:, here] == source)
                table[self.edges[at_source, there], column] = at_source
        return table[:-1]

    @cached_property
    def bandwidth(self) -> int:
        """Largest distance between the free positions of two joined nodes."""
        inside = self.edges[(self.edges < len(self.free)).all(axis=1)]
        return int(np.abs(inside[:, 0] - inside[:, 1]).max(initial=0))

    @cached_property
    def edge_matrix(self) -> Ints:
        """The edge between each two free nodes, [n, n]; E where there is none."""
        return self._edge_table(np.arange(len(self.free))[None, :])

    @cached_property
    def band_edges(self) -> Ints:
        """The edge between i and i - b + t, [n, b + 1] for bandwidth b."""
        width = self.bandwidth
        return self._edge_table(np.arange(len(self.free))[:, None] + np.arange(-width, 1)[None, :])

    def _edge_table(self, columns: Ints) -> Ints:
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
        """The sparse factors that `factored` keeps from solve to solve."""
        return FactorCache(self.edges, len(self.free))


@lru_cache(maxsize=64)
def linear_system(
    graph: Graph,
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    method: Method = "auto",
    stacked: bool = False,
) -> LinearSystem:
    """The linear system of a wiring.

    Args:
      graph: nodes and edges.
      sources: numbers of the held nodes.
      outputs: numbers of the nodes that are read.
      method: `auto` chooses by size, shape and platform; see docs/resistive.md.
      stacked: whether many networks will be solved at once, under vmap.

    Returns:
      The system, from a cache where it has been asked for before.

    Raises:
      NetworkError: for an unknown method, or a wiring without free nodes.
    """
    check_choice("method", method, get_args(Method))
    free = np.setdiff1d(np.arange(graph.num_nodes), sources)
    if len(free) == 0:
        raise NetworkError("every node is a source; there is nothing to solve for")
    banded = LinearSystem(graph, sources, outputs, "banded", free[_narrow_order(graph, free)])
    if method == "auto":
        method = _choose(len(free), banded.bandwidth, stacked)
    if method == "banded":
        return banded
    return LinearSystem(graph, sources, outputs, method, free)


def _narrow_order(graph: Graph, free: Ints) -> Ints:
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
