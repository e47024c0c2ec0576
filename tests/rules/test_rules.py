"""What every learning rule promises: its contract in the step, on every base, and when folded."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.sampling import sampled
from helpers.steps import configure, states_of, without_ties
from physjax.config import ConfigError, ModelConfig
from physjax.models import MODELS, build, init_variables
from physjax.nn.fold import fold
from physjax.nn.taps import VOLTAGES
from physjax.rules import RULES, get_rule
from physjax.train.loop import resolve

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def noise() -> Any:
    return without_ties()


LARGE: dict[str, dict[str, Any]] = {
    "equilibrium-propagation": {"beta": 0.5, "rounds": 3, "scheme": "random"},
    "coupled-learning": {"eta": 1.0, "rounds": 4},
    "contrastive": {"rounds": 4},
    "channel-resistances": {"eta": 1.0, "rounds": 3},
}
"""Settings of rules that divide by how far they move the output: rounding is divided too."""


def with_rule(name: str) -> Any:
    return configure(
        rule={"update_rule": name, **LARGE.get(name, {})},
        model={"dropout": 0.0},
        # A low rate: rounding grows with every step.
        optim={"schedule": "constant", "warmup": 0.0, "learning_rate": 0.02},
    )


def test_an_unknown_rule_is_refused_with_the_names_that_exist() -> None:
    for refuse in (get_rule, lambda name: resolve(with_rule(name))):
        with pytest.raises(ConfigError, match=r"no learning rule 'Coupled'.*backprop, coupled"):
            refuse("Coupled")


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_it_is(name: str) -> None:
    rule = RULES[name]
    assert rule.name == name
    assert rule.equation
    assert rule.source


@pytest.mark.parametrize("name", sampled(RULES, "equilibrium-propagation", "coupled"))
def test_a_rule_does_the_same_on_one_device_and_on_four(name: str, noise: Any) -> None:
    """Of how far each parameter has gone, rounding may make a hundredth."""
    (start, *_, one), (*_, four) = (
        states_of(with_rule(name), noise, shards, 2) for shards in (1, 4)
    )

    def same(path: Any, before: Any, a: Any, b: Any) -> None:
        assert np.linalg.norm(a - b) <= 1e-2 * np.linalg.norm(a - before) + 1e-7, path

    jax.tree_util.tree_map_with_path(same, start.params, one.params, four.params)
    still = jax.tree.map(np.array_equal, start.params, one.params)
    assert not all(jax.tree.leaves(still))


@pytest.mark.parametrize(
    ("model", "size"), [(name, size) for name, spec in MODELS.items() for size in spec.networks]
)
def test_exactly_the_layers_that_see_the_image_hold_it(model: str, size: str) -> None:
    config = ModelConfig(name=model, size=size, width=0.125, law="none")
    network = build(config, 10, connection=RULES["coupled"].connection)
    side = MODELS[model].image_sizes[size]
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    seen = jax.eval_shape(
        lambda x: network.init_with_output(jax.random.key(0), x, mutable=True)[1][VOLTAGES], images
    )
    sources = [
        (path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(seen)
        if path[-1].key == "source"
    ]
    assert [leaf.shape for _, leaf in sources] == [(2, 3)]
    # No other layer of these networks is as narrow as an image.
    narrow = [leaf for leaf in jax.tree.leaves(seen) if leaf.shape == (2, 3)]
    assert len(narrow) == 1


@pytest.mark.parametrize("name", sampled(RULES, "coupled", "channel-resistances"))
def test_a_rules_parameters_fold_away(name: str) -> None:
    connection = RULES[name].connection
    config = ModelConfig(name="cnn", width=0.25)
    network = build(config, 10, connection=connection)
    variables = init_variables(network, jax.random.key(0), 32)
    rng = np.random.default_rng(0)
    moved = jax.tree.map(
        lambda v: v + jnp.asarray(rng.uniform(0.1, 1, v.shape), v.dtype), variables["params"]
    )
    variables = {**variables, "params": moved}
    folded = fold(variables, "none", connection)
    plain = build(config, 10)
    fresh = init_variables(plain, jax.random.key(0), 32)
    assert jax.tree.structure(folded["params"]) == jax.tree.structure(fresh["params"])
    images = jnp.asarray(rng.normal(size=(4, 32, 32, 3)), jnp.float32)
    expected = network.apply(variables, images)
    np.testing.assert_allclose(plain.apply(folded, images), expected, rtol=1e-4, atol=1e-4)
