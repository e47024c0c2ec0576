"""What a record says of the forces: of every law that pushes, and of no plain layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physjax.forces import get_law
from physjax.nn.physics import DIAGNOSTICS, PhysicsLayer
from physjax.rules import RULES
from physjax.train.diagnostics import diagnostics, law_parameters

pytestmark = pytest.mark.quick_compile


def applied(law: str, shift: float, rule: str = "backprop") -> dict[str, dict[str, float]]:
    """Diagnostics of one layer whose law's parameters are `shift` above their start values."""
    connection = RULES[rule].connection
    layer = PhysicsLayer(
        4, law=law, activation=jax.nn.relu, algorithm="direct", connection=connection
    )
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 3)), jnp.float32)
    params = layer.init(jax.random.key(0), images)["params"]
    plain = {"kernel", "bias", "interaction_strength", "resistances"}
    moved = {name: x if name in plain else x + shift for name, x in params.items()}
    _, sown = layer.apply({"params": moved}, images, mutable=[DIAGNOSTICS])
    return diagnostics({"conv": moved}, {"conv": sown[DIAGNOSTICS]}, RULES[rule])


def test_a_ring_reports_its_strength_and_the_root_mean_square_of_its_force() -> None:
    # f = 0.5 on every channel: the force is 2.8 (0.5 + 0.5) everywhere.
    assert applied("ring", 0.5) == {
        "conv": {"strength": pytest.approx(2.8), "force_rms": pytest.approx(2.8)}
    }
    assert applied("ring", 0.0)["conv"]["force_rms"] == 0


@pytest.mark.parametrize("law", ["divisive", "lrn"])
def test_a_law_without_a_strength_reports_its_force_too(law: str) -> None:
    (figures,) = applied(law, 0.5).values()
    assert set(figures) == {"force_rms"}
    assert figures["force_rms"] > 0.01


def test_a_plain_layer_reports_nothing_but_its_resistances() -> None:
    assert applied("none", 0.5) == {}
    assert applied("none", 0.5, "coupled") == {
        "conv": {"resistance_mean": 1.0, "resistance_sd": 0.0, "resistance_change": 0.0}
    }


def test_the_laws_own_parameters_are_recorded_channel_by_channel() -> None:
    forces = np.array([0.123456, -2.0, 0.0], np.float32)
    params = {
        "block": {"conv": {"kernel": np.ones((1, 1, 3, 3)), "neighbor_forces": forces}},
        "head": {"bias": np.zeros(2)},
    }
    assert law_parameters(params, get_law("ring").init(1)) == {
        "block/conv": {"neighbor_forces": [0.1235, -2.0, 0.0]}
    }
    assert law_parameters(params, get_law("none").init(1)) == {}


def test_weights_of_neighbours_are_recorded_row_by_row() -> None:
    weights = np.array([[0.5], [0.0], [-0.25]])
    names = get_law("ring-gate").recorded_names
    assert law_parameters({"conv": {"weights": weights}}, names) == {
        "conv": {"weights[-1]": [0.5], "weights[0]": [0.0], "weights[1]": [-0.25]}
    }
    assert get_law("se").recorded_names == ()
    assert get_law("miller").recorded_names == ("log_length", "log_alpha", "log_k", "beta")


def test_a_gate_reports_its_spread() -> None:
    (figures,) = applied("ring-gate", 0.5).values()
    assert set(figures) == {"force_rms", "gate_mean", "gate_sd", "gate_image_sd"}
    assert 0 < figures["gate_image_sd"] < figures["gate_sd"]
