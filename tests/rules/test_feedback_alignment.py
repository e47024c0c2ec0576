"""Feedback alignment: the error goes back through the fixed kernel, and the network learns."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.steps import configure, states_of
from physjax.config import RECIPES
from physjax.data import load
from physjax.nn.dense import Dense
from physjax.nn.physics import PhysicsLayer
from physjax.rules import RULES

pytestmark = pytest.mark.quick_compile

CONNECTION = RULES["feedback-alignment"].connection


def gradients(layer: Any, params: Any, x: jax.Array, dy: jax.Array) -> Any:
    """Of <layer(x), dy> with respect to the parameters and x."""
    return jax.grad(lambda p, v: jnp.vdot(layer.apply({"params": p}, v), dy), argnums=(0, 1))(
        params, x
    )


def test_a_dense_layers_gradients_by_hand() -> None:
    layer = Dense(2, connection=CONNECTION)
    x, dy = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.0, -1.0]])
    params = {
        "kernel": jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
        "feedback": jnp.array([[5.0, 1.0], [0.0, 2.0], [3.0, 3.0]]),
        "bias": jnp.zeros(2),
    }
    np.testing.assert_array_equal(layer.apply({"params": params}, x), [[4.0, 5.0]])
    by_params, by_x = gradients(layer, params, x, dy)
    # x^T dy, and dy B^T where backpropagation has dy W^T = [1, -1, 0].
    np.testing.assert_array_equal(by_params["kernel"], [[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]])
    np.testing.assert_array_equal(by_x, [[4.0, -2.0, 0.0]])
    np.testing.assert_array_equal(by_params["feedback"], np.zeros((3, 2)))


def test_a_convolution_whose_feedback_is_its_kernel_is_backpropagation() -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 6, 6, 4)), jnp.float32)
    dy = jnp.asarray(rng.normal(size=(2, 6, 6, 8)), jnp.float32)
    plain, aligned = PhysicsLayer(8), PhysicsLayer(8, connection=CONNECTION)
    params = plain.init(jax.random.key(0), x)["params"]
    same = gradients(aligned, {**params, "feedback": params["kernel"]}, x, dy)
    other = gradients(aligned, {**params, "feedback": -params["kernel"]}, x, dy)
    by_params, by_x = gradients(plain, params, x, dy)
    np.testing.assert_allclose(same[1], by_x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other[1], -by_x, rtol=1e-5, atol=1e-5)
    for found in (same[0], other[0]):
        for name, value in by_params.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-4)


def test_feedback_starts_unlike_the_kernel_and_stays() -> None:
    config = configure(rule={"update_rule": "feedback-alignment"})
    digits = load(RECIPES["smoke"].data)
    before, _, after = states_of(config, digits, 1, 2)
    for name, layer in before.params.items():
        kernel, feedback = np.ravel(layer["kernel"]), np.ravel(layer["feedback"])
        cosine = kernel @ feedback / np.linalg.norm(kernel) / np.linalg.norm(feedback)
        assert abs(cosine) < 5 / np.sqrt(kernel.size)
        np.testing.assert_array_equal(after.params[name]["feedback"], layer["feedback"])
        assert np.abs(after.params[name]["kernel"] - layer["kernel"]).max() > 0
