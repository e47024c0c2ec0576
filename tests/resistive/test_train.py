"""Rules by hand arithmetic, training's bookkeeping, and the accuracies that are promised."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from physjax import resistive
from physjax.resistive.linear_system import Method
from physjax.resistive.presets import RuleName
from physjax.resistive.rules import Rule
from physjax.resistive.runner import PresetOptions, run_preset

pytestmark = pytest.mark.quick_compile

FREE, CLAMPED = np.array([[0.5], [0.2], [0.1]]), np.array([[0.4], [-0.3], [0.1]])
ROOT = Path(__file__).parents[2]


def test_rules_by_hand() -> None:
    # dV_C^2 - dV_F^2 = -0.09, 0.05, 0.
    with jax.enable_x64(True):
        dk = resistive.conductance_step(FREE, CLAMPED, alpha=2.0, eta=0.1)
        dr = resistive.resistance_step(np.array([1.0, 2.0, 1.0]), FREE, CLAMPED, gamma=4.0)
        ep = resistive.equilibrium_propagation_step(FREE, CLAMPED, alpha=2.0, beta=0.1)
        sign = resistive.discrete_step(FREE, CLAMPED, step=0.25)
    np.testing.assert_allclose(dk, [1.8, -1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(dr, [-0.36, 0.05, 0.0], atol=1e-12)
    np.testing.assert_allclose(ep, [0.9, -0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(sign, [-0.25, 0.25, -0.25])  # a tie lowers R


def test_bounds_and_grid_hold() -> None:
    key = jax.random.key(0)
    k = np.array([1.0, 0.5, 1.0])
    with jax.enable_x64(True):
        clipped = resistive.ConductanceRule(100.0, 0.1, (0.1, 3.0)).update(k, FREE, CLAMPED, key)
        r = 1 / resistive.ResistanceRule(100.0, 0.1, (0.5, 2.5)).update(k, FREE, CLAMPED, key)
        grid = 1 / resistive.DiscreteRule(0.1, 4, 2.0).update(k, FREE, CLAMPED, key)
    np.testing.assert_allclose(clipped, [3.0, 0.1, 1.0])
    np.testing.assert_allclose(r, [0.5, 2.5, 1.0])
    np.testing.assert_allclose(grid, [0.5, 2.0, 0.5])


def test_asynchronous_moves_the_given_fraction() -> None:
    free, clamped = np.full((4000, 1), 0.1), np.full((4000, 1), 0.3)
    rule = resistive.Asynchronous(resistive.ConductanceRule(1.0, 0.5), 0.3)
    moved = rule.update(np.ones(4000), free, clamped, jax.random.key(1)) != 1
    assert np.mean(moved) == pytest.approx(0.3, abs=0.03)


def allostery() -> tuple[resistive.Network, resistive.Examples]:
    net = resistive.network(
        resistive.wheel(9), resistive.random_conductances(resistive.wheel(9), 0)
    )
    return net, resistive.allostery((0, 4), (2, 6), targets=(0.35, 0.6))


@pytest.mark.parametrize(
    ("rule", "steps", "limit"),
    [
        (resistive.ConductanceRule(0.5, 1e-3), 3000, 1e-6),
        (resistive.ResistanceRule(0.5, 0.1), 3000, 1e-6),
        (resistive.EquilibriumPropagation(0.5, 1e-3), 3000, 1e-6),
        (resistive.DiscreteRule(0.5), 600, 1e-3),
        (resistive.Asynchronous(resistive.ConductanceRule(0.5, 1e-3), 0.5), 3000, 1e-6),
    ],
)
def test_every_rule_learns_two_targets(rule: Rule, steps: int, limit: float) -> None:
    net, task = allostery()
    options = resistive.TrainOptions(steps=steps, history_points=7)
    trained, history = resistive.train(net, task, rule, options)
    assert history.squared_error[0] > 1e-3
    assert history.squared_error[-1] < limit
    assert resistive.evaluate(trained, task).squared_error == pytest.approx(
        history.squared_error[-1], rel=1e-6, abs=1e-25
    )
    np.testing.assert_array_equal(history.steps, [*range(0, steps, steps // 7), steps])
    assert history.resistances.shape == (len(history.steps), 16)
    np.testing.assert_array_equal(history.resistances[-1], trained.resistances)
    assert history.residual < 1e-9


def test_a_stack_equals_its_members_and_methods_agree() -> None:
    graph = resistive.square_lattice(6, 9)
    nets = [
        resistive.network(graph, resistive.random_conductances(graph, s, 0.5, 2)) for s in (0, 1)
    ]
    task = resistive.regression((0, 20, 53), (11, 40), examples=6, test_examples=2)
    rule = resistive.ConductanceRule(0.5, 1e-3)
    options = resistive.TrainOptions(steps=12, method="banded")
    stack, _ = resistive.train_many(nets, task, rule, options, seeds=[5, 6])
    methods: tuple[Method, ...] = ("dense", "factored", "cg")
    for method in methods:
        one, _ = resistive.train(nets[1], task, rule, replace(options, method=method), seed=6)
        np.testing.assert_allclose(one.conductances, stack[1].conductances, rtol=1e-8)
    other, _ = resistive.train(nets[1], task, rule, options, seed=7)
    assert np.abs(other.conductances / stack[1].conductances - 1).max() > 1e-6


def test_zero_rate_changes_nothing() -> None:
    net, task = allostery()
    options = resistive.TrainOptions(steps=5)
    trained, _ = resistive.train(net, task, resistive.ConductanceRule(0.0, 0.1), options)
    np.testing.assert_array_equal(trained.conductances, net.conductances)


def test_damage_during_training() -> None:
    net, task = allostery()
    rule = resistive.DiscreteRule(0.5)
    options = resistive.TrainOptions(steps=600, history_points=60, damage={305: [8, 9]})
    trained, history = resistive.train(net, task, rule, options)
    np.testing.assert_array_equal(np.flatnonzero(trained.intact == 0), [8, 9])
    np.testing.assert_array_equal(history.steps, [*range(0, 305, 10), *range(305, 600, 10), 600])
    assert history.squared_error[-1] < 1e-3


@dataclass(frozen=True)
class NeverAsked(resistive.DiscreteRule):
    def update(self, *args: Any) -> Any:
        pytest.fail("an update was made")


@pytest.mark.parametrize(
    ("damage", "message"),
    [({5: [0], 7: [1, 9]}, "disconnected"), ({5: [0, 16]}, "from 0 to 15, not 16")],
)
def test_damage_that_cannot_be_is_refused_before_the_first_update(
    damage: dict[int, list[int]], message: str
) -> None:
    options = resistive.TrainOptions(steps=10, damage=damage)
    with pytest.raises(resistive.NetworkError, match=message):
        resistive.train(*allostery(), NeverAsked(), options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"steps": 1.0}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 5, "batch": 0}, "batch"),
        ({"steps": 5, "history_points": 0}, "history_points"),
        ({"steps": 5, "damage": {5: [0]}}, "from 0 to 4, not 5"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(resistive.NetworkError, match=message):
        resistive.TrainOptions(**options)


def test_tasks_refuse_the_impossible() -> None:
    with pytest.raises(resistive.NetworkError, match="averages"):
        resistive.regression((0, 1, 2), (3,), [[0.7, 0.5]])
    with pytest.raises(resistive.NetworkError, match="8 sources"):
        resistive.iris((0, 1), (2,))
    net, task = allostery()
    options = resistive.TrainOptions(steps=5, batch=3)
    with pytest.raises(resistive.NetworkError, match="batch"):
        resistive.train(net, task, resistive.DiscreteRule(), options)


def test_iris_training_flowers_are_balanced_and_never_tested() -> None:
    task = resistive.iris(tuple(range(8)), (8,), seed=3)
    assert task.inputs.shape == (30, 8)
    assert task.test_inputs.shape == (120, 8)
    assert task.labels is not None
    assert np.bincount(task.labels).tolist() == [10, 10, 10]
    np.testing.assert_allclose(task.inputs[:, :4] + task.inputs[:, 4:], 1.0)


@pytest.mark.parametrize("rule", ["conductance", "discrete"])
def test_iris_over_twenty_splits(rule: RuleName) -> None:
    record = run_preset(PresetOptions("iris", rule, seeds=20)).record
    assert record.test_accuracy is not None
    assert record.test_accuracy >= 0.95


def test_power_efficient_learning_reaches_the_published_precision() -> None:
    record = run_preset(PresetOptions("power-efficient", steps=30_000)).record
    assert record.relative_error < 1e-10


def test_three_digits() -> None:
    accuracy = run_preset(PresetOptions("digits")).record.test_accuracy
    assert accuracy is not None
    assert accuracy >= 0.93


def test_the_library_stands_alone() -> None:
    code = (
        "import sys, physjax.resistive; "
        "print([m for m in sys.modules if m.startswith('physjax.') and 'resistive' not in m"
        " or m in ('matplotlib', 'flax', 'optax')])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "['physjax.errors']", run.stderr
