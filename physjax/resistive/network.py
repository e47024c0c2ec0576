"""Resistor networks: a fixed graph, and the conductances that live on its edges.

A :class:`Graph` is constant and hashable, so that compiled code can be specialised to it. A
:class:`Network` is a pytree of two arrays over the edges: the conductances and which edges are
still intact. Drawings, solvers and rules share the sign convention `drop = V[tail] - V[head]`.
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


class NetworkError(ValueError):
    """A network, or a choice of its sources and outputs, that has no well-defined state."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes `0 .. num_nodes - 1` and the edges between them; equal by content.

    Attributes:
      num_nodes: number of nodes.
      edges: integers of shape (E, 2), tail and head of each edge.
      positions: where to draw the nodes, shape (N, 2), or None.

    Raises:
      NetworkError: for an edge that leaves the network, a self-loop, or two edges in parallel
        (add their conductances instead).
    """

    num_nodes: int
    edges: NDArray[np.int64]
    positions: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        edges = np.array(self.edges, dtype=np.int64).reshape(-1, 2)
        edges.setflags(write=False)
        object.__setattr__(self, "edges", edges)
        if len(edges) == 0:
            raise NetworkError("a network needs at least one edge")
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
                "two edges join the same nodes; give one, with the conductances' sum"
            )
        digest = hashlib.sha256(f"{self.num_nodes}".encode() + edges.tobytes()).digest()
        object.__setattr__(self, "_digest", digest)

    @property
    def num_edges(self) -> int:
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
      conductances: k = 1/R of each edge in siemens, shape (E,), or (seeds, E) for a stack.
      intact: 1 where the edge conducts, 0 where it has been cut; shape as `conductances`.
    """

    graph: Graph
    conductances: Any
    intact: Any

    @property
    def resistances(self) -> Any:
        """R = 1/k of each edge in ohms, cut edges included."""
        return 1.0 / self.conductances

    @property
    def effective(self) -> Any:
        """The conductances that carry current: 0 on cut edges."""
        return self.conductances * self.intact


def network(graph: Graph, conductances: ArrayLike = 1.0) -> Network:
    """A :class:`Network` on `graph` with all edges intact.

    Args:
      graph: the edges.
      conductances: siemens; one number, or shape (E,).

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


def random_conductances(
    graph: Graph, seed: int, low: float = 0.95, high: float = 1.05
) -> NDArray[np.float64]:
    """Independent uniform conductances in [low, high), shape (E,)."""
    return np.random.default_rng(seed).uniform(low, high, graph.num_edges)


def components(graph: Graph, intact: ArrayLike | None = None) -> NDArray[np.int64]:
    """The connected component of each node, shape (N,), along intact edges only."""
    keep = np.ones(graph.num_edges) if intact is None else np.asarray(intact, dtype=np.float64)
    tail, head = graph.edges[keep > 0].T
    matrix = coo_array((np.ones(len(tail)), (tail, head)), shape=(graph.num_nodes,) * 2)
    return connected_components(matrix, directed=False)[1].astype(np.int64)


def check_wiring(net: Network, sources: Sequence[int], outputs: Sequence[int]) -> None:
    """Refuse a network and wiring whose state is not determined.

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


def cut(net: Network, edges: Sequence[int]) -> Network:
    """The network without the given edges. They keep their place, and conduct nothing."""
    bad = [edge for edge in edges if not 0 <= edge < net.graph.num_edges]
    if bad:
        raise NetworkError(f"edge {bad[0]} is not among the edges 0..{net.graph.num_edges - 1}")
    intact = np.array(net.intact)
    intact[..., list(edges)] = 0.0
    return Network(net.graph, net.conductances, intact)


def random_cuts(net: Network, number: int, seed: int) -> list[int]:
    """`number` random intact edges whose loss leaves the network in one piece.

    Raises:
      NetworkError: when the network falls apart before so many edges are gone.
    """
    rng = np.random.default_rng(seed)
    intact = np.array(net.intact)
    if intact.ndim != 1:
        raise NetworkError("random_cuts takes one network, not a stack of them")
    chosen: list[int] = []
    pieces = components(net.graph, intact).max()
    for edge in rng.permutation(np.flatnonzero(intact)):
        if len(chosen) == number:
            break
        intact[edge] = 0.0
        if components(net.graph, intact).max() == pieces:
            chosen.append(int(edge))
        else:
            intact[edge] = 1.0
    if len(chosen) < number:
        raise NetworkError(f"only {len(chosen)} of {number} edges can go before the network parts")
    return chosen
