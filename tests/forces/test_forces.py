"""Every force law against numbers worked out by hand, its symmetry and its gradient."""

from __future__ import annotations

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physjax.config import ConfigError
from physjax.forces import LAWS, ForceLaw, LawError, check_law, get_law, neighbor_sum
from physjax.forces.neighborhood import exponential_weights, neighborhood_sum
from physjax.nn.physics import PhysicsLayer

pytestmark = pytest.mark.quick_compile

# The channels of these lie on a line, as published.
ON_A_LINE = ("lrn", "miller")
RING_LAWS = [name for name in LAWS if name not in ON_A_LINE]


def random_params(law: ForceLaw, channels: int, seed: int) -> dict[str, Any]:
    """Parameters large enough to matter, the strength among them."""
    rng = np.random.default_rng(seed)
    own = {name: rng.normal(size=v.shape) * 0.3 for name, v in law.start(channels).items()}
    return {**own, "interaction_strength": np.asarray(1.7)}


def test_neighbor_sum_by_hand() -> None:
    # c: 0 1 2 3 4; the neighbours of 0 are 4 and 1, those of 4 are 3 and 0.
    f = jnp.array([1.0, 10.0, 100.0, 1000.0, 10000.0])
    expected = [10010.0, 101.0, 1010.0, 10100.0, 1001.0]
    np.testing.assert_array_equal(neighbor_sum(f), expected)


@pytest.mark.parametrize(("f", "expected"), [([3.0], [6.0]), ([3.0, 5.0], [10.0, 6.0])])
def test_neighbor_sum_on_the_smallest_rings(f: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(neighbor_sum(jnp.array(f)), expected)


@settings(derandomize=True, deadline=None, max_examples=12)
@given(st.integers(1, 70), st.integers(-100, 100), st.integers(0, 2**31))
def test_neighbor_sum_commutes_with_cyclic_shifts(channels: int, shift: int, seed: int) -> None:
    f = np.random.default_rng(seed).normal(size=(2, channels)).astype(np.float32)
    shifted_first = neighbor_sum(jnp.asarray(np.roll(f, shift, -1)))
    np.testing.assert_array_equal(shifted_first, np.roll(neighbor_sum(jnp.asarray(f)), shift, -1))


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
def test_zero_parameters_and_start_values_exert_no_force(name: str) -> None:
    law = LAWS[name]
    y = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 3, 8)), jnp.float32)
    start = {k: jnp.asarray(v) for k, v in law.start(8).items()}
    zeros = {k: jnp.zeros_like(v) for k, v in start.items()}
    for strength, params in ((2.8, start), (2.8, zeros), (0.0, zeros)):
        force = law({**params, "interaction_strength": jnp.float32(strength)}, y)
        assert np.all(force == 0) == law.starts_plain
        if law.starts_plain:
            np.testing.assert_array_equal(y + jnp.broadcast_to(force, y.shape), y)


@pytest.mark.parametrize("name", LAWS)
def test_force_keeps_the_type_of_its_input(name: str) -> None:
    law = LAWS[name]
    params = {k: jnp.asarray(v, jnp.float32) for k, v in random_params(law, 8, 0).items()}
    y = jnp.ones((2, 3, 3, 8), jnp.bfloat16)
    force = law(params, y)
    assert jnp.broadcast_shapes(force.shape, y.shape) == y.shape
    assert force.dtype == jnp.bfloat16


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("name", RING_LAWS)
@settings(derandomize=True, deadline=None, max_examples=3)
@given(st.integers(-20, 20))
def test_laws_commute_with_cyclic_shifts(name: str, channels: int, shift: int) -> None:
    law = LAWS[name]
    params = random_params(law, channels, channels)
    rolled = {k: np.roll(v, shift, -1) if v.ndim else v for k, v in params.items()}
    y = np.random.default_rng(1).normal(size=(2, 3, channels))
    with jax.enable_x64(True):
        force = jnp.broadcast_to(law(params, jnp.asarray(y)), y.shape)
        shifted = law(rolled, jnp.asarray(np.roll(y, shift, -1)))
    np.testing.assert_allclose(
        jnp.broadcast_to(shifted, y.shape), np.roll(force, shift, -1), rtol=1e-12, atol=1e-14
    )
    assert name == "none" or channels == 1 or np.abs(force).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in LAWS if name != "none"])
def test_gradients_against_finite_differences(name: str) -> None:
    law, rng = LAWS[name], np.random.default_rng(3)
    params, y, w = random_params(law, 6, 4), rng.normal(size=(2, 6)), rng.normal(size=(2, 6))
    if law.after_activation:
        y = 3 * y

    @jax.jit
    def value(params: dict, y: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(y + jnp.broadcast_to(law(params, y), y.shape)) * w)

    with jax.enable_x64(True):
        place = (jax.tree.map(jnp.asarray, params), jnp.asarray(y))
        gradient, unflatten = jax.flatten_util.ravel_pytree(jax.grad(value, (0, 1))(*place))
        point, _ = jax.flatten_util.ravel_pytree(place)
        for i, step in enumerate(np.eye(len(point)) * 1e-6):
            slope = (value(*unflatten(point + step)) - value(*unflatten(point - step))) / 2e-6
            np.testing.assert_allclose(gradient[i], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in LAWS if LAWS[name].form == "linear"])
