"""Graphs, networks, damage, and the errors that name what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest

from physjax import resistive
from physjax.errors import UserError
from physjax.resistive.linear_system import Method
from physjax.resistive.network import check_wiring, components


@pytest.mark.parametrize(
    ("graph", "nodes", "edges"),
    [
        (resistive.ring(7), 7, 7),
        (resistive.wheel(9), 9, 16),
        (resistive.square_lattice(6, 21), 126, 225),
        (resistive.square_lattice(4, 5, periodic=True), 20, 40),
        (resistive.random_graph(9, 16, 3), 9, 16),
        (resistive.disordered(100, 225, 0), 100, 225),
        (resistive.from_networkx(nx.petersen_graph()), 10, 15),
    ],
)
def test_builders_give_connected_graphs_of_their_size(
    graph: resistive.Graph, nodes: int, edges: int
) -> None:
    assert (graph.num_nodes, graph.num_edges) == (nodes, edges)
    assert components(graph).max() == 0


def test_periodic_lattice_is_regular_and_networkx_positions_survive() -> None:
    degrees = np.bincount(resistive.square_lattice(4, 5, periodic=True).edges.ravel())
    assert (degrees == 4).all()
    graph = nx.Graph([("a", "b")])
    nx.set_node_attributes(graph, {"a": (0.0, 1.0), "b": (2.0, 3.0)}, "pos")
    positions = resistive.from_networkx(graph).positions
    assert positions is not None
    np.testing.assert_array_equal(positions, [[0, 1], [2, 3]])


def test_equal_graphs_are_equal_keys() -> None:
    assert resistive.wheel(9) == resistive.wheel(9)
    assert hash(resistive.wheel(9)) == hash(resistive.wheel(9))
    assert resistive.wheel(9) != resistive.wheel(8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resistive.Graph(3, np.array([[0, 3]])), "nodes 0..2"),
        (lambda: resistive.Graph(3, np.array([[1, 1]])), "to itself"),
        (lambda: resistive.Graph(3, np.array([[0, 1], [1, 0]])), "same nodes"),
        (lambda: resistive.random_graph(5, 11, 0), "from 4 to 10, not 11"),
        (lambda: resistive.network(resistive.ring(4), [1, 1, 0, 1]), "edge 2 has conductance 0.0"),
        (lambda: resistive.network(resistive.ring(4), [1, 1, -2, 1]), "must be positive"),
        (lambda: resistive.network(resistive.ring(4), [1, 1]), "4 edges"),
        (lambda: resistive.cut(resistive.network(resistive.ring(4)), [4]), "from 0 to 3, not 4"),
        (lambda: resistive.ConductanceRule(eta=0.0), "eta"),
        (lambda: resistive.DiscreteRule(levels=1), "levels .* from 2"),
        (lambda: resistive.DiscreteRule(r_max=np.inf), "r_max"),
        (lambda: resistive.ConductanceRule(alpha=np.inf), "alpha"),
        (lambda: resistive.ResistanceRule(gamma=np.nan), "gamma"),
        (lambda: resistive.EquilibriumPropagation(beta=0.0), "beta"),
        (lambda: resistive.ConductanceRule(bounds=(1.0, np.inf)), "bounds"),
        (lambda: resistive.Asynchronous(resistive.DiscreteRule(), 2.0), "probability"),
        (lambda: resistive.Graph(3, np.array([[0.0, 1.5]])), "integers"),
        (lambda: resistive.Graph(3, np.array([[0, 1, 2, 0]])), "pairs"),
        (lambda: resistive.Graph(3, np.array([[0, 1]]), np.zeros((2, 2))), "positions"),
        (lambda: resistive.ConductanceRule(bounds=(2.0, 1.0)), "bounds must be below"),
        (lambda: resistive.ring(2), "from 3"),
        (lambda: resistive.ring(10**5000), "not a whole number of 16610 bits"),
        (lambda: resistive.ConductanceRule(alpha=10**400), "alpha .* of 1329 bits"),
        (lambda: resistive.ConductanceRule(alpha="x" * 999), r"not 'x+\.\.\.$"),  # type: ignore
        (lambda: resistive.square_lattice(10**6, 10**6), "nodes of a lattice .* to 1000000"),
        (lambda: resistive.random_graph(10**6, 10**9, 0), "to 4000000"),
        (lambda: resistive.random_graph(5, 6, -1), "seed"),
        (lambda: resistive.random_conductances(resistive.ring(4), 2**32), "seed"),
        (lambda: resistive.iris(tuple(range(8)), (8,), seed=-1), "seed"),
        (lambda: resistive.square_lattice(-2, 3), "rows of a lattice"),
        (lambda: resistive.square_lattice(3, 2, periodic=True), "columns of a periodic lattice"),
        (lambda: resistive.disordered(2, 1, 0), "from 3"),
        (lambda: resistive.random_conductances(resistive.ring(4), 0, 2.0, 1.0), "low <= high"),
        (lambda: resistive.random_cuts(resistive.network(resistive.ring(4)), -1, 0), "from 0 to 4"),
        (lambda: resistive.free_state(resistive.network(resistive.ring(4)), {0: np.nan}), "finite"),
        (
            lambda: resistive.free_state(
                resistive.network(resistive.ring(4)),
                {0: 1.0},
                "lu",  # type: ignore[arg-type]
            ),
            "unknown method 'lu'",
        ),
    ],
)
def test_wrong_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(resistive.NetworkError, match=message):
        call()


def test_a_wrong_network_is_the_users_error() -> None:
    assert issubclass(resistive.NetworkError, UserError)


def test_wiring_errors() -> None:
    net = resistive.network(resistive.ring(6))
    cases: list[tuple[tuple[int, ...], tuple[int, ...], str]] = [
        ((0, 3), (3,), "source and an output"),
        ((), (1,), "no source"),
        ((0, 0), (1,), "twice"),
        ((0, 9), (1,), "node 9"),
    ]
    for sources, outputs, message in cases:
        with pytest.raises(resistive.NetworkError, match=message):
            check_wiring(net, sources, outputs)
    parted = resistive.cut(net, [1, 3])
    with pytest.raises(resistive.NetworkError, match="disconnected network: 2 nodes, first node 2"):
        resistive.free_state(parted, {0: 1.0, 5: 0.0})
    island = resistive.network(resistive.Graph(4, np.array([[0, 1], [2, 3]])))
    with pytest.raises(resistive.NetworkError, match="disconnected"):
        resistive.free_state(island, {0: 1.0})


@pytest.mark.parametrize("method", ["dense", "factored"])
def test_a_numerically_singular_system_is_refused(method: Method) -> None:
    graph = resistive.ring(6)
    net = resistive.network(graph, [1e-200, 1e200, 1.0, 1e200, 1e-200, 1.0])
    with pytest.raises(resistive.NetworkError, match="singular system"):
        resistive.free_state(net, {0: 0.0, 2: 1.0}, method)


def test_cut_edges_carry_nothing_and_random_cuts_keep_one_piece() -> None:
    graph = resistive.ring(4)
    net = resistive.cut(resistive.network(graph), [0])
    # 1 hangs on 2 alone: 0 - 3 - 2 is a divider of two equal resistors.
    np.testing.assert_allclose(resistive.free_state(net, {0: 0.0, 2: 1.0}), [0, 1, 1, 0.5])
    wheel = resistive.network(resistive.wheel(9))
    edges = resistive.random_cuts(wheel, 5, seed=1)
    assert len(set(edges)) == 5
    assert components(wheel.graph, resistive.cut(wheel, edges).intact).max() == 0
    with pytest.raises(resistive.NetworkError, match="only 8 of 9"):
        resistive.random_cuts(wheel, 9, seed=1)
