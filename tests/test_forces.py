"""The ring force against numbers worked out by hand, and its symmetry."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physjax.forces import LAWS, get_law, neighbor_sum


def test_neighbor_sum_by_hand() -> None:
    # c: 0 1 2 3 4; the neighbours of 0 are 4 and 1, those of 4 are 3 and 0.
    f = jnp.array([1.0, 10.0, 100.0, 1000.0, 10000.0])
    expected = [10010.0, 101.0, 1010.0, 10100.0, 1001.0]
    np.testing.assert_array_equal(neighbor_sum(f), expected)


@pytest.mark.parametrize(("f", "expected"), [([3.0], [6.0]), ([3.0, 5.0], [10.0, 6.0])])
def test_neighbor_sum_on_the_smallest_rings(f: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(neighbor_sum(jnp.array(f)), expected)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(-100, 100), st.integers(0, 2**31))
def test_neighbor_sum_commutes_with_cyclic_shifts(channels: int, shift: int, seed: int) -> None:
    f = jnp.asarray(np.random.default_rng(seed).normal(size=(2, channels)), jnp.float32)
    shifted_first = neighbor_sum(jnp.roll(f, shift, -1))
    np.testing.assert_array_equal(shifted_first, jnp.roll(neighbor_sum(f), shift, -1))


@pytest.mark.parametrize("channels", [4, 12, 64])
def test_ring_has_two_null_modes_where_four_divides_the_channels(channels: int) -> None:
    matrix = jax.vmap(neighbor_sum)(jnp.eye(channels))
    values = np.linalg.eigvalsh(np.asarray(matrix, np.float64))
    assert np.sum(np.abs(values) < 1e-6) == 2
    wave = jnp.tile(jnp.array([1.0, 0.0, -1.0, 0.0]), channels // 4)
    np.testing.assert_array_equal(neighbor_sum(wave), np.zeros(channels))


def test_ring_force_is_strength_times_neighbor_sum() -> None:
    params = {
        "interaction_strength": jnp.float32(2.5),
        "neighbor_forces": jnp.array([1.0, 2.0, 3.0, 4.0]),
    }
    y = jnp.zeros((2, 3, 3, 4))
    np.testing.assert_array_equal(LAWS["ring"].force(params, y), [15.0, 10.0, 15.0, 10.0])


def test_ring_gradient_against_finite_differences() -> None:
    rng = np.random.default_rng(0)
    f, w = rng.normal(size=(2, 7))

    def value(s: jax.Array, f: jax.Array) -> jax.Array:
        params = {"interaction_strength": s, "neighbor_forces": f}
        return jnp.sum(jnp.sin(LAWS["ring"].force(params, jnp.zeros(7))) * w)

    with jax.enable_x64(True):
        s0, f0, h = jnp.float64(1.7), jnp.asarray(f), 1e-6
        grad_s, grad_f = jax.grad(value, argnums=(0, 1))(s0, f0)
        np.testing.assert_allclose(
            grad_s, (value(s0 + h, f0) - value(s0 - h, f0)) / (2 * h), rtol=1e-7
        )
        for c in range(7):
            e = h * jnp.eye(7)[c]
            slope = (value(s0, f0 + e) - value(s0, f0 - e)) / (2 * h)
            np.testing.assert_allclose(grad_f[c], slope, rtol=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_start_values_exert_no_force(name: str) -> None:
    law = LAWS[name]
    y = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 3, 8)), jnp.float32)
    params = {k: jnp.asarray(v) for k, v in law.init(8).items()}
    force = law.force({**params, "interaction_strength": jnp.float32(2.8)}, y)
    np.testing.assert_array_equal(force, np.zeros(force.shape))


def test_unknown_law_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'magnet'.*none, ring"):
        get_law("magnet")
