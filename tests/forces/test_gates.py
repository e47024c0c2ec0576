"""Laws that depend on the image, and their controls: by hand, and where they act in a layer."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.test_util import check_grads

from helpers.short import SHORT, build_short, cut
from physjax.config import ConfigError
from physjax.forces import LAWS, ForceLaw, check_law
from physjax.forces.neighborhood import weighted_neighbors
from physjax.models import init_variables
from physjax.nn.fold import fold, foldable
from physjax.nn.physics import DIAGNOSTICS, PhysicsLayer
from physjax.ops.pool import max_pool

pytestmark = pytest.mark.quick_compile

NORM = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)

# One image of two pixels; the channels' means are 1, 2, 4 and 8.
IMAGE = jnp.array([[[[0.0, 2.0, 4.0, 7.0], [2.0, 2.0, 4.0, 9.0]]]])


def gates(z: Any) -> np.ndarray:
    """2 sigmoid(z), [..., C], to multiply images by."""
    return np.asarray(2 / (1 + np.exp(-np.asarray(z, float))), np.float32).reshape(1, 1, 1, -1)


def test_the_ring_gate_by_hand() -> None:
    law = LAWS["ring-gate"]
    params = {"weights": jnp.array([[0.5], [-1.0], [0.25]])}
    # Half the one before, less oneself, a quarter of the next: 4 - 1 + 0.5, 0.5 - 2 + 1, ...
    z = [3.5, -0.5, -1.0, 2 - 8 + 0.25]
    np.testing.assert_allclose(IMAGE + law(params, IMAGE), gates(z) * IMAGE, atol=1e-5)
    fast = law.configured({"gain": 2.0})
    np.testing.assert_allclose(
        IMAGE + fast(params, IMAGE), gates(2 * np.array(z)) * IMAGE, atol=1e-5
    )


def test_a_gate_of_standardised_means() -> None:
    law = LAWS["own-gate"].configured({"standardize": True})
    means = np.array([1.0, 2.0, 4.0, 8.0])
    z = 0.5 * (means - means.mean()) / means.std()
    gated = IMAGE + law({"weights": jnp.array([[0.5]])}, IMAGE)
    np.testing.assert_allclose(gated, gates(z) * IMAGE, rtol=1e-4)


def test_weights_of_each_channels_own() -> None:
    law = LAWS["ring-gate"].configured({"radius": 2, "per_channel": True})
    assert law.init(6)["weights"].shape == (5, 6)
    weights = jnp.zeros((5, 4)).at[4, 1].set(1.0)  # channel 1 listens to channel 3
    gated = IMAGE + law({"weights": weights}, IMAGE)
    np.testing.assert_allclose(gated[..., 1], 2 / (1 + np.exp(-8)) * IMAGE[..., 1], rtol=1e-6)
    np.testing.assert_array_equal(gated[..., [0, 2, 3]], IMAGE[..., [0, 2, 3]])


def test_the_own_gate_is_the_ring_gate_without_neighbours() -> None:
    own = {"weights": jnp.array([[0.7]])}
    ring = {"weights": jnp.array([[0.0], [0.7], [0.0]])}
    np.testing.assert_array_equal(LAWS["own-gate"](own, IMAGE), LAWS["ring-gate"](ring, IMAGE))


def test_the_energy_gate_by_hand() -> None:
    law = LAWS["energy-gate"].configured({"kappa": 2.0})
    params = {
        "neighbor_logits": jnp.log(jnp.array([[1.0], [2.0], [1.0]])),
        "exponents": jnp.array([0.5]),
        "log_kappa": jnp.log(1.5),
    }
    energy = np.array([2.0, 4.0, 16.0, 65.0])
    near = 0.25 * np.roll(energy, 1) + 0.5 * energy + 0.25 * np.roll(energy, -1)
    expected = ((3 + energy) / (3 + near)) ** 0.5 * np.asarray(IMAGE)
    np.testing.assert_allclose(IMAGE + law(params, IMAGE), expected, rtol=1e-5)
    # Among equals nothing changes, whatever the parameters.
    equal = jnp.full((2, 3, 3, 4), 1.7)
    np.testing.assert_allclose(law(params, equal), np.zeros(equal.shape), atol=1e-6)


def test_squeeze_and_excitation_by_hand() -> None:
    law = LAWS["se"].configured({"reduction": 2})
    params = {
        "squeeze": jnp.array([[1.0, 0.0, 0.0, 1.0], [0.0, -1.0, 0.0, 0.0]]),
        "squeeze_offset": jnp.array([[-8.5], [2.5]]),  # hidden: relu(9 - 8.5), relu(-2 + 2.5)
        "excite": jnp.array([[1.0, 2.0, 0.0, -1.0], [0.0, 1.0, 0.0, -1.0]]),
        "excite_offset": jnp.array([0.0, 0.0, 1.0, 0.0]),
    }
    expected = gates([0.5, 1.5, 1.0, -1.0]) * IMAGE
    np.testing.assert_allclose(IMAGE + law(params, IMAGE), expected, rtol=1e-5)


def test_squeeze_starts_at_random_and_differs_by_the_layers_key() -> None:
    layer, images = PhysicsLayer(32, law="se"), jnp.zeros((1, 4, 4, 3))
    one, two = (layer.init(jax.random.key(k), images)["params"]["squeeze"] for k in (0, 1))
    assert one.shape == (2, 32)
    assert np.std(one) == pytest.approx(np.sqrt(2 / 32), rel=0.3)
    assert np.all(one != two)


def divided(y: np.ndarray, length: float, alpha: float, beta: float, k: float) -> np.ndarray:
    """The paper's equation, term by term."""
    out = np.empty_like(y)
    for c in range(y.shape[-1]):
        total = sum(
            y[..., c + j] ** 2 * np.exp(-abs(j) / length)
            for j in range(-int(4 * length), int(4 * length) + 1)
            if 0 <= c + j < y.shape[-1]
        )
        out[..., c] = y[..., c] ** 2 / (k * (1 + alpha / length * total)) ** beta
    return out


