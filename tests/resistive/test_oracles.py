"""The six physical facts that any implementation of coupled learning must reproduce.

States are computed here by NumPy's dense solver too, straight from Kirchhoff's law, so that an
error in the library's solver cannot hide.
"""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from physjax import resistive
from physjax.resistive.linear_system import linear_system
from physjax.resistive.network import Floats, Graph
from physjax.resistive.states import Nudge, drops, solve_states

pytestmark = pytest.mark.quick_compile

Held = dict[int, float]
Case = tuple[Graph, Floats, Held, Held]


def dense_state(graph: Graph, conductances: Floats, held: Held) -> Floats:
    """Node voltages (N,) with the nodes of `held` at given voltages: Kirchhoff's law, by NumPy."""
    incidence = np.zeros((graph.num_edges, graph.num_nodes))
    incidence[np.arange(graph.num_edges), graph.edges[:, 0]] = 1
    incidence[np.arange(graph.num_edges), graph.edges[:, 1]] = -1
    laplacian = incidence.T @ np.diag(conductances) @ incidence
    nodes = list(held)
    free = np.setdiff1d(np.arange(graph.num_nodes), nodes)
    voltages = np.zeros(graph.num_nodes)
    voltages[nodes] = list(held.values())
    flow = -laplacian[np.ix_(free, nodes)] @ voltages[nodes]
    voltages[free] = np.linalg.solve(laplacian[np.ix_(free, free)], flow)
    return voltages


GRAPH = resistive.wheel(9)


def example(seed: int, num_targets: int) -> Case:
    """9 nodes, 16 edges: conductances (E,), the sources' voltages and random targets."""
    rng = np.random.default_rng(seed)
    targets = {node: rng.uniform(0.2, 0.8) for node in (5, 6, 7)[:num_targets]}
    return GRAPH, rng.uniform(0.5, 2.0, 16), {0: 0.0, 3: 1.0}, targets


_solve_states = jax.jit(solve_states, static_argnums=(0, 5))


def squared_error(graph: Graph, k: Floats, sources: Held, targets: Held) -> float:
    voltages = dense_state(graph, k, sources)
    return sum((voltages[node] - wanted) ** 2 for node, wanted in targets.items())


def gradient(graph: Graph, k: Floats, sources: Held, targets: Held) -> Floats:
    """Central differences of the squared error with respect to each conductance."""
    slopes = np.zeros_like(k)
    for edge in range(len(k)):
        step = np.zeros_like(k)
        step[edge] = 1e-5 * k[edge]
        up = squared_error(graph, k + step, sources, targets)
        down = squared_error(graph, k - step, sources, targets)
        slopes[edge] = (up - down) / (2e-5 * k[edge])
    return slopes


def both_drops(
    graph: Graph,
    k: Floats,
    sources: Held,
    targets: Held,
    amplitude: float,
    nudge: Nudge = "voltage",
) -> tuple[Floats, Floats]:
    """Free and clamped drops (E, 1), by the library."""
    with jax.enable_x64(True):
        system = linear_system(graph, tuple(sources), tuple(targets), "dense")
        inputs = np.array([list(sources.values())])
        wanted = np.array([list(targets.values())])
        states = _solve_states(system, k, inputs, wanted, amplitude, nudge)
        free, clamped = drops(system, states.free), drops(system, states.clamped)
        return np.asarray(free), np.asarray(clamped)


def cosine(a: Floats, b: Floats) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def update(graph: Graph, k: Floats, sources: Held, targets: Held, eta: float) -> Floats:
    """dk of the conductance rule with alpha = 1."""
    free, clamped = both_drops(graph, k, sources, targets, eta)
    with jax.enable_x64(True):
        return np.asarray(resistive.conductance_step(free, clamped, 1.0, eta))


def test_oracle_1_one_target_is_gradient_descent() -> None:
    for seed in range(10):
        case = example(seed, 1)
        assert cosine(update(*case, 1e-4), -gradient(*case)) > 0.99999


