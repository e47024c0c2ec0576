"""The graphs on which coupled learning has been shown, and graphs made with networkx."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import Delaunay

from physjax.resistive.checks import NetworkError, check_integer, check_seed
from physjax.resistive.network import Floats, Graph

MAX_NODES = 1_000_000
"""Nodes of a built graph; more would fill the memory before the first solve."""
MAX_EDGES = 4_000_000
"""Edges of a random graph, for the same reason."""


def from_networkx(graph: nx.Graph) -> Graph:
    """A :class:`Graph` of an undirected networkx graph, its nodes numbered in networkx's order.

    Args:
      graph: node attributes `pos` become the positions, where every node has one.

    Returns:
      The graph.

    Raises:
      NetworkError: for a directed graph or a multigraph; see also :class:`Graph`.
    """
    if graph.is_directed() or graph.is_multigraph():
        raise NetworkError(
            "resistors have no direction, and parallel ones are one: give a plain networkx.Graph"
        )
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = np.array([(number[a], number[b]) for a, b in graph.edges], dtype=np.int64)
    given = [graph.nodes[node].get("pos") for node in graph.nodes]
    positions = None if any(p is None for p in given) else np.array(given, dtype=np.float64)
    return Graph(len(number), edges, positions)


def ring(num_nodes: int) -> Graph:
    """A closed chain of nodes, each joined to the next.

    Args:
      num_nodes: at least 3.

    Returns:
      The graph, with `num_nodes` edges.

    Raises:
      NetworkError: for fewer nodes.
    """
    check_integer("num_nodes of a ring", num_nodes, 3, MAX_NODES)
    nodes = np.arange(num_nodes)
    return Graph(num_nodes, np.stack([nodes, (nodes + 1) % num_nodes], 1), _circle(num_nodes))


def wheel(num_nodes: int) -> Graph:
    """A ring of `num_nodes - 1` nodes, and a hub (the last node) joined to all of them.

    With 9 nodes it has 16 edges, the size of the network that Dillavou et al. (2022) built.

    Args:
      num_nodes: at least 4.

    Returns:
      The graph, with `2 (num_nodes - 1)` edges.

    Raises:
      NetworkError: for fewer nodes.
    """
    check_integer("num_nodes of a wheel", num_nodes, 4, MAX_NODES)
    rim = ring(num_nodes - 1)
    spokes = np.stack([np.arange(num_nodes - 1), np.full(num_nodes - 1, num_nodes - 1)], 1)
    positions = np.concatenate([_circle(num_nodes - 1), np.zeros((1, 2))])
    return Graph(num_nodes, np.concatenate([rim.edges, spokes]), positions)


def square_lattice(rows: int, columns: int, periodic: bool = False) -> Graph:
    """Nodes on a grid, joined to their nearest neighbours.

    Args:
      rows: number of rows.
      columns: number of columns.
      periodic: also join the last row to the first, and the last column to the first.

    Returns:
      The graph, its nodes numbered row by row.

    Raises:
      NetworkError: for a lattice without edges, or a periodic one below 3 by 3.
    """
    least = 3 if periodic else 1
    for name, number in (("rows", rows), ("columns", columns)):
        check_integer(f"{name} of a{' periodic' * periodic} lattice", number, least, MAX_NODES)
    check_integer("number of nodes of a lattice", rows * columns, 2, MAX_NODES)
    index = np.arange(rows * columns).reshape(rows, columns)
    down, right = np.roll(index, -1, axis=0), np.roll(index, -1, axis=1)
    last = None if periodic else -1
    vertical = np.stack([index[:last], down[:last]], -1).reshape(-1, 2)
    horizontal = np.stack([index[:, :last], right[:, :last]], -1).reshape(-1, 2)
    row, column = np.divmod(np.arange(rows * columns), columns)
    positions = np.stack([column, -row], 1).astype(np.float64)
    return Graph(rows * columns, np.concatenate([vertical, horizontal]), positions)


def random_graph(num_nodes: int, num_edges: int, seed: int) -> Graph:
    """A connected random graph: a random spanning tree, and further edges chosen uniformly.

    Args:
      num_nodes: at least 2.
      num_edges: from `num_nodes - 1` to one for each pair of nodes.
      seed: of the random choices.

    Returns:
      The graph, drawn on a circle.

    Raises:
      NetworkError: when so many nodes cannot be joined by so many edges.
    """
    check_integer("num_nodes of a random graph", num_nodes, 2, MAX_NODES)
    most = num_nodes * (num_nodes - 1) // 2
    check_integer(
        f"num_edges between {num_nodes} nodes", num_edges, num_nodes - 1, min(most, MAX_EDGES)
    )
    check_seed(seed)
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
    """A disordered planar graph like a jammed packing: no long edges, no crossings, no axes.

    Evenly spread points (one at random in each cell of a grid, since packed discs keep their
    distance) are joined by their Delaunay triangulation. Then the longest edges that are not part
    of the minimum spanning tree are removed until `num_edges` are left. A jammed packing has about
    2 edges per node.

    Args:
      num_nodes: at least 3.
      num_edges: from `num_nodes - 1` to as many as the triangulation has.
      seed: of the points.

    Returns:
      The graph, with positions.

    Raises:
      NetworkError: when so many nodes cannot have so many edges.
    """
    check_integer("num_nodes of a disordered graph", num_nodes, 3, MAX_NODES)
    check_seed(seed)
    rng = np.random.default_rng(seed)
    points = _spread_points(num_nodes, rng)
    triangles = Delaunay(points).simplices
    pairs = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges = np.unique(pairs, axis=0).astype(np.int64)
    check_integer(
        f"num_edges between these {num_nodes} nodes", num_edges, num_nodes - 1, len(edges)
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


def _spread_points(number: int, rng: np.random.Generator) -> Floats:
    """One point in each of `number` cells of a grid: evenly spread, but without directions."""
    side = math.ceil(math.sqrt(number))
    cells = rng.permutation(side * side)[:number]
    corner = np.stack(np.divmod(cells, side), 1)
    return (corner + rng.uniform(0.1, 0.9, (number, 2))) / side


def _circle(number: int) -> Floats:
    angle = 2 * np.pi * np.arange(number) / number
    return np.stack([np.sin(angle), np.cos(angle)], 1)