@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_linear_laws_are_linear(name: str, channels: int) -> None:
    law, rng = LAWS[name], np.random.default_rng(6)
    params = {k: jnp.asarray(v, jnp.float32) for k, v in random_params(law, channels, 5).items()}
    y = jnp.asarray(rng.normal(size=(4, channels)), jnp.float32)
    matrix = law(params, jnp.eye(channels))
    np.testing.assert_allclose(law(params, y), y @ matrix, rtol=1e-5, atol=1e-5)
    assert channels == 1 or np.abs(matrix).max() > 1e-2


@pytest.mark.parametrize("name", [name for name in LAWS if LAWS[name].form == "constant"])
def test_constant_laws_do_not_depend_on_the_activations(name: str) -> None:
    law, rng = LAWS[name], np.random.default_rng(6)
    params = {k: jnp.asarray(v, jnp.float32) for k, v in random_params(law, 5, 5).items()}
    one, two = (law(params, jnp.asarray(rng.normal(size=(4, 5)))) for _ in range(2))
    assert one.size == 5
    np.testing.assert_array_equal(one, two)


def test_a_force_after_the_activation_is_neither_constant_nor_linear() -> None:
    with pytest.raises(ValueError, match=r"'drag' is linear and acts after the activation"):
        ForceLaw("drag", "-y", "none", lambda params, y: -y, form="linear", after_activation=True)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"form": "linear", "place": "after_norm"}, "'drag' is linear and acts at 'after_norm'"),
        ({"form": "constant", "place": "before_norm"}, "constant and acts at 'before_norm'"),
        ({"place": "after_norm", "after_activation": True}, "leave out one of them"),
        ({"init": lambda channels, *, permute=1: {}}, "'permute', which is one of every law"),
    ],
)
def test_a_law_at_a_place_that_it_cannot_have_is_refused(
    claims: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ForceLaw("drag", "-y", "none", lambda params, y: -y, **claims)


@pytest.mark.parametrize("name", ON_A_LINE)
def test_laws_on_a_line_know_its_ends(name: str) -> None:
    law = LAWS[name]
    params = random_params(law, 9, 0)
    y = jnp.asarray(50 * np.random.default_rng(1).uniform(0.5, 1, (2, 9)), jnp.float32)
    shifted = law(params, jnp.roll(y, 1, -1))
    assert np.abs(shifted - jnp.roll(law(params, y), 1, -1)).max() > 1e-2


def pull(params: dict[str, Any], y: jax.Array) -> jax.Array:
    return params["k"] * jnp.roll(y, -1, -1)


def zeros(channels: int) -> dict[str, np.ndarray]:
    return {"k": np.zeros(channels, np.float32)}


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        (
            {"force": lambda params, y: jnp.tanh(pull(params, y)), "form": "linear"},
            "'drag' says form='linear'.*give form='general'",
        ),
        (
            # Linear, but along the rows of an image, which a kernel does not have.
            {"force": lambda params, y: params["k"] * jnp.roll(y, 1, 0), "form": "linear"},
            "'drag' says form='linear'",
        ),
        ({"force": pull, "form": "constant"}, "'drag' says form='constant'.*depends"),
        (
            {"force": pull, "init": lambda channels: {"k": np.ones(channels, np.float32)}},
            "'drag' exerts a force of up to .* at start values.*starts_plain=False",
        ),
        (
            {"force": lambda params, y: pull(params, y) + 1e-3},
            "'drag' exerts a force of up to 0.001 at start values",
        ),
        ({"force": lambda params, y: y[..., :2]}, r"'drag' returns shape \(2, 3, 2\)"),
    ],
)
def test_a_law_that_is_not_what_it_says_is_refused(claims: dict[str, Any], message: str) -> None:
    """By name, from inside of a network that is being traced."""
    law = ForceLaw(**{"name": "drag", "equation": "", "source": "", "init": zeros, **claims})
    layer = PhysicsLayer(4, law=law)
    with pytest.raises(LawError, match=message):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 5, 5, 2)))


