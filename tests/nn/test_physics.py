"""PhysicsLayer: its parameters, its shapes, its symmetry, and what it refuses."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from physjax.config import ModelConfig
from physjax.forces import LAWS, neighbor_sum
from physjax.models import build, init_variables
from physjax.nn.conv import Conv
from physjax.nn.dense import Dense
from physjax.nn.initializers import dirac_kernel_init, torch_bias_init, torch_kernel_init
from physjax.nn.physics import PhysicsLayer
from physjax.ops.pool import max_pool

pytestmark = pytest.mark.quick_compile

NORM = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)


def random(shape: tuple[int, ...], seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def randomize(params: Any, seed: int = 0) -> Any:
    leaves, tree = jax.tree.flatten(params)
    return jax.tree.unflatten(tree, [random(x.shape, seed + i) for i, x in enumerate(leaves)])


def test_parameters_are_one_dictionary_under_the_names_of_the_paper() -> None:
    params = PhysicsLayer(8).init(jax.random.key(0), jnp.ones((1, 6, 6, 3)))["params"]
    assert {name: value.shape for name, value in params.items()} == {
        "kernel": (3, 3, 3, 8),
        "bias": (8,),
        "interaction_strength": (),
        "neighbor_forces": (8,),
    }
    assert params["interaction_strength"] == jnp.float32(2.8)
    np.testing.assert_array_equal(params["neighbor_forces"], np.zeros(8))


def test_norm_replaces_the_bias_and_the_force_comes_after_it() -> None:
    layer = PhysicsLayer(8, norm=NORM)
    x = random((4, 6, 6, 3))
    variables = layer.init(jax.random.key(0), x)
    assert set(variables["params"]) == {
        "kernel",
        "norm",
        "interaction_strength",
        "neighbor_forces",
    }
    pushed = {**variables["params"], "neighbor_forces": random((8,))}
    calm, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    moved, _ = layer.apply({**variables, "params": pushed}, x, train=True, mutable=["batch_stats"])
    force = 2.8 * neighbor_sum(pushed["neighbor_forces"])
    np.testing.assert_allclose(
        moved - calm, np.broadcast_to(force, calm.shape), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("norm", [None, NORM], ids=["bias", "batch norm"])
@pytest.mark.parametrize("law", [name for name in LAWS if LAWS[name].starts_plain])
def test_start_of_every_law_is_the_plain_convolution_bit_for_bit(law: str, norm: Any) -> None:
    x = random((2, 7, 5, 3))
    layer = PhysicsLayer(6, law=law, norm=norm, activation=nn.relu)
    plain = PhysicsLayer(6, law="none", norm=norm, activation=nn.relu)
    variables = layer.init(jax.random.key(1), x)
    plain_variables = plain.init(jax.random.key(1), x)
    for name, value in plain_variables["params"].items():
        jax.tree.map(np.testing.assert_array_equal, variables["params"][name], value)
    np.testing.assert_array_equal(layer.apply(variables, x), plain.apply(plain_variables, x))


def test_layer_by_hand() -> None:
    # A 1x1 kernel of ones: every channel is the pixel, plus bias, plus 2 (f[c-1] + f[c+1]).
    params = {
        "kernel": jnp.ones((1, 1, 1, 3)),
        "bias": jnp.array([0.1, 0.2, 0.3]),
        "interaction_strength": jnp.float32(2.0),
        "neighbor_forces": jnp.array([1.0, 10.0, 100.0]),
    }
    x = jnp.array([[[[5.0], [7.0]]]])
    y = PhysicsLayer(3, kernel_size=1).apply({"params": params}, x)
    force = np.array([220.0, 202.0, 22.0])
    plain = np.array([[[[5.1, 5.2, 5.3], [7.1, 7.2, 7.3]]]])
    np.testing.assert_allclose(y, plain + force, rtol=1e-6)


@settings(derandomize=True, deadline=None, max_examples=8)
@given(st.sampled_from([2, 5, 9]), st.integers(-9, 9), st.booleans())
def test_rolling_the_parameters_rolls_the_output(channels: int, shift: int, norm: bool) -> None:
    x = random((2, 5, 5, 2))
    layer = PhysicsLayer(
        channels, norm=NORM if norm else None, activation=nn.relu, algorithm="direct"
    )
    variables = layer.init(jax.random.key(0), x)
    params = randomize(variables["params"])
    # The strength is one number for all channels; everything else ends in the channel axis.
    rolled = jax.tree.map(lambda v: np.roll(v, shift, -1) if v.ndim else v, params)
    one = layer.apply({**variables, "params": params}, x)
    two = layer.apply({**variables, "params": rolled}, x)
    np.testing.assert_allclose(two, np.roll(one, shift, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "strides", "padding", "expected"),
    [
        (3, 1, "SAME", (9, 7)),
        (3, 2, "SAME", (5, 4)),
        (3, 1, "VALID", (7, 5)),
        (5, (2, 1), 2, (5, 7)),
        ((3, 1), 1, ((1, 0), (0, 2)), (8, 9)),
        (11, 4, 2, (1, 1)),
    ],
)
def test_output_shapes(kernel: Any, strides: Any, padding: Any, expected: tuple) -> None:
    layer = PhysicsLayer(4, kernel_size=kernel, strides=strides, padding=padding)
    shape = jax.eval_shape(layer.init_with_output, jax.random.key(0), jnp.ones((2, 9, 7, 3)))[0]
    assert shape.shape == (2, *expected, 4)


def test_bfloat16_keeps_parameters_in_float32() -> None:
    layer = PhysicsLayer(4, dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(jax.random.key(0), random((1, 4, 4, 3)))
    assert y.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("learn", [True, False])
def test_a_fixed_strength_gets_no_gradient(learn: bool) -> None:
    layer = PhysicsLayer(4, learn_strength=learn)
    x = random((1, 4, 4, 3))
    params = randomize(layer.init(jax.random.key(0), x)["params"])
    grads = jax.grad(lambda p: jnp.sum(layer.apply({"params": p}, x)))(params)
    assert (grads["interaction_strength"] != 0) == learn
    assert np.all(grads["neighbor_forces"] != 0)


def test_diagnostics_are_the_rms_of_the_force() -> None:
    layer = PhysicsLayer(4)
    x = random((1, 4, 4, 3))
    params = randomize(layer.init(jax.random.key(0), x)["params"])
    _, sown = layer.apply({"params": params}, x, mutable=["diagnostics"])
    force = params["interaction_strength"] * neighbor_sum(params["neighbor_forces"])
    expected = np.sqrt(np.mean(np.square(force)))
    np.testing.assert_allclose(sown["diagnostics"]["force_rms"], expected, rtol=1e-6)


def test_a_convolution_alone_is_what_the_layer_starts_from() -> None:
    x = random((2, 6, 6, 3))
    alone, layer = Conv(5, kernel_size=(3, 2), strides=2), PhysicsLayer(5, (3, 2), 2, law="none")
    variables = alone.init(jax.random.key(0), x)
    assert set(variables["params"]) == {"kernel"}
    params = layer.init(jax.random.key(0), x)["params"]
    np.testing.assert_array_equal(variables["params"]["kernel"], params["kernel"])
    # The bias starts at zero.
    np.testing.assert_array_equal(alone.apply(variables, x), layer.apply({"params": params}, x))


@pytest.mark.parametrize("norm", [None, NORM], ids=["bias", "batch norm"])
def test_a_linear_law_acts_on_the_kernel_as_on_what_the_convolution_gives(norm: Any) -> None:
    x = random((4, 7, 5, 3))
    layer = PhysicsLayer(6, law="spring", norm=norm, activation=nn.relu)
    variables = layer.init(jax.random.key(0), x)
    variables = {**variables, "params": randomize(variables["params"])}
    on_kernel = layer.apply(variables, x)
    # Who asks for the force itself gets it: then it acts on the convolution's output.
    on_values, sown = layer.apply(variables, x, mutable=["diagnostics"])
    np.testing.assert_allclose(on_kernel, on_values, rtol=1e-5, atol=1e-5)
    params = variables["params"]
    values = Conv(6).apply({"params": {"kernel": params["kernel"]}}, x)
    if norm is None:
        values = values + jnp.broadcast_to(params["bias"], values.shape)
    force = LAWS["spring"].force(params, values)
    rms = np.sqrt(np.mean(np.square(force)))
    assert rms > 0.1
    np.testing.assert_allclose(sown["diagnostics"]["force_rms"], rms, rtol=1e-5)


def test_order_of_pool_and_force() -> None:
    # One pixel's channel wins the pool; what divides it is the pooled neighbours' energy.
    pool = partial(max_pool, window=(2, 2))
    x = random((2, 4, 4, 3))
    for law in ("ring", "divisive"):
        layer = PhysicsLayer(6, law=law, activation=nn.relu, pool=pool)
        params = randomize(layer.init(jax.random.key(0), x)["params"])
        before = PhysicsLayer(6, law="none").apply(
            {"params": {name: params[name] for name in ("kernel", "bias")}}, x
        )
        if law == "ring":
            force = LAWS[law].force(params, before)
            expected = pool(nn.relu(before + jnp.broadcast_to(force, before.shape)))
        else:
            pooled = pool(nn.relu(before))
            expected = pooled + LAWS[law].force(params, pooled)
        y = layer.apply({"params": params}, x)
        assert y.shape == (2, 2, 2, 6)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": 0}, "features is 0"),
        ({"features": 4, "strides": 0}, "strides is 0"),
        ({"features": 4, "strides": (1, -1)}, r"strides is \(1, -1\)"),
        ({"features": 4, "kernel_size": (3, 3, 3)}, r"kernel_size is \(3, 3, 3\)"),
        ({"features": 4, "padding": "REFLECT"}, "REFLECT"),
        ({"features": 4, "padding": -1}, "-1"),
        ({"features": 4, "law": "magnet"}, "magnet"),
        ({"features": 4, "algorithm": "magic"}, "magic"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhysicsLayer(**arguments).init(jax.random.key(0), jnp.ones((1, 6, 6, 3)))


def test_images_without_a_batch_axis_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(6, 6, 3\).*\[N, H, W, C\]"):
        PhysicsLayer(4).init(jax.random.key(0), jnp.ones((6, 6, 3)))


def test_torch_initialisation_is_uniform_within_one_over_root_fan_in() -> None:
    kernel = torch_kernel_init(jax.random.key(0), (5, 5, 8, 64))
    bound = 1 / np.sqrt(5 * 5 * 8)
    assert np.abs(kernel).max() <= bound
    np.testing.assert_allclose(np.std(kernel), bound / np.sqrt(3), rtol=0.02)
    bias = torch_bias_init(200)(jax.random.key(1), (4096,))
    assert np.abs(bias).max() <= bound
    np.testing.assert_allclose(np.std(bias), bound / np.sqrt(3), rtol=0.05)


def test_dense_is_a_matrix_product_plus_bias() -> None:
    layer, x = Dense(5), random((3, 4))
    params = randomize(layer.init(jax.random.key(0), x)["params"])
    expected = np.asarray(x) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, rtol=1e-5)


def test_a_dirac_start_passes_the_first_channels_on() -> None:
    shape = (3, 3, 4, 6)
    kernel = dirac_kernel_init(jax.random.key(0), shape)
    layer = PhysicsLayer(6, law="none", kernel_init=dirac_kernel_init)
    images = random((2, 5, 5, 4))
    y = layer.apply({"params": {"kernel": kernel, "bias": jnp.zeros(6)}}, images)
    np.testing.assert_allclose(y[..., :4], images, atol=1e-6)
    assert np.abs(y[..., 4:]).max() > 0.1


def test_a_uniform_start_lies_within_one_over_the_root_of_the_fan_in() -> None:
    config = ModelConfig(name="vgg5", norm="none", kernel_start="uniform", width=0.1)
    params = init_variables(build(config, 10), jax.random.key(0), 32)["params"]
    assert len(params) == 6
    for layer in params.values():
        fan_in = math.prod(layer["kernel"].shape[:-1])
        for values in layer["kernel"], layer["bias"]:
            assert 0.5 < np.abs(values).max() * fan_in**0.5 <= 1


@pytest.mark.parametrize("first", [True, False])
def test_a_pool_stands_before_the_norm_or_after_the_activation(first: bool) -> None:
    layer = PhysicsLayer(
        4,
        law="ring",
        norm=NORM,
        activation=nn.gelu,
        pool=partial(max_pool, window=(2, 2)),
        pool_first=first,
    )
    images = random((2, 6, 6, 3))
    variables = layer.init(jax.random.key(0), images)
    variables = {**variables, "params": randomize(variables["params"])}
    params = variables["params"]

    def norm(y: Any) -> np.ndarray:
        y = np.asarray(y)
        mean, var = np.mean(y, (0, 1, 2)), np.var(y, (0, 1, 2))
        scale, bias = np.asarray(params["norm"]["scale"]), np.asarray(params["norm"]["bias"])
        return np.asarray((y - mean) / np.sqrt(var + 1e-5) * scale + bias)

    plain = PhysicsLayer(4, law="none")
    y = plain.apply({"params": {"kernel": params["kernel"], "bias": jnp.zeros(4)}}, images)
    force = np.asarray(params["interaction_strength"] * neighbor_sum(params["neighbor_forces"]))
    pool = partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))
    before, after = nn.gelu(norm(pool(y)) + force), pool(nn.gelu(norm(y) + force))
    expected = before if first else after
    found, _ = layer.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
