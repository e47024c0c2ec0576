"""Coupled learning between channels: Eq. (1) by hand, and its place in the train step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from helpers.steps import assert_close, configure, run_steps, without_ties
from physjax.nn.fold import fold
from physjax.nn.physics import PhysicsLayer
from physjax.nn.taps import PERTURBATIONS, VOLTAGES, zero_perturbations
from physjax.rules.coupled import COUPLED, moved_resistances, squared_drop_changes

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def noise() -> Any:
    return without_ties()


def test_squared_drops_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    free_in, free_out = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    pull_in, pull_out = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    eta = 0.3
    expected = np.zeros((3, 4))
    for n in range(5):
        for c in range(3):
            for o in range(4):
                free = free_in[n, c] - free_out[n, o]
                clamped = (free_in[n, c] - eta * pull_in[n, c]) - (
                    free_out[n, o] - eta * pull_out[n, o]
                )
                expected[c, o] += clamped**2 - free**2
    voltages = {"a": {"input": jnp.asarray(free_in), "output": jnp.asarray(free_out)}}
    pulls = {"a": {"input": pull_in[:, None, None], "output": pull_out[:, None, None]}}
    changes = squared_drop_changes(voltages, pulls, eta)
    np.testing.assert_allclose(changes["a"]["drops"], expected, rtol=1e-4, atol=1e-5)
    # A held source does not move.
    source = {"a": {"source": voltages["a"]["input"], "output": voltages["a"]["output"]}}
    held = squared_drop_changes(source, {"a": {"output": pulls["a"]["output"]}}, eta)
    zero = {"a": {**pulls["a"], "input": 0 * pulls["a"]["input"]}}
    assert_close(held, squared_drop_changes(voltages, zero, eta), rtol=1e-6)


def test_resistances_follow_equation_one_within_their_bounds() -> None:
    params = {"a": {"kernel": jnp.ones(2), "resistances": jnp.array([[1.0, 2.0, 0.5, 9.0]])}}
    changes = {"a": {"drops": jnp.array([[3.0, -4.0, -90.0, 9e5]])}}
    moved = moved_resistances(params, changes, 0.01, (0.1, 10.0))
    # R + gamma / R^2 (dV_C^2 - dV_F^2)
    assert jax.tree.map(jnp.shape, moved) == {"a": {"resistances": (1, 4)}}
    np.testing.assert_allclose(moved["a"]["resistances"], [[1.03, 1.99, 0.1, 10.0]], rtol=1e-6)


def test_resistances_divide_the_kernel_and_get_no_gradient() -> None:
    layer = PhysicsLayer(2, kernel_size=1, law="none", connection=COUPLED.connection)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 4)), jnp.float32)
    params = layer.init(jax.random.key(0), x)["params"]
    np.testing.assert_array_equal(params["resistances"], np.ones((4, 2)))
    resistances = jnp.array([[1.0, 2.0], [4.0, 0.5], [1.0, 1.0], [8.0, 1.0]])
    params = {**params, "resistances": resistances}
    y = layer.apply({"params": params}, x)
    expected = np.einsum("nhwc,co->nhwo", x, params["kernel"][0, 0] / resistances)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    grads = jax.grad(lambda p: jnp.sum(layer.apply({"params": p}, x) ** 2))(params)
    np.testing.assert_array_equal(grads["resistances"], np.zeros((4, 2)))


def test_perturbations_measure_the_gradient_by_a_channels_voltage() -> None:
    layer = PhysicsLayer(2, law="none", connection=COUPLED.connection, activation=nn.relu)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 4)), jnp.float32)
    params = layer.init(jax.random.key(0), x)["params"]

    def loss(perturbations: Any) -> tuple[jax.Array, Any]:
        y, seen = layer.apply({"params": params, **perturbations}, x, mutable=[VOLTAGES])
        return jnp.sum(y**2), (seen[VOLTAGES], y)

    _, (voltages, y) = loss({})
    np.testing.assert_allclose(voltages["input"], np.mean(x, (1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(voltages["output"], np.mean(y, (1, 2)), rtol=1e-5)
    zeros = {PERTURBATIONS: zero_perturbations(voltages)}
    pulls = jax.grad(loss, has_aux=True)(zeros)[0][PERTURBATIONS]
    # d/dV sum (y + V)^2 = 2 sum y over the pixels
    np.testing.assert_allclose(pulls["output"][:, 0, 0], 2 * np.sum(y, (1, 2)), rtol=1e-5)
    step = 1e-2
    ahead = jnp.sum(layer.apply({"params": params}, x.at[0, :, :, 1].add(step)) ** 2)
    behind = jnp.sum(layer.apply({"params": params}, x.at[0, :, :, 1].add(-step)) ** 2)
    np.testing.assert_allclose(pulls["input"][0, 0, 0, 1], (ahead - behind) / (2 * step), rtol=2e-2)


def test_the_image_is_held() -> None:
    layer = PhysicsLayer(8, law="none", connection=COUPLED.connection, source=True)
    images = jnp.ones((2, 5, 5, 3))
    voltages = layer.init_with_output(jax.random.key(0), images, mutable=True)[1][VOLTAGES]
    np.testing.assert_array_equal(voltages["source"], np.ones((2, 3)))
    zeros = zero_perturbations({"a": voltages})
    assert jax.tree.map(jnp.shape, zeros) == {"a": {"output": (2, 1, 1, 8)}}


def coupled(gamma: float, **parts: dict) -> Any:
    return configure(
        **{
            "rule": {"update_rule": "coupled", "gamma": gamma},
            "optim": {"schedule": "constant", "warmup": 0.0},
            **parts,
        }
    )


def test_gamma_zero_is_the_plain_model(noise: Any) -> None:
    """But for rounding: the voltages are read off in another program."""
    still = run_steps(coupled(0.0), noise, 1, 2)
    plain = run_steps(configure(optim={"schedule": "constant", "warmup": 0.0}), noise, 1, 2)
    for name, layer in plain.params.items():
        for part, value in layer.items():
            assert_close(still.params[name][part], value, rtol=1e-4, atol=1e-5)
    for name in ("conv1", "conv2", "conv3"):
        resistances = still.params[name]["resistances"]
        np.testing.assert_array_equal(resistances, np.ones_like(resistances))


def test_resistances_learn_within_their_bounds(noise: Any) -> None:
    one = run_steps(coupled(0.05, model={"dropout": 0.0}), noise, 1, 2)
    for name in ("conv1", "conv2", "conv3"):
        resistances = one.params[name]["resistances"]
        assert np.abs(resistances - 1).max() > 1e-4
        assert resistances.min() >= 0.1
        assert resistances.max() <= 10


def test_resistances_fold_into_the_kernel() -> None:
    rng = np.random.default_rng(0)
    layer = PhysicsLayer(4, connection=COUPLED.connection)
    x = jnp.asarray(rng.normal(size=(2, 5, 5, 3)), jnp.float32)
    params = layer.init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda v: v + jnp.asarray(rng.uniform(0.1, 1, v.shape)), params)
    folded = fold({"params": {"a": params}}, "ring", COUPLED.connection)["params"]["a"]
    assert set(folded) == {"kernel", "bias"}
    plain = PhysicsLayer(4, law="none").apply({"params": folded}, x)
    expected = layer.apply({"params": params}, x)
    np.testing.assert_allclose(plain, expected, rtol=1e-5, atol=1e-5)