@pytest.mark.parametrize(
    ("length", "alpha", "beta", "k"), [(2.0, 1.0, 1.0, 1.0), (2.0, 0.1, 1.0, 1.0), (0.6, 3, 0.7, 2)]
)
def test_miller_by_the_published_formula(
    length: float, alpha: float, beta: float, k: float
) -> None:
    law = LAWS["miller"].configured({"length": length, "alpha": alpha, "beta": beta, "k": k})
    y = np.abs(np.random.default_rng(0).normal(size=(2, 3, 3, 23))).astype(np.float32)
    found = y + law(law.start(23), jnp.asarray(y))
    np.testing.assert_allclose(found, divided(y, length, alpha, beta, k), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("norm", "alpha"), [(NORM, 1.0), (None, 0.1)])
def test_millers_gain_starts_as_published_with_a_norm_and_without(norm: Any, alpha: float) -> None:
    images = jnp.zeros((1, 4, 4, 3))

    def start(law: Any) -> float:
        layer = PhysicsLayer(4, law=law, norm=norm)
        return float(np.exp(layer.init(jax.random.key(0), images)["params"]["log_alpha"]))

    assert start("miller") == pytest.approx(alpha)
    assert start(LAWS["miller"].configured({"alpha": 0.5, "k": 2.0})) == pytest.approx(0.5)
    assert "alpha (a number > 0, <= 1000; default None): start of alpha" in str(
        LAWS["miller"].settings["alpha"]
    )


def test_miller_without_its_divisor_is_the_square() -> None:
    params = {**LAWS["miller"].start(4), "beta": np.float32(0)}
    np.testing.assert_allclose(LAWS["miller"](params, IMAGE), LAWS["square"]({}, IMAGE), rtol=1e-6)
    np.testing.assert_allclose(IMAGE + LAWS["square"]({}, IMAGE), IMAGE**2)


def test_millers_neighbourhood_ends_at_four_lengths_and_at_its_reach() -> None:
    """With an energy from channel 10 alone, channels within its reach are divided."""
    for length, reach, furthest in ((1.1, 16, 4), (1.0, 16, 4), (3.0, 5, 5)):
        y = jnp.full(21, 1e-3).at[10].set(10.0)
        law = LAWS["miller"].configured({"length": length, "reach": reach})
        divisor = jnp.square(y) / (y + law(law.start(21), y))
        reached = np.flatnonzero(divisor > 1.001).tolist()
        assert reached == list(range(10 - furthest, 11 + furthest))
        weight = 100 / length * np.exp(-furthest / length)
        np.testing.assert_allclose(divisor[10 + furthest] - 1, weight, rtol=1e-3)


