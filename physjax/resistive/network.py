"""Resistor networks: a fixed graph, and the conductances of its edges.

A :class:`Graph` is constant and hashable, so that compiled code can be specialised to it. A
:class:`Network` is a pytree of two arrays over the edges: the conductances, and which edges are
still intact. Figures, solvers and rules share the sign convention `drop = V[tail] - V[head]`.

Shapes are written with E edges, N nodes, S sources and T outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from physjax.resistive.checks import NetworkError, check_seed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes `0 .. num_nodes - 1` and the edges between them; equal by content.

    Attributes:
      num_nodes: number of nodes N.
      edges: tail and head of each edge, integers [E, 2].
      positions: where to draw the nodes, [N, 2], or None.

    Raises:
      NetworkError: for an edge that leaves the network, a self-loop, or two edges in parallel
        (add their conductances instead).
    """

    num_nodes: int
    edges: Ints
    positions: Floats | None = None

    def __post_init__(self) -> None:
        given = np.asarray(self.edges)
        if given.size == 0:
            raise NetworkError("a network needs at least one edge")
        if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
            raise NetworkError(
                f"edges must be pairs of node numbers, integers [E, 2], not {given.dtype} of shape "
                f"{given.shape}"
            )
        edges = np.array(given, dtype=np.int64)
        edges.setflags(write=False)
        object.__setattr__(self, "edges", edges)
        if edges.min() < 0 or edges.max() >= self.num_nodes:
            raise NetworkError(
                f"edges name nodes {edges.min()}..{edges.max()}, "
                f"but the network has nodes 0..{self.num_nodes - 1}"
            )
        loops = np.flatnonzero(edges[:, 0] == edges[:, 1])
        if loops.size:
            raise NetworkError(f"edge {loops[0]} joins node {edges[loops[0], 0]} to itself")
        ordered = np.sort(edges, axis=1)
        if len(np.unique(ordered[:, 0] * self.num_nodes + ordered[:, 1])) < len(edges):
            raise NetworkError(
                "two edges join the same nodes; give one, with the sum of their conductances"
            )
        if self.positions is not None and np.shape(self.positions) != (self.num_nodes, 2):
            raise NetworkError(
                f"positions have shape {np.shape(self.positions)}; {self.num_nodes} nodes need "
                f"({self.num_nodes}, 2)"
            )
        digest = hashlib.sha256(f"{self.num_nodes}".encode() + edges.tobytes()).digest()
        object.__setattr__(self, "_digest", digest)

    @property
    def num_edges(self) -> int:
        """Number of edges E."""
        return len(self.edges)

    def __hash__(self) -> int:
        return hash(self._digest)  # type: ignore[attr-defined]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._digest == other._digest  # type: ignore[attr-defined]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["conductances", "intact"],
    meta_fields=["graph"],
)
@dataclass(frozen=True)
class Network:
    """A graph with conductances: one pytree, which jit, vmap and scan take as it is.

    Attributes:
      graph: the constant part.
      conductances: k = 1/R of each edge in siemens, [E], or [networks, E] for a stack.
      intact: 1 where the edge conducts, 0 where it has been cut; shape as `conductances`.
    """

    graph: Graph
    conductances: Any
    intact: Any

    @property
    def resistances(self) -> Any:
        """R = 1/k of each edge in ohms, cut edges included; shape as `conductances`."""
        return 1.0 / self.conductances

    @property
    def effective(self) -> Any:
        """The conductances that carry current, in siemens: 0 on cut edges."""
        return self.conductances * self.intact


def network(graph: Graph, conductances: ArrayLike = 1.0) -> Network:
    """A :class:`Network` on `graph` with all edges intact.

    Args:
      graph: the edges.
      conductances: in siemens; one number, or [E].

    Returns:
      The network.

    Raises:
      NetworkError: for a conductance that is not positive and finite, or a wrong number of them.
    """
    values = np.array(conductances, dtype=np.float64)
    if values.ndim and values.shape[-1] != graph.num_edges:
        raise NetworkError(f"{graph.num_edges} edges, but conductances of shape {values.shape}")
    values = np.broadcast_to(values, values.shape or (graph.num_edges,)).copy()
    bad = np.argwhere(~((values > 0) & np.isfinite(values)))
    if len(bad):
        edge = int(bad[0][-1])
        raise NetworkError(
            f"edge {edge} has conductance {values[tuple(bad[0])]}; conductances must be positive "
            "and finite (cut an edge with `cut` instead of setting it to 0)"
        )
    return Network(graph, values, np.ones_like(values))


def random_conductances(graph: Graph, seed: int, low: float = 0.95, high: float = 1.05) -> Floats:
    """Independent conductances, uniform in [low, high).

    Args:
      graph: the edges.
      seed: of the random numbers.
      low: lower limit in siemens.
      high: upper limit in siemens.

    Returns:
      Conductances in siemens, [E].

    Raises:
      NetworkError: unless 0 < low <= high and both are finite.
    """
    if not (0 < low <= high and np.isfinite(high)):
        raise NetworkError(f"conductances need 0 < low <= high, both finite, not {low} and {high}")
    check_seed(seed)
    return np.random.default_rng(seed).uniform(low, high, graph.num_edges)


def components(graph: Graph, intact: ArrayLike | None = None) -> Ints:
    """The connected component of each node, along intact edges only.

    Args:
      graph: nodes and edges.
      intact: 1 where an edge conducts, [E]; None: everywhere.

    Returns:
      Numbers of components 0, 1, ..., [N].
    """
    keep = np.ones(graph.num_edges) if intact is None else np.asarray(intact, dtype=np.float64)
    tail, head = graph.edges[keep > 0].T
    matrix = coo_array((np.ones(len(tail)), (tail, head)), shape=(graph.num_nodes,) * 2)
    return connected_components(matrix, directed=False)[1].astype(np.int64)


def check_wiring(net: Network, sources: Sequence[int], outputs: Sequence[int]) -> None:
    """Refuse a network and wiring whose state is not determined.

    Args:
      net: a network, or a stack of them.
      sources: node numbers, S of them.
      outputs: node numbers, T of them.

    Raises:
      NetworkError: no source, an unknown or repeated node, a source that is also an output, a
        conductance that is not positive, or a node that no path of intact edges joins to a source.
    """
    if not sources:
        raise NetworkError("no source node: without a held voltage all voltages float")
    for name, nodes in (("source", sources), ("output", outputs)):
        for node in nodes:
            if not 0 <= node < net.graph.num_nodes:
                raise NetworkError(
                    f"{name} node {node} is not among the nodes 0..{net.graph.num_nodes - 1}"
                )
        if len(set(nodes)) < len(nodes):
            raise NetworkError(f"{name} nodes {list(nodes)} name a node twice")
    both = sorted(set(sources) & set(outputs))
    if both:
        raise NetworkError(
            f"node {both[0]} is a source and an output; a held voltage cannot be trained"
        )
    values = np.asarray(net.conductances)
    if not (np.isfinite(values) & (values > 0)).all():
        raise NetworkError("conductances must be positive and finite (use `cut` to remove an edge)")
    stack = np.asarray(net.intact).reshape(-1, net.graph.num_edges)
    for intact in np.unique(stack, axis=0):
        labels = components(net.graph, intact)
        floating = np.flatnonzero(~np.isin(labels, labels[list(sources)]))
        if floating.size:
            raise NetworkError(
                f"disconnected network: {floating.size} nodes, first node {floating[0]}, have no "
                "path of intact edges to a source; join them or leave them out"
            )