@pytest.mark.parametrize("name", LAWS)
def test_the_laws_are_what_they_say(name: str) -> None:
    check_law(LAWS[name])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_law_in_its_natural_form_computes_in_every_layer(dtype: Any) -> None:
    """Per-channel parameters times y, on kernels and biases, with norms, in half precision."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 3)), jnp.float32)
    for form in ("linear", "general"):
        law = ForceLaw("pull", "k[c] y[c+1]", "", pull, zeros, form=form)
        layer = PhysicsLayer(4, law=law, dtype=dtype)
        params = layer.init(jax.random.key(0), x)["params"]
        plain = layer.apply({"params": params}, x)
        pulled = layer.apply({"params": {**params, "k": jnp.array([0.0, 1.0, 2.0, 0.0])}}, x)
        expected = plain + jnp.roll(plain, -1, -1) * jnp.array([[[[0, 1, 2, 0]]]], dtype)
        assert pulled.dtype == dtype
        np.testing.assert_allclose(
            np.asarray(pulled, np.float32),
            np.asarray(expected, np.float32),
            atol=1e-5 if dtype == jnp.float32 else 0.05,
        )


def test_spring_by_hand() -> None:
    # tanh(2 k) / 4 is 1/4 times 1/2, 0 and -1/2.
    stiffness = jnp.array([0.5, 0.5, 0.0, -0.5])
    params = {
        "interaction_strength": jnp.float32(2.0),
        "stiffness": jnp.arctanh(stiffness) / 2,
    }
    # Neighbours' sums less twice the value: 2 + 8 - 2, 1 + 4 - 4, ..., 4 + 1 - 16.
    force = LAWS["spring"].force(params, jnp.array([[1.0, 2.0, 4.0, 8.0]]))
    np.testing.assert_allclose(force, [[1.0, 0.125, 0.0, 1.375]], rtol=1e-6)


def test_the_stiffest_springs_flatten_the_shortest_wave_and_keep_the_sum() -> None:
    params = {"interaction_strength": jnp.float32(1.0), "stiffness": jnp.full(8, 20.0)}
    y = jnp.asarray(np.random.default_rng(0).normal(size=8), jnp.float32)
    np.testing.assert_allclose(jnp.sum(LAWS["spring"].force(params, y)), 0, atol=1e-6)
    # An eigenvector of the Laplacian, of eigenvalue -4.
    wave = jnp.tile(jnp.array([1.0, -1.0]), 4)
    np.testing.assert_allclose(wave + LAWS["spring"].force(params, wave), np.zeros(8), atol=1e-7)


def test_divisive_by_hand() -> None:
    weights = exponential_weights(2.0, 4)
    # One active channel of 8: exponent 1 divides it by 1 + w0 y^2.
    y = jnp.zeros(16).at[3].set(2.0)
    exponents = jnp.zeros(16).at[3].set(1.0)
    force = LAWS["divisive"].force({"exponents": exponents}, y)
    expected = np.zeros(16)
    expected[3] = 2 / (1 + weights[0] * 4) - 2
    np.testing.assert_allclose(force, expected, rtol=1e-6, atol=1e-7)
    # A neighbour at distance 2, round the ring's end, adds to what divides channel 0.
    y = jnp.zeros(16).at[0].set(1.0).at[14].set(3.0)
    force = LAWS["divisive"].force({"exponents": jnp.zeros(16).at[0].set(2.0)}, y)
    pulled = (1 + weights[0] + weights[2] * 9) ** -2 - 1
    np.testing.assert_allclose(force[0], pulled, rtol=1e-6)
    np.testing.assert_array_equal(force[1:], np.zeros(15))


def test_exponential_weights_sum_to_one_over_both_sides() -> None:
    weights = exponential_weights(2.0, 4)
    assert weights[0] + 2 * sum(weights[1:]) == pytest.approx(1)
    assert weights[2] / weights[0] == pytest.approx(np.exp(-1))


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 4, 11])
def test_neighborhood_sum_is_its_matrix(channels: int, cyclic: bool) -> None:
    weights = (1.0, 0.5, 0.25, 0.125)
    matrix = np.zeros((channels, channels))
    for c in range(channels):
        for j in range(-3, 4):
            if cyclic or 0 <= c + j < channels:
                matrix[c, (c + j) % channels] += weights[abs(j)]
    x = np.random.default_rng(0).normal(size=(3, channels)).astype(np.float32)
    summed = neighborhood_sum(jnp.asarray(x), weights, cyclic)
    np.testing.assert_allclose(summed, x @ matrix.T, rtol=1e-5, atol=1e-6)


def test_lrn_by_the_published_formula() -> None:
    y = np.random.default_rng(0).normal(size=(2, 7)) * 50
    expected = np.empty_like(y)
    for c in range(7):
        near = y[:, max(0, c - 2) : min(6, c + 2) + 1]
        expected[:, c] = y[:, c] / (2 + 1e-4 * np.sum(near**2, axis=1)) ** 0.75
    y32 = jnp.asarray(y, jnp.float32)
    np.testing.assert_allclose(y32 + LAWS["lrn"].force({}, y32), expected, rtol=1e-5)


def test_unknown_law_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'magnet'.*none, ring, spring, divisive, lrn"):
        get_law("magnet")