def test_weighted_neighbours_go_round_a_small_ring_as_often_as_they_must() -> None:
    weights = jnp.array([[1.0], [10.0], [100.0], [1000.0], [10000.0]])
    np.testing.assert_array_equal(weighted_neighbors(jnp.array([1.0]), weights), [11111.0])
    np.testing.assert_array_equal(
        weighted_neighbors(jnp.array([1.0, 2.0]), weights), [10101 + 2020, 20202 + 1010]
    )


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("ring-gate", {"standardize": True, "radius": 2, "gain": 3.0}),
        ("ring-gate", {"per_channel": True, "permute": 1}),
        ("energy-gate", {"per_channel": True, "radius": 2, "kappa": 0.3}),
        ("se", {"reduction": 2}),
        ("miller", {"length": 0.7, "beta": 0.6, "reach": 2}),
    ],
)
def test_gradients_through_the_pixels_with_other_settings(name: str, own: dict[str, Any]) -> None:
    """Against finite differences, in double precision; other tests have the default settings."""
    law, rng = LAWS[name].configured(own), np.random.default_rng(2)
    with jax.enable_x64(True):
        y = jnp.asarray(rng.uniform(0.2, 2, (2, 3, 2, 5)))
        start = law.start(5)
        params = {k: jnp.asarray(v + 0.3 * rng.normal(size=np.shape(v))) for k, v in start.items()}
        check_grads(lambda p, y: y + law(p, y), (params, y), order=1, modes=["rev"])


@pytest.mark.parametrize("name", [n for n in LAWS if LAWS[n].ordered])
def test_a_permuted_ring_is_the_law_among_other_neighbours(name: str) -> None:
    law, permuted = LAWS[name], LAWS[name].configured({"permute": 3})
    assert permuted.permutation == 3
    assert permuted.configured({"permute": 0}) == law
    check_law(permuted)
    rng = np.random.default_rng(0)
    y = jnp.asarray(3 * np.abs(rng.normal(size=(2, 2, 2, 8))), jnp.float32)
    params = {k: v + 0.3 * rng.normal(size=np.shape(v)) for k, v in law.start(8).items()}
    params["interaction_strength"] = np.asarray(1.7)
    order = permuted.order(8)
    assert sorted(order) == list(range(8))
    moved = {k: v[..., order] if v.shape[-1:] == (8,) else v for k, v in params.items()}
    expected = jnp.broadcast_to(law(moved, y[..., order]), y.shape)
    found = jnp.broadcast_to(permuted(params, y), y.shape)
    np.testing.assert_allclose(found[..., order], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(found - jnp.broadcast_to(law(params, y), y.shape)).max() > 1e-4


def test_a_permuted_spring_folds() -> None:
    law = LAWS["spring"].configured({"permute": 5})
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 3)), jnp.float32)
    layer = PhysicsLayer(6, law=law, algorithm="direct")
    params = dict(layer.init(jax.random.key(0), images)["params"])
    params["stiffness"] = jnp.linspace(-1, 1, 6)
    folded = fold({"params": {"conv": params}}, law)["params"]["conv"]
    plain = PhysicsLayer(6, law="none", algorithm="direct")
    y = layer.apply({"params": params}, images)
    np.testing.assert_allclose(plain.apply({"params": folded}, images), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in LAWS if not LAWS[n].ordered])
def test_a_law_without_order_commutes_with_every_permutation(name: str) -> None:
    law, rng = LAWS[name], np.random.default_rng(0)
    y = jnp.asarray(rng.normal(size=(2, 2, 2, 8)), jnp.float32)
    params = {k: v + rng.normal(size=np.shape(v)) for k, v in law.start(8).items()}
    order = rng.permutation(8)
    moved = {k: v[..., order] if v.shape[-1:] == (8,) else v for k, v in params.items()}
    force = jnp.broadcast_to(law(params, y), y.shape)
    np.testing.assert_allclose(
        jnp.broadcast_to(law(moved, y[..., order]), y.shape), force[..., order], atol=1e-5
    )