def test_oracle_1_full_nudge_only_resembles_the_gradient() -> None:
    cosines = [cosine(update(*example(s, 1), 1.0), -gradient(*example(s, 1))) for s in range(40)]
    assert 0.94 < np.mean(cosines) < 0.999


@pytest.mark.parametrize("num_targets", [2, 3])
def test_oracle_1_several_targets_are_not_gradient_descent(num_targets: int) -> None:
    cases = [example(seed, num_targets) for seed in range(60)]
    cosines = [cosine(update(*case, 1e-4), -gradient(*case)) for case in cases]
    assert 0.85 < np.mean(cosines) < 0.97


def test_equilibrium_propagation_is_gradient_descent_for_several_targets() -> None:
    # Unlike the imposed voltage: and with the factor 1/2, it is the gradient of half the error.
    for seed in range(10):
        graph, k, sources, targets = example(seed, 3)
        free, nudged = both_drops(graph, k, sources, targets, 1e-5, "current")
        with jax.enable_x64(True):
            dk = np.asarray(resistive.equilibrium_propagation_step(free, nudged, 1.0, 1e-5))
        np.testing.assert_allclose(
            dk, -0.5 * gradient(graph, k, sources, targets), rtol=1e-3, atol=1e-7
        )


def test_oracle_2_sum_of_squared_conductances_is_conserved() -> None:
    def imbalance(eta: float) -> float:
        ratios = []
        for seed in range(40):
            graph, k, sources, targets = example(seed, 2)
            dk = update(graph, k, sources, targets, eta)
            ratios.append(abs(k @ dk) / np.abs(k * dk).sum())
        return float(np.mean(ratios))

    assert 5e-3 < imbalance(1e-1) < 1.5e-1
    assert 5e-5 < imbalance(1e-3) < 1.5e-3
    # First order in eta: the free state is a minimum of the dissipated power.
    assert imbalance(1e-1) / imbalance(1e-3) == pytest.approx(100, rel=5e-2)


