"""Every method of solving Kirchhoff's law gives NumPy's answer, alone, stacked and under vmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from helpers.sampling import sampled
from physjax import resistive
from physjax.resistive.factored import FactorCache
from physjax.resistive.linear_system import Method, linear_system
from physjax.resistive.network import Floats, Graph
from physjax.resistive.solvers import multiply, solve
from physjax.resistive.states import drops, solve_states

pytestmark = pytest.mark.quick_compile

METHODS: tuple[Method, ...] = ("dense", "banded", "cg", "factored")
GRAPHS = {
    "wheel": resistive.wheel(9),
    "ring": resistive.ring(7),
    "torus": resistive.square_lattice(5, 6, periodic=True),
    "random": resistive.random_graph(30, 60, 0),
    "disordered": resistive.disordered(60, 120, 1),
}


def laplacian(graph: Graph, k: ArrayLike) -> Floats:
    matrix = np.zeros((graph.num_nodes, graph.num_nodes))
    for (a, b), value in zip(graph.edges, np.asarray(k), strict=True):
        matrix[[a, b], [a, b]] += value
        matrix[[a, b], [b, a]] -= value
    return matrix


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", sampled(GRAPHS, *list(GRAPHS)[:2]))
def test_solves_kirchhoffs_law(name: str, method: Method) -> None:
    graph = GRAPHS[name]
    rng = np.random.default_rng(0)
    stack = rng.uniform(0.1, 3.0, (3, graph.num_edges))
    with jax.enable_x64(True):
        system = linear_system(graph, (0, 3), (5,), method)
        b = rng.normal(size=(3, len(system.free), 2))
        found = jax.jit(jax.vmap(lambda k, b: solve(system, k, b)))(stack, b)
        alone = jax.jit(lambda k, b: solve(system, k, b))(stack[1], b[1])
        product = multiply(system, jnp.asarray(stack[1]), alone)
    for k, rhs, x in zip(stack, b, np.asarray(found), strict=True):
        matrix = laplacian(graph, k)[np.ix_(system.free, system.free)]
        np.testing.assert_allclose(x, np.linalg.solve(matrix, rhs), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(alone, found[1], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(product, b[1], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("samples", [1, 7])
def test_both_states_equal_two_independent_solves(method: Method, samples: int) -> None:
    # The clamped state by one factorisation, against a solve with the outputs among the held nodes.
    graph = GRAPHS["disordered"]
    rng = np.random.default_rng(1)
    net = resistive.network(graph, rng.uniform(0.2, 2.0, graph.num_edges))
    sources, outputs, eta = (3, 10, 40), (20, 55), 0.3
    x, y = rng.uniform(size=(samples, 3)), rng.uniform(size=(samples, 2))
    held, wanted = dict(zip(sources, x.T, strict=True)), dict(zip(outputs, y.T, strict=True))
    with jax.enable_x64(True):
        system = linear_system(graph, sources, outputs, method)
        states = jax.jit(lambda k: solve_states(system, k, jnp.asarray(x), jnp.asarray(y), eta))(
            net.effective
        )
        free_drops = drops(system, states.free)
    free = resistive.free_state(net, held, "dense")
    clamped = resistive.clamped_state(net, held, wanted, eta, "dense")
    np.testing.assert_allclose(np.asarray(states.free).T, free, atol=1e-9)
    np.testing.assert_allclose(np.asarray(states.clamped).T, clamped, atol=1e-9)
    tail, head = graph.edges[7]
    np.testing.assert_allclose(free_drops[7], free[:, tail] - free[:, head], atol=1e-9)


def test_current_nudge_feeds_its_current_into_the_outputs() -> None:
    graph, beta = GRAPHS["wheel"], 0.2
    k = np.random.default_rng(2).uniform(0.5, 2.0, 16)
    with jax.enable_x64(True):
        system = linear_system(graph, (0, 4), (2, 6))
        x, y = jnp.array([[0.0, 1.0]]), jnp.array([[0.3, 0.7]])
        states = solve_states(system, jnp.asarray(k), x, y, beta, "current")
    injected = laplacian(graph, k) @ np.asarray(states.clamped)[:, 0]
    expected = beta * (np.array([0.3, 0.7]) - np.asarray(states.free)[[2, 6], 0])
    np.testing.assert_allclose(injected[[2, 6]], expected, atol=1e-12)
    np.testing.assert_allclose(injected[[1, 3, 5, 7, 8]], 0, atol=1e-12)


def test_old_factors_still_solve_the_changed_network() -> None:
    graph = resistive.square_lattice(12, 12)
    rng = np.random.default_rng(3)
    system = linear_system(graph, (0,), (100,), "factored")
    cache = FactorCache(system.edges, len(system.free))
    k = rng.uniform(0.5, 2.0, graph.num_edges)
    x = np.zeros((len(system.free), 1))
    for _ in range(30):
        b = rng.normal(size=x.shape)
        x = cache.solve(k, b, x, 1e-11)
        matrix = laplacian(graph, k)[np.ix_(system.free, system.free)]
        assert np.linalg.norm(matrix @ x - b) <= 2e-11 * np.linalg.norm(b)
        k = k * rng.uniform(0.7, 1.4, k.shape)


@pytest.mark.parametrize("method", ["dense", "cg"])
def test_solves_in_single_precision_too(method: Method) -> None:
    graph = GRAPHS["torus"]
    system = linear_system(graph, (0,), (5,), method)
    k = jnp.asarray(np.random.default_rng(4).uniform(0.5, 2.0, graph.num_edges), jnp.float32)
    b = jnp.ones((len(system.free), 1), jnp.float32)
    x = solve(system, k, b)
    assert x.dtype == jnp.float32
    matrix = laplacian(graph, np.asarray(k))[np.ix_(system.free, system.free)]
    np.testing.assert_allclose(x, np.linalg.solve(matrix, b), rtol=1e-3)


def test_auto_chooses_by_size() -> None:
    def method(graph: Graph, stacked: bool = False) -> str:
        return linear_system(graph, (0, graph.num_nodes - 1), (5,), "auto", stacked).method

    assert method(resistive.wheel(9)) == "dense"
    assert method(resistive.square_lattice(6, 21)) == "dense"
    assert method(resistive.square_lattice(6, 21), stacked=True) == "banded"
    assert method(resistive.random_graph(200, 600, 0)) == "dense"
    assert method(resistive.square_lattice(60, 60)) == "factored"


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.sampled_from([3, 6]),
    st.sampled_from([2, 5]),
    st.sampled_from([(0, 1), (5, 2)]),  # few wirings: each is compiled
    st.floats(-3, 3),
)
def test_current_is_conserved_on_any_lattice(
    seed: int, rows: int, columns: int, ends: tuple[int, int], spread: float
) -> None:
    rng = np.random.default_rng(seed)
    graph = resistive.square_lattice(rows, columns)
    net = resistive.network(graph, np.exp(spread * rng.uniform(-1, 1, graph.num_edges)))
    a, b = ends
    voltages = resistive.free_state(net, {a: 0.0, b: 1.0}, "factored")
    current = laplacian(graph, net.conductances) @ voltages
    assert current[a] == pytest.approx(-current[b], rel=1e-7)
    inner = np.setdiff1d(np.arange(graph.num_nodes), [a, b])
    assert np.abs(current[inner]).max(initial=0) <= 1e-7 * np.abs(current[b])