@pytest.mark.parametrize("name", [n for n in LAWS if LAWS[n].gate is not None])
@pytest.mark.parametrize("permute", [0, 2])
def test_a_gate_is_what_the_force_multiplies_by(name: str, permute: int) -> None:
    law = LAWS[name]
    if law.ordered:
        law = law.configured({"permute": permute, "per_channel": True})
    rng = np.random.default_rng(0)
    y = jnp.asarray(rng.normal(size=(3, 2, 2, 6)), jnp.float32)
    params = {k: v + rng.normal(size=np.shape(v)) for k, v in law.start(6).items()}
    factors = law.gates(params, y)
    assert factors is not None
    assert factors.shape == (3, 6)
    expected = y * factors.reshape(3, 1, 1, 6)
    np.testing.assert_allclose(y + law(params, y), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(factors - 1).max() > 0.1


def test_a_law_without_a_gate_has_no_gates() -> None:
    assert LAWS["miller"].gates(LAWS["miller"].start(4), IMAGE) is None


@pytest.mark.parametrize("name", ["own-gate", "se", "square", "none"])
def test_where_no_channel_has_neighbours_there_is_no_order(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name!r} has no setting 'permute'"):
        LAWS[name].configured({"permute": 1})


@pytest.mark.parametrize("name", ["ring-gate", "own-gate", "energy-gate", "se", "miller", "square"])
def test_what_depends_on_the_image_does_not_fold(name: str) -> None:
    assert not foldable(name)
    with pytest.raises(ValueError, match=f"{name!r} is neither constant nor linear"):
        fold({"params": {}}, name)


GATES = [name for name in LAWS if LAWS[name].acts == "after_activation"]


@pytest.mark.parametrize(("name", "law"), list(zip(SHORT, itertools.cycle(GATES), strict=False)))
def test_a_gate_starts_as_the_plain_network_bit_for_bit(
    name: str, law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)
    model, plain = (build_short(name, 5, one) for one in (law, "none"))
    variables = init_variables(model, jax.random.key(0), 32)
    own = set(LAWS[law].init(1))

    def strip(node: Any) -> Any:
        return {k: strip(v) if isinstance(v, dict) else v for k, v in node.items() if k not in own}

    twin = {**variables, "params": strip(variables["params"])}
    found, expected = jax.jit(model.apply)(variables, images), jax.jit(plain.apply)(twin, images)
    np.testing.assert_array_equal(found, expected)


PLACES = {
    "before_norm": "conv force norm relu pool",
    "after_norm": "conv norm force relu pool",
    "after_activation": "conv norm relu force pool",
    "after_pool": "conv norm relu pool force",
    "before_late_norm": "conv relu force norm pool",
}


@pytest.mark.parametrize("first", [False, True], ids=["pool last", "pool first"])
@pytest.mark.parametrize("place", PLACES)
def test_a_force_acts_at_its_place(place: Any, first: bool) -> None:
    """The layer against its parts, one after the other."""
    law = ForceLaw(
        "cube", "y^3 / 4", "this test", lambda p, y: y**3 / 4, place=place, starts_plain=False
    )
    pool = partial(max_pool, window=(2, 2))
    layer = PhysicsLayer(4, law=law, norm=NORM, activation=nn.relu, pool=pool, pool_first=first)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6, 6, 3)), jnp.float32)
    variables = layer.init(jax.random.key(0), images)
    found, _ = layer.apply(variables, images, train=True, mutable=["batch_stats"])

    kernel = variables["params"]["kernel"]
    steps = {
        "force": lambda y: y + y**3 / 4,
        "norm": lambda y: (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-5),
        "relu": lambda y: np.maximum(y, 0),
        "pool": lambda y: np.asarray(pool(jnp.asarray(y))),
    }
    y = np.asarray(nn.Conv(4, (3, 3), use_bias=False).apply({"params": {"kernel": kernel}}, images))
    order = PLACES[place].split()[1:]
    if first:
        order = ["pool", *(step for step in order if step != "pool")]
    for step in order:
        y = steps[step](y)
    np.testing.assert_allclose(found, y, rtol=1e-3, atol=1e-4)


def test_division_keeps_its_digits_in_half_precision() -> None:
    """Of what is divided by a thousand, the difference to its value would leave nothing."""
    images = jnp.abs(jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 3)), jnp.float32))
    law = LAWS["miller"].configured({"alpha": 900.0})
    exact, half = (PhysicsLayer(8, law=law, dtype=t) for t in (jnp.float32, jnp.bfloat16))
    variables = exact.init(jax.random.key(0), images)
    expected, found = exact.apply(variables, images), half.apply(variables, images)
    assert found.dtype == jnp.bfloat16
    assert np.abs(expected).max() < 0.05
    np.testing.assert_allclose(np.asarray(found, np.float32), expected, rtol=0.1, atol=1e-4)


def test_a_layer_reports_the_spread_of_its_gates() -> None:
    layer = PhysicsLayer(4, law="own-gate", kernel_size=1)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3, 3, 2)), jnp.float32)
    params = dict(layer.init(jax.random.key(0), images)["params"])
    params["weights"] = jnp.array([[0.8]])
    _, sown = layer.apply({"params": params}, images, mutable=[DIAGNOSTICS])
    figures = sown[DIAGNOSTICS]
    plain = PhysicsLayer(4, law="none", kernel_size=1)
    y = plain.apply({"params": {k: params[k] for k in ("kernel", "bias")}}, images)
    found = 2 / (1 + np.exp(-0.8 * np.asarray(y).mean((1, 2))))
    assert figures["gate_mean"] == pytest.approx(found.mean(), rel=1e-5)
    assert figures["gate_sd"] == pytest.approx(found.std(), rel=1e-4)
    assert figures["gate_image_sd"] == pytest.approx(np.sqrt(found.var(0).mean()), rel=1e-4)
    force = (found[:, None, None] - 1) * np.asarray(y)
    assert figures["force_rms"] == pytest.approx(np.sqrt((force**2).mean()), rel=1e-4)