@pytest.mark.parametrize("seed", range(5))
def test_oracle_3_voltages_lie_between_the_sources(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = resistive.disordered(60, 120, seed)
    net = resistive.network(graph, np.exp(rng.normal(0, 3, graph.num_edges)))
    held = dict(zip(rng.permutation(60)[:4].tolist(), rng.normal(size=4), strict=True))
    voltages = resistive.free_state(net, held)
    assert min(held.values()) - 1e-12 <= voltages.min()
    assert voltages.max() <= max(held.values()) + 1e-12
    inner = np.setdiff1d(np.arange(60), list(held))
    assert np.ptp(voltages[inner]) > 1e-3
    np.testing.assert_allclose(voltages, dense_state(graph, net.conductances, held), atol=1e-10)


def test_oracle_4_xor_fails_and_and_succeeds() -> None:
    graph = resistive.random_graph(12, 40, 0)
    nets = [
        resistive.network(graph, resistive.random_conductances(graph, s, 0.5, 2)) for s in range(8)
    ]
    rule = resistive.ConductanceRule(0.5, 1e-3, bounds=(1e-3, 1e2))
    options = resistive.TrainOptions(steps=2000, batch=None, history_points=2)
    errors, accuracies = {}, {}
    for gate in ("xor", "and"):
        task = resistive.logic_gate(tuple(range(6)), (6,), gate)
        after, _ = resistive.train_many(nets, task, rule, options)
        scores = [resistive.evaluate(net, task) for net in after]
        errors[gate] = [score.squared_error for score in scores]
        accuracies[gate] = [score.accuracy for score in scores]
    distance = 0.2
    # The floors of any linear function, reached from above: 1/4 and 1/16 of the distance squared.
    assert min(errors["xor"]) > 0.25 * distance**2 - 1e-9
    assert max(errors["xor"]) < 0.25 * distance**2 + 1e-4
    assert max(accuracies["xor"]) <= 0.75
    assert max(errors["and"]) < 0.0625 * distance**2 + 1e-4
    assert min(accuracies["and"]) == 1.0


def test_oracle_4_superposition() -> None:
    graph, k, sources, _ = example(3, 1)
    net = resistive.network(graph, k)
    a, b = list(sources)
    one = resistive.free_state(net, {a: 1.0, b: 0.0}), resistive.free_state(net, {a: 0.0, b: 1.0})
    both = resistive.free_state(net, {a: 0.3, b: -2.0})
    np.testing.assert_allclose(both, 0.3 * one[0] - 2.0 * one[1], rtol=1e-11, atol=1e-13)


def train_discrete(eta: float, seeds: int = 48, cuts: int = 0) -> tuple[Floats, Floats]:
    """600 updates of 16 edges with 128 steps towards two targets: the error before and after."""
    graph = resistive.wheel(9)
    rng = np.random.default_rng(0)
    nets = [
        resistive.network(graph, resistive.random_conductances(graph, s, 0.5, 2.0))
        for s in range(seeds)
    ]
    if cuts:
        nets = [
            resistive.cut(net, resistive.random_cuts(net, cuts, seed))
            for seed, net in enumerate(nets)
        ]
    tasks = [
        resistive.allostery((0, 4), (2, 6), (0.0, 1.0), rng.uniform(0.2, 0.8, 2)) for _ in nets
    ]
    rule = resistive.DiscreteRule(eta=eta, levels=128)
    options = resistive.TrainOptions(steps=600, history_points=1)
    _, history = resistive.train_many(nets, tasks, rule, options)
    return history.squared_error[:, 0], history.squared_error[:, -1]


@pytest.mark.parametrize("eta", [0.1, 0.5, 1.0])
def test_oracle_5_sign_rule_learns_two_targets(eta: float) -> None:
    before, after = train_discrete(eta)
    assert np.median(before) > 1e-2
    assert np.median(after) < 2e-4
    assert (after < 1e-3).mean() >= 0.95


def test_oracle_5_sign_rule_survives_three_cut_edges() -> None:
    before, after = train_discrete(0.5, cuts=3)
    assert np.median(after) < 1e-3 < np.median(before)
    assert (after < 1e-3).mean() >= 0.7


def test_oracle_6_single_precision_spoils_the_rule_written_as_a_difference_of_squares() -> None:
    # Why the entry points compute in float64: at eta = 1e-4 the two squares agree to 5 digits.
    graph, k, sources, targets = example(1, 2)
    free, clamped = both_drops(graph, k, sources, targets, 1e-4)
    exact = clamped[:, 0] ** 2 - free[:, 0] ** 2
    single = clamped[:, 0].astype(np.float32) ** 2 - free[:, 0].astype(np.float32) ** 2
    assert np.abs(single - exact).max() > 1e-3 * np.abs(exact).max()
    with jax.enable_x64(True):
        dk = np.asarray(resistive.conductance_step(free, clamped, 1.0, 1e-4))
    np.testing.assert_allclose(dk, -exact / 1e-4, rtol=1e-6, atol=1e-12)


def test_oracle_6_training_is_double_precision_and_leaves_the_process_alone() -> None:
    graph = resistive.wheel(9)
    task = resistive.allostery((0, 4), (2, 6), targets=(0.35, 0.6))
    rule = resistive.ConductanceRule(0.5, 1e-3)
    options = resistive.TrainOptions(steps=3000, history_points=3)
    net, history = resistive.train(resistive.network(graph), task, rule, options)
    assert history.squared_error[-1] < 1e-20
    assert net.conductances.dtype == np.float64
    assert jax.numpy.ones(2).dtype == np.float32


def test_rules_agree_edge_by_edge_in_sign() -> None:
    for seed, eta in itertools.product(range(5), (1e-3, 1.0)):
        graph, k, sources, targets = example(seed, 2)
        free, clamped = both_drops(graph, k, sources, targets, eta)
        dk = np.asarray(resistive.conductance_step(free, clamped, 1.0, eta))
        dr = np.asarray(resistive.resistance_step(1 / k, free, clamped, 1.0))
        sign = np.asarray(resistive.discrete_step(free, clamped, 1.0))
        moving = np.abs(dk) > 1e-9
        assert (np.sign(dr) == -np.sign(dk))[moving].all()
        assert (np.sign(sign) == np.sign(dr))[moving].all()
