"""Builders of the graphs that coupled learning has been shown on, and of any networkx graph."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import Delaunay

from physjax.resistive.network import Graph, NetworkError


def from_networkx(graph: nx.Graph) -> Graph:
    """A :class:`Graph` of any undirected networkx graph, nodes numbered in its own order.

    Node attributes `pos` become the positions, where every node has one.
    """
    if graph.is_directed() or graph.is_multigraph():
        raise NetworkError("a resistor has no direction and no twin: give a plain networkx.Graph")
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = np.array([(number[a], number[b]) for a, b in graph.edges], dtype=np.int64)
    found = [graph.nodes[node].get("pos") for node in graph.nodes]
    positions = None if any(p is None for p in found) else np.array(found, dtype=np.float64)
    return Graph(len(number), edges, positions)


def ring(num_nodes: int) -> Graph:
    """A closed chain of nodes, each joined to the next."""
    if num_nodes < 3:
        raise NetworkError(f"a ring needs at least 3 nodes, not {num_nodes}")
    nodes = np.arange(num_nodes)
    return Graph(num_nodes, np.stack([nodes, (nodes + 1) % num_nodes], 1), _circle(num_nodes))


def wheel(num_nodes: int) -> Graph:
    """A ring of `num_nodes - 1` nodes, and a hub (the last node) joined to all of them.

    With 9 nodes it has 16 edges, the size of the laboratory's network of 2022.
    """
    rim = ring(num_nodes - 1)
    spokes = np.stack([np.arange(num_nodes - 1), np.full(num_nodes - 1, num_nodes - 1)], 1)
    positions = np.concatenate([_circle(num_nodes - 1), np.zeros((1, 2))])
    return Graph(num_nodes, np.concatenate([rim.edges, spokes]), positions)


def square_lattice(rows: int, columns: int, periodic: bool = False) -> Graph:
    """Nodes on a grid, joined to their nearest neighbours; `periodic` closes both directions."""
    if periodic and min(rows, columns) < 3:
        raise NetworkError("a periodic lattice needs at least 3 rows and 3 columns")
    index = np.arange(rows * columns).reshape(rows, columns)
    down, right = np.roll(index, -1, axis=0), np.roll(index, -1, axis=1)
    last = None if periodic else -1
    vertical = np.stack([index[:last], down[:last]], -1).reshape(-1, 2)
    horizontal = np.stack([index[:, :last], right[:, :last]], -1).reshape(-1, 2)
    row, column = np.divmod(np.arange(rows * columns), columns)
    positions = np.stack([column, -row], 1).astype(np.float64)
    return Graph(rows * columns, np.concatenate([vertical, horizontal]), positions)


def random_graph(num_nodes: int, num_edges: int, seed: int) -> Graph:
    """A connected random graph: a random spanning tree, and uniformly chosen further edges."""
    most = num_nodes * (num_nodes - 1) // 2
    if not num_nodes - 1 <= num_edges <= most:
        raise NetworkError(
            f"{num_nodes} nodes can be joined by {num_nodes - 1} to {most} edges, not {num_edges}"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(num_nodes)
    pairs = {
        (int(min(a, b)), int(max(a, b)))
        for a, b in ((order[i], order[rng.integers(i)]) for i in range(1, num_nodes))
    }
    while len(pairs) < num_edges:
        a, b = sorted(int(node) for node in rng.choice(num_nodes, 2, replace=False))
        pairs.add((a, b))
    return Graph(num_nodes, np.array(sorted(pairs)), _circle(num_nodes))


def disordered(num_nodes: int, num_edges: int, seed: int) -> Graph:
    """A jammed-like disordered planar graph: no long edges, no crossings, no lattice directions.

    Evenly spread points (one at random in each cell of a grid, as packed discs keep a distance)
    are joined by their Delaunay triangulation; the longest edges outside a spanning tree of short
    ones then go until `num_edges` are left. A jammed packing has about 2 edges a node.
    """
    rng = np.random.default_rng(seed)
    points = _spread_points(num_nodes, rng)
    triangles = Delaunay(points).simplices
    pairs = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges = np.unique(pairs, axis=0).astype(np.int64)
    if not num_nodes - 1 <= num_edges <= len(edges):
        raise NetworkError(
            f"{num_nodes} scattered nodes can have {num_nodes - 1} to {len(edges)} edges here, "
            f"not {num_edges}"
        )
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    weights = coo_array((lengths, (edges[:, 0], edges[:, 1])), shape=(num_nodes, num_nodes))
    tree = coo_array(minimum_spanning_tree(weights.tocsr()))
    code = edges[:, 0] * num_nodes + edges[:, 1]
    in_tree = np.isin(
        code, np.minimum(tree.row, tree.col) * num_nodes + np.maximum(tree.row, tree.col)
    )
    order = np.lexsort((lengths, ~in_tree))
    return Graph(num_nodes, edges[np.sort(order[:num_edges])], points)


def _spread_points(number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One point in each of `number` cells of a grid: evenly spread, but without directions."""
    side = math.ceil(math.sqrt(number))
    cells = rng.permutation(side * side)[:number]
    corner = np.stack(np.divmod(cells, side), 1)
    return (corner + rng.uniform(0.1, 0.9, (number, 2))) / side


def _circle(number: int) -> NDArray[np.float64]:
    angle = 2 * np.pi * np.arange(number) / number
    return np.stack([np.sin(angle), np.cos(angle)], 1)
