"""Pooling against Flax, against sums written out, and at ties."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from physjax.nn.physics import PhysicsLayer
from physjax.ops.pool import adaptive_avg_pool, avg_pool, max_pool


def distinct(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Values of which no two are equal: there the gradient of a maximum is unique."""
    values = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return jnp.asarray(values.reshape(shape) / values.size - 0.5, jnp.float32)


def weighted(pool: Callable[[Array], Array], weights: Array) -> Callable[[Array], Array]:
    return lambda x: (pool(x) * weights).sum()


@settings(derandomize=True, deadline=None, max_examples=6)
@given(
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.sampled_from(["VALID", "SAME", "pairs"]),
)
def test_max_pool_and_its_gradient_are_flax_ones(
    size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int], padding: str
) -> None:
    pads = ((window[0] - 1, 0), (0, window[1] - 1)) if padding == "pairs" else padding
    x = distinct((2, *size, 3))

    def ours(x: Array) -> Array:
        return max_pool(x, window, strides, pads)

    def theirs(x: Array) -> Array:
        return nn.max_pool(x, window, strides, pads)

    weights = distinct(jax.eval_shape(theirs, x).shape, seed=1)

    @jax.jit
    def values_and_gradients(x: Array) -> list[tuple[Array, Array]]:
        return [(pool(x), jax.grad(weighted(pool, weights))(x)) for pool in (ours, theirs)]

    (y, dx), (expected_y, expected_dx) = values_and_gradients(x)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_allclose(dx, expected_dx, atol=1e-6)


def test_strides_are_the_window_by_default() -> None:
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x, (2, 2))[0, :, :, 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(avg_pool(x, (2, 2))[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])


@pytest.mark.parametrize(
    ("window", "strides"),
    [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((2, 2), (3, 3)), ((3, 2), (2, 1)), ((12, 11), (1, 1))],
)
def test_at_ties_the_first_pixel_takes_the_gradient(
    window: tuple[int, int], strides: tuple[int, int]
) -> None:
    """Flax's gradients, on whole numbers of which many are equal and on a flat image."""
    numbers = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 13, 14, 3)), jnp.float32)
    weights = distinct(jax.eval_shape(lambda x: max_pool(x, window, strides), numbers).shape)

    @jax.jit
    def gradients(x: Array) -> list[Array]:
        pools = (max_pool, nn.max_pool)
        return [
            jax.grad(weighted(partial(pool, strides=strides), weights))(x)
            for pool in (partial(pools[0], window=window), partial(pools[1], window_shape=window))
        ]

    for x in (numbers, jnp.ones_like(numbers)):
        ours, theirs = gradients(x)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_gradient_of_a_tie_by_hand() -> None:
    x = jnp.array([[1.0, 3.0], [3.0, 3.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: 6.0 * max_pool(x, (2, 2)).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 6], [0, 0]])


@pytest.mark.parametrize("place", range(4))
def test_nan_wins_wherever_it_stands(place: int) -> None:
    x = jnp.arange(4.0).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
    y, gradient = jax.value_and_grad(lambda x: max_pool(x, (2, 2)).sum())(x)
    assert np.isnan(y)
    np.testing.assert_array_equal(gradient.ravel(), np.eye(4)[place])


def test_gradients_through_a_layer_with_a_force_are_flax_ones() -> None:
    """Compiled as a whole: XLA computes what the pool sees more than once, and rounds it anew."""
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (4, 64, 64, 3))

    def gradients(pool: Callable[[Array], Array]) -> dict[str, Array]:
        one = PhysicsLayer(64, 11, 4, 2, activation=nn.relu, pool=pool)
        two = PhysicsLayer(16, 5, 1, 2, activation=nn.relu, pool=pool)
        first = one.init(keys[1], x)["params"]
        forces = 0.02 * jax.random.normal(keys[2], (64,))
        second = two.init(keys[3], jnp.zeros((1, 7, 7, 64)))

        def loss(first: dict[str, Array]) -> Array:
            return two.apply(second, one.apply({"params": first}, x)).mean()

        return jax.jit(jax.grad(loss))({**first, "neighbor_forces": forces})

    expected = gradients(partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2)))
    for name, got in gradients(partial(max_pool, window=(3, 3), strides=(2, 2))).items():
        error = jnp.linalg.norm(got - expected[name]) / jnp.linalg.norm(expected[name])
        assert error < 1e-5, name


