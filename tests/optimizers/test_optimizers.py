"""The schedule's corners, which parameters decay or move faster, and each optimiser's steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from physjax.config import Config, ConfigError, ModelConfig, OptimConfig
from physjax.models import build, init_variables
from physjax.optimizers import get_optimizer, kernel_mask, make_schedule
from physjax.optimizers.masks import convolution_bias_mask
from physjax.train.choices import resolve_choices

pytestmark = pytest.mark.quick_compile


def made(name: str, config: OptimConfig, **own: float) -> optax.GradientTransformation:
    chosen = get_optimizer(name).configured(own)
    return chosen.transformation(config, make_schedule(config, 10))


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
    optimizer = made("sgd", config)
    state = optimizer.init(params)
    ones = jax.tree.map(jnp.ones_like, params)
    first, state = optimizer.update(ones, state, params)
    second, _ = optimizer.update(ones, state, params)
    # kernel: gradient 1 + 0.01 * 2; momentum makes the second step 1.9 times the first.
    np.testing.assert_allclose(first["conv"]["kernel"], -0.1 * 1.02, rtol=1e-6)
    np.testing.assert_allclose(second["conv"]["kernel"], -0.1 * 1.02 * 1.9, rtol=1e-6)
    np.testing.assert_allclose(first["conv"]["bias"], -0.1 * 64, rtol=1e-6)
    np.testing.assert_allclose(first["fc"]["bias"], -0.1, rtol=1e-6)


CONSTANT = {"schedule": "constant", "warmup": 0.0, "learning_rate": 0.1, "weight_decay": 0.01}


def random_params(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "conv": {
            "kernel": jnp.asarray(rng.normal(size=(3, 3, 4, 6)), jnp.float32),
            "norm": {"bias": jnp.asarray(rng.normal(size=6), jnp.float32)},
            "neighbor_forces": jnp.asarray(rng.normal(size=6), jnp.float32),
        },
        "fc": {
            "kernel": jnp.asarray(rng.normal(size=(5, 3)), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=3), jnp.float32),
        },
    }


def steps_of(optimizer: optax.GradientTransformation, count: int = 3) -> dict:
    params = random_params()
    state = optimizer.init(params)
    for seed in range(1, count + 1):
        updates, state = optimizer.update(random_params(seed), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("adamw", optax.adamw(0.1, b1=0.8, weight_decay=0.01, mask=kernel_mask)),
        ("lamb", optax.lamb(0.1, b1=0.8, weight_decay=0.01, mask=kernel_mask)),
    ],
)
def test_three_steps_are_those_of_optax(name: str, published: optax.GradientTransformation) -> None:
    ours = steps_of(made(name, OptimConfig(**CONSTANT), beta1=0.8))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, steps_of(published)
    )


def test_muon_orthogonalises_kernels_and_leaves_the_rest_to_sgd() -> None:
    config = OptimConfig(**CONSTANT, momentum=0.85, bias_scale=4.0)
    params, gradient = random_params(), random_params(1)
    optimizer = made("muon", config, rate=0.2, renew=False, newton_schulz_steps=8)
    steps, _ = optimizer.update(gradient, optimizer.init(params), params)
    plain = made("sgd", config)
    of_sgd, _ = plain.update(gradient, plain.init(params), params)
    for path in (("fc", "kernel"), ("fc", "bias"), ("conv", "neighbor_forces")):
        np.testing.assert_array_equal(steps[path[0]][path[1]], of_sgd[path[0]][path[1]])
    np.testing.assert_array_equal(steps["conv"]["norm"]["bias"], of_sgd["conv"]["norm"]["bias"])
    moved = np.asarray(steps["conv"]["kernel"]).reshape(-1, 6) / -0.2
    left, _, right = np.linalg.svd(
        np.asarray(gradient["conv"]["kernel"]).reshape(-1, 6), full_matrices=False
    )
    # The polynomial brings singular values to somewhere near 1, and leaves the vectors.
    inner = left.T @ moved @ right.T
    assert np.all((np.diag(inner) > 0.6) & (np.diag(inner) < 1.3))
    np.testing.assert_allclose(inner - np.diag(np.diag(inner)), 0, atol=1e-4)


def test_muon_turns_kernels_by_less_where_there_are_more_steps() -> None:
    params, gradient = random_params(), random_params(1)
    lengths = []
    for size, own in ((2000, {}), (500, {}), (500, {"rate": 0.24})):
        optimizer = made("muon", OptimConfig(**CONSTANT, batch_size=size), renew=False, **own)
        steps, _ = optimizer.update(gradient, optimizer.init(params), params)
        lengths.append(float(jnp.linalg.norm(steps["conv"]["kernel"])))
    np.testing.assert_allclose(lengths, [lengths[0], lengths[0] / 2, lengths[0]], rtol=1e-5)


def test_muon_keeps_the_length_of_filters_that_a_norm_follows() -> None:
    bare = random_params()
    del bare["conv"]["norm"]
    for params, kept in ((random_params(), True), (bare, False)):
        optimizer = made("muon", OptimConfig(**CONSTANT))
        steps, _ = optimizer.update(params, optimizer.init(params), params)
        after = optax.apply_updates(params, steps)
        length = float(jnp.linalg.norm(after["conv"]["kernel"]))
        assert (abs(length - np.sqrt(6)) < 1e-5) == kept


def test_an_optimiser_and_its_settings_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"optimiser 'muno'.*muon"):
        get_optimizer("muno")
    with pytest.raises(ConfigError, match=r"has no setting 'rat'.*optimizer\.rate"):
        get_optimizer("muon").configured({"rat": 0.1})
    with pytest.raises(ConfigError, match=r"optimizer\.beta"):
        get_optimizer("muon").configured({"beta": 1.0})


def test_what_an_optimiser_does_not_have_is_said() -> None:
    config = Config().set_all({"optim.optimizer": "adamw", "optim.momentum": 0.5})
    with pytest.raises(ConfigError, match=r"optim\.momentum is 0\.5, which does nothing"):
        resolve_choices(config)
    config = Config().set_all({"optim.optimizer": "adamw", "optimizer.rate": 0.5})
    with pytest.raises(ConfigError, match=r"optimizer\.rate is 0\.5, which does nothing"):
        resolve_choices(config)
