"""Rules by hand arithmetic, training's bookkeeping, and the accuracies that are promised."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from physjax import resistive
from physjax.resistive.presets import run_study

FREE, CLAMPED = np.array([[0.5], [0.2], [0.1]]), np.array([[0.4], [-0.3], [0.1]])
ROOT = Path(__file__).parents[2]


def test_rules_by_hand():
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


def test_bounds_and_grid_hold():
    key = jax.random.key(0)
    k = np.array([1.0, 0.5, 1.0])
    with jax.enable_x64(True):
        clipped = resistive.ConductanceRule(100.0, 0.1, (0.1, 3.0)).update(k, FREE, CLAMPED, key)
        r = 1 / resistive.ResistanceRule(100.0, 0.1, (0.5, 2.5)).update(k, FREE, CLAMPED, key)
        grid = 1 / resistive.DiscreteRule(0.1, 4, 2.0).update(k, FREE, CLAMPED, key)
    np.testing.assert_allclose(clipped, [3.0, 0.1, 1.0])
    np.testing.assert_allclose(r, [0.5, 2.5, 1.0])
    np.testing.assert_allclose(grid, [0.5, 2.0, 0.5])


def test_asynchronous_moves_the_given_fraction():
    free, clamped = np.full((4000, 1), 0.1), np.full((4000, 1), 0.3)
    rule = resistive.Asynchronous(resistive.ConductanceRule(1.0, 0.5), 0.3)
    moved = rule.update(np.ones(4000), free, clamped, jax.random.key(1)) != 1
    assert np.mean(moved) == pytest.approx(0.3, abs=0.03)


def allostery():
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
def test_every_rule_learns_two_targets(rule, steps, limit):
    net, task = allostery()
    trained, record = resistive.train(net, task, rule, steps=steps, records=7)
    assert record.squared_error[0] > 1e-3
    assert record.squared_error[-1] < limit
    assert resistive.evaluate(trained, task).squared_error == pytest.approx(
        record.squared_error[-1], rel=1e-6, abs=1e-25
    )
    assert record.steps[0] == 0
    assert record.steps[-1] == steps
    assert record.resistances.shape == (len(record.steps), 16)
    np.testing.assert_allclose(record.resistances[-1], trained.resistances)
    assert record.residual < 1e-9


def test_a_stack_equals_its_members_and_methods_agree():
    graph = resistive.square_lattice(6, 9)
    nets = [
        resistive.network(graph, resistive.random_conductances(graph, s, 0.5, 2)) for s in (0, 1)
    ]
    task = resistive.regression((0, 20, 53), (11, 40), examples=6, test_examples=2)
    rule = resistive.ConductanceRule(0.5, 1e-3)
    stack, _ = resistive.train_many(nets, task, rule, steps=12, seeds=[5, 6], method="banded")
    for method in ("dense", "factored", "cg"):
        one, _ = resistive.train(nets[1], task, rule, steps=12, seed=6, method=method)
        np.testing.assert_allclose(one.conductances, stack[1].conductances, rtol=1e-8)
    other, _ = resistive.train(nets[1], task, rule, steps=12, seed=7)
    assert np.abs(other.conductances / stack[1].conductances - 1).max() > 1e-6


def test_zero_rate_changes_nothing():
    net, task = allostery()
    trained, _ = resistive.train(net, task, resistive.ConductanceRule(0.0, 0.1), steps=5)
    np.testing.assert_array_equal(trained.conductances, net.conductances)


def test_damage_during_training():
    net, task = allostery()
    rule = resistive.DiscreteRule(0.5)
    trained, record = resistive.train(net, task, rule, steps=600, records=60, damage={305: [8, 9]})
    assert trained.intact.sum() == 14
    assert record.steps[-1] == 600
    assert 305 in record.steps
    assert record.squared_error[-1] < 1e-3
    with pytest.raises(resistive.NetworkError, match="disconnected"):
        resistive.train(net, task, rule, steps=10, damage={5: [0, 1, 9]})


def test_tasks_refuse_the_impossible():
    with pytest.raises(resistive.NetworkError, match="averages"):
        resistive.regression((0, 1, 2), (3,), [[0.7, 0.5]])
    with pytest.raises(resistive.NetworkError, match="8 sources"):
        resistive.iris((0, 1), (2,))
    net, task = allostery()
    with pytest.raises(resistive.NetworkError, match="batch"):
        resistive.train(net, task, resistive.DiscreteRule(), steps=5, batch=3)


def test_iris_training_flowers_are_balanced_and_never_tested():
    task = resistive.iris(tuple(range(8)), (8,), seed=3)
    assert task.inputs.shape == (30, 8)
    assert task.test_inputs.shape == (120, 8)
    assert np.bincount(task.labels).tolist() == [10, 10, 10]
    np.testing.assert_allclose(task.inputs[:, :4] + task.inputs[:, 4:], 1.0)


@pytest.mark.parametrize("rule", ["conductance", "discrete"])
def test_iris_over_twenty_splits(rule):
    result = run_study("iris", rule, seeds=20)[0]
    assert result["test_accuracy"] >= 0.95


def test_power_efficient_learning_reaches_the_published_precision():
    result = run_study("power-efficient", steps=30_000)[0]
    assert result["relative_error"] < 1e-10


@pytest.mark.slow
def test_three_digits():
    assert run_study("digits")[0]["test_accuracy"] >= 0.93


def test_command_line_writes_record_and_figures(tmp_path):
    spec = importlib.util.spec_from_file_location("command", ROOT / "experiments/resistive.py")
    command = importlib.util.module_from_spec(spec)
    sys.modules["command"] = command
    spec.loader.exec_module(command)
    record = tmp_path / "a" / "record.json"
    command.main(command.Options(task="xor", seeds=2, steps=50, json=record, figures=tmp_path))
    found = json.loads(record.read_text())
    assert {"task", "rule", "seeds", "test_accuracy", "squared_error", "steps", "seconds"} <= set(
        found
    )
    assert len(list(tmp_path.glob("resistive_xor_conductance_*.png"))) == 2


def test_the_library_stands_alone():
    code = (
        "import sys, physjax.resistive; "
        "print([m for m in sys.modules if m.startswith('physjax.') and 'resistive' not in m"
        " or m in ('matplotlib', 'flax', 'optax')])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
