"""Graphs, networks, damage, and the errors that name what is wrong."""

import networkx as nx
import numpy as np
import pytest

from physjax import coupled
from physjax.coupled.network import check_wiring, components


@pytest.mark.parametrize(
    ("graph", "nodes", "edges"),
    [
        (coupled.ring(7), 7, 7),
        (coupled.wheel(9), 9, 16),
        (coupled.square_lattice(6, 21), 126, 225),
        (coupled.square_lattice(4, 5, periodic=True), 20, 40),
        (coupled.random_graph(9, 16, 3), 9, 16),
        (coupled.disordered(100, 225, 0), 100, 225),
        (coupled.from_networkx(nx.petersen_graph()), 10, 15),
    ],
)
def test_builders_give_connected_graphs_of_their_size(graph, nodes, edges):
    assert (graph.num_nodes, graph.num_edges) == (nodes, edges)
    assert components(graph).max() == 0


def test_periodic_lattice_is_regular_and_networkx_positions_survive():
    degrees = np.bincount(coupled.square_lattice(4, 5, periodic=True).edges.ravel())
    assert (degrees == 4).all()
    drawn = nx.Graph([("a", "b")])
    nx.set_node_attributes(drawn, {"a": (0.0, 1.0), "b": (2.0, 3.0)}, "pos")
    np.testing.assert_array_equal(coupled.from_networkx(drawn).positions, [[0, 1], [2, 3]])


def test_equal_graphs_are_equal_keys():
    assert coupled.wheel(9) == coupled.wheel(9)
    assert hash(coupled.wheel(9)) == hash(coupled.wheel(9))
    assert coupled.wheel(9) != coupled.wheel(8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coupled.Graph(3, [(0, 3)]), "nodes 0..2"),
        (lambda: coupled.Graph(3, [(1, 1)]), "to itself"),
        (lambda: coupled.Graph(3, [(0, 1), (1, 0)]), "same nodes"),
        (lambda: coupled.random_graph(5, 11, 0), "4 to 10 edges"),
        (lambda: coupled.network(coupled.ring(4), [1, 1, 0, 1]), "edge 2 has conductance 0.0"),
        (lambda: coupled.network(coupled.ring(4), [1, 1, -2, 1]), "must be positive"),
        (lambda: coupled.network(coupled.ring(4), [1, 1]), "4 edges"),
        (lambda: coupled.cut(coupled.network(coupled.ring(4)), [4]), "edge 4"),
        (lambda: coupled.ConductanceRule(eta=0.0), "eta"),
        (lambda: coupled.DiscreteRule(levels=1), "bounds"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(coupled.NetworkError, match=message):
        call()


def test_wiring_errors():
    net = coupled.network(coupled.ring(6))
    for sources, outputs, message in (
        ((0, 3), (3,), "source and an output"),
        ((), (1,), "no source"),
        ((0, 0), (1,), "twice"),
        ((0, 9), (1,), "node 9"),
    ):
        with pytest.raises(coupled.NetworkError, match=message):
            check_wiring(net, sources, outputs)
    parted = coupled.cut(net, [1, 3])
    with pytest.raises(coupled.NetworkError, match="disconnected network: 2 nodes, first node 2"):
        coupled.free_state(parted, {0: 1.0, 5: 0.0})
    island = coupled.network(coupled.Graph(4, [(0, 1), (2, 3)]))
    with pytest.raises(coupled.NetworkError, match="disconnected"):
        coupled.free_state(island, {0: 1.0})


def test_a_numerically_singular_system_is_refused():
    graph = coupled.ring(6)
    net = coupled.network(graph, [1e-200, 1e200, 1.0, 1e200, 1e-200, 1.0])
    with pytest.raises(coupled.NetworkError, match="singular system"):
        coupled.free_state(net, {0: 0.0, 2: 1.0})


def test_cut_edges_carry_nothing_and_random_cuts_keep_one_piece():
    graph = coupled.ring(4)
    net = coupled.cut(coupled.network(graph), [0])
    # 1 hangs on 2 alone: 0 - 3 - 2 is a divider of two equal resistors.
    np.testing.assert_allclose(coupled.free_state(net, {0: 0.0, 2: 1.0}), [0, 1, 1, 0.5])
    wheel = coupled.network(coupled.wheel(9))
    edges = coupled.random_cuts(wheel, 5, seed=1)
    assert len(set(edges)) == 5
    assert components(wheel.graph, coupled.cut(wheel, edges).intact).max() == 0
    with pytest.raises(coupled.NetworkError, match="only 8 of 9"):
        coupled.random_cuts(wheel, 9, seed=1)
