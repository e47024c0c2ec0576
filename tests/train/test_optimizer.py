"""The schedule's corners, and which parameters decay or move faster."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physjax.config import ModelConfig, OptimConfig
from physjax.models import build, init_variables
from physjax.train.optimizer import (
    convolution_bias_mask,
    kernel_mask,
    make_optimizer,
    make_schedule,
)


def test_schedule_rises_to_the_peak_and_falls_to_zero() -> None:
    config = OptimConfig(learning_rate=0.5, schedule="linear", warmup=0.25)
    rates = [float(make_schedule(config, 40)(i)) for i in range(41)]
    np.testing.assert_allclose(rates[:10], 0.05 * np.arange(1, 11), rtol=1e-6)
    np.testing.assert_allclose(rates[10:], 0.5 * (1 - np.arange(31) / 30), rtol=1e-5, atol=1e-7)


def test_constant_schedule_without_warmup_is_constant() -> None:
    config = OptimConfig(learning_rate=0.01, schedule="constant", warmup=0.0)
    assert {float(make_schedule(config, 100)(i)) for i in (0, 1, 99)} == {0.01}


def test_cosine_is_half_way_down_in_the_middle() -> None:
    config = OptimConfig(learning_rate=1.0, schedule="cosine", warmup=0.0)
    np.testing.assert_allclose(make_schedule(config, 100)(50), 0.5, rtol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_masks_pick_kernels_and_the_biases_of_convolutions(norm: str) -> None:
    config = ModelConfig("physics", norm=norm, width=0.07, algorithm="direct")  # type: ignore[arg-type]
    params = init_variables(build(config, 10), jax.random.key(0), 32)["params"]

    def chosen(mask: dict) -> set[str]:
        flat, _ = jax.tree_util.tree_flatten_with_path(mask)
        return {"/".join(k.key for k in path) for path, value in flat if value}

    layers = [f"conv{i}" for i in range(1, 6)]
    kernels = {f"{name}/kernel" for name in (*layers, "fc1", "fc2")}
    assert chosen(kernel_mask(params)) == kernels
    inner = "norm/bias" if norm == "batch" else "bias"
    assert chosen(convolution_bias_mask(params)) == {f"{name}/{inner}" for name in layers}


def test_one_step_of_sgd_by_hand() -> None:
    config = OptimConfig(
        learning_rate=0.1,
        schedule="constant",
        warmup=0.0,
        momentum=0.9,
        nesterov=False,
        weight_decay=0.01,
        bias_scale=64.0,
    )
    params = {
        "conv": {"kernel": jnp.full((1, 1, 1, 1), 2.0), "bias": jnp.array([3.0])},
        "fc": {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.array([3.0])},
    }
    optimizer = make_optimizer(config, 10)
    state = optimizer.init(params)
    ones = jax.tree.map(jnp.ones_like, params)
    first, state = optimizer.update(ones, state, params)
    second, _ = optimizer.update(ones, state, params)
    # kernel: gradient 1 + 0.01 * 2; momentum makes the second step 1.9 times the first.
    np.testing.assert_allclose(first["conv"]["kernel"], -0.1 * 1.02, rtol=1e-6)
    np.testing.assert_allclose(second["conv"]["kernel"], -0.1 * 1.02 * 1.9, rtol=1e-6)
    np.testing.assert_allclose(first["conv"]["bias"], -0.1 * 64, rtol=1e-6)
    np.testing.assert_allclose(first["fc"]["bias"], -0.1, rtol=1e-6)