def test_the_winners_lie_in_memory_between_the_passes() -> None:
    """Else XLA looks for them again in the backward pass: slow, and with other rounding."""
    step = jax.jit(jax.grad(lambda x: (max_pool(jnp.sin(x), (3, 3), (2, 2)) ** 2).sum()))
    text = step.lower(jnp.zeros((2, 7, 7, 4))).compile().as_text()
    assert re.search(r"= s8\[2,3,3,4\]\S* call\(", text)


def test_negative_images_never_lose_to_the_padding() -> None:
    x = -jnp.ones((1, 3, 3, 1))
    np.testing.assert_array_equal(max_pool(x, (3, 3), (1, 1), "SAME"), x)


@pytest.mark.parametrize(("window", "strides"), [((2, 2), (2, 2)), ((3, 3), (2, 2))])
def test_max_pool_under_jit_vmap_and_two_derivatives(
    window: tuple[int, int], strides: tuple[int, int]
) -> None:
    x = distinct((3, 2, 7, 7, 2))

    def loss(x: Array) -> Array:
        return (max_pool(x, window, strides) ** 3).sum()

    gradient = jax.jit(jax.grad(loss))
    each = jnp.stack([gradient(image) for image in x])
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(loss)))(x), each, rtol=1e-6)

    def reference(x: Array) -> Array:
        return (nn.max_pool(x, window, strides) ** 3).sum()

    direction = distinct(x[0].shape, seed=2)
    expected = jax.jvp(jax.grad(reference), (x[0],), (direction,))[1]
    forward = jax.jit(lambda x: jax.jvp(jax.grad(loss), (x,), (direction,))[1])(x[0])
    reverse = jax.jit(jax.grad(lambda x: (jax.grad(loss)(x) * direction).sum()))(x[0])
    assert float(jnp.abs(expected).max()) > 0
    np.testing.assert_allclose(forward, expected, atol=1e-5)
    np.testing.assert_allclose(reverse, expected, atol=1e-5)


def test_max_pool_in_half_precision_keeps_its_dtype() -> None:
    x = jnp.arange(32).reshape(1, 4, 4, 2).astype(jnp.bfloat16)
    y, back = jax.vjp(lambda x: max_pool(x, (3, 3), (1, 1)), x)
    assert y.dtype == jnp.bfloat16
    assert back(y)[0].dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, nn.max_pool(x, (3, 3), (1, 1)))


@pytest.mark.parametrize("padding", ["VALID", "SAME", ((1, 0), (0, 1))])
@pytest.mark.parametrize("count", [True, False])
@pytest.mark.parametrize("strides", [(2, 2), (1, 2)])
def test_avg_pool_is_flax_one(
    padding: str | tuple[tuple[int, int], tuple[int, int]], count: bool, strides: tuple[int, int]
) -> None:
    x = distinct((2, 7, 6, 3))
    ours = avg_pool(x, (2, 2), strides, padding, count)
    np.testing.assert_allclose(ours, nn.avg_pool(x, (2, 2), strides, padding, count), atol=1e-6)


@pytest.mark.parametrize(("size", "output"), [((6, 9), (3, 3)), ((7, 5), (3, 4)), ((2, 1), (6, 6))])
def test_adaptive_avg_pool_is_the_mean_of_each_span(
    size: tuple[int, int], output: tuple[int, int]
) -> None:
    x = np.asarray(distinct((2, *size, 3)))
    expected = np.empty((2, *output, 3), np.float32)
    for i in range(output[0]):
        rows = slice(
            int(np.floor(i * size[0] / output[0])), int(np.ceil((i + 1) * size[0] / output[0]))
        )
        for j in range(output[1]):
            columns = slice(
                int(np.floor(j * size[1] / output[1])), int(np.ceil((j + 1) * size[1] / output[1]))
            )
            expected[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), output), expected, atol=1e-6)


def test_adaptive_avg_pool_of_the_output_size_is_the_identity() -> None:
    x = distinct((1, 6, 6, 2))
    assert adaptive_avg_pool(x, (6, 6)) is x


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 2),), r"window=\(0, 2\)"),
        (((2, 2), (0, 1)), r"strides=\(0, 1\)"),
        (((5, 5),), r"window=\(5, 5\) is larger"),
        (((2, 2), None, "FULL"), "padding='FULL'"),
        (((2, 2), None, 3), "padding=3"),
        (((2, 2), None, ((2, 0), (0, 0))), "must touch the image"),
    ],
)
def test_what_does_not_fit_is_named(pool: Callable, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pool(jnp.zeros((1, 4, 4, 1)), *arguments)


def test_adaptive_avg_pool_names_an_empty_output() -> None:
    with pytest.raises(ValueError, match=r"\(0, 6\)"):
        adaptive_avg_pool(jnp.zeros((1, 4, 4, 1)), (0, 6))
