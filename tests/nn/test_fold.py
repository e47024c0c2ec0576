"""Folding: the plain model with folded parameters gives the logits of the physics model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from helpers.sampling import sampled
from helpers.short import SHORT, build_short, cut
from physjax.config import ModelConfig
from physjax.forces import LAWS, ForceLaw
from physjax.models import build, init_variables
from physjax.nn.fold import fold, foldable

pytestmark = pytest.mark.quick_compile


def random_variables(config: ModelConfig) -> dict:
    return perturbed(init_variables(build(config, 10), jax.random.key(0), 32))


def perturbed(variables: dict) -> dict:
    rng = np.random.default_rng(0)

    def perturb(x: jax.Array) -> jax.Array:
        return x + jnp.asarray(rng.uniform(0.05, 0.2, x.shape), jnp.float32)

    return jax.tree.map(perturb, variables)


FOLDING = [name for name in LAWS if foldable(name)]


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("law", FOLDING)
def test_folded_model_gives_the_same_logits(law: str, norm: str) -> None:
    config = ModelConfig("cnn", law=law, norm=norm, width=0.2, algorithm="direct")  # type: ignore[arg-type]
    variables = random_variables(config)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(3, 32, 32, 3)), jnp.float32)
    plain = build(config, 10, law="none")
    folded = fold(variables, law)
    fresh = init_variables(plain, jax.random.key(0), 32)
    assert jax.tree.map(jnp.shape, folded) == jax.tree.map(jnp.shape, fresh)
    expected = jax.jit(build(config, 10).apply)(variables, images)
    plain_apply = jax.jit(plain.apply)
    np.testing.assert_allclose(plain_apply(folded, images), expected, rtol=2e-4, atol=2e-4)
    if law != "none":
        # The force is large enough for this test to notice if it went missing.
        bare = plain_apply(_without_force(variables), images)
        assert np.abs(bare - expected).max() > 1e-2


def _without_force(variables: dict) -> dict:
    def strip(node: dict) -> dict:
        keep = {"kernel", "bias", "norm"}
        if getattr(node.get("kernel"), "ndim", 0) == 4:
            return {k: v for k, v in node.items() if k in keep}
        return {k: strip(v) if isinstance(v, dict) else v for k, v in node.items()}

    return {**variables, "params": strip(variables["params"])}


@pytest.mark.parametrize(
    ("base", "law"),
    sampled(
        zip(SHORT, ["ring", "spring"] * (len(SHORT) // 2), strict=True), "resnet20", "densenet"
    ),
)
def test_every_base_folds(base: str, law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch)
    size = 32 if base in ("alexnet", "vgg11") else 8
    model, plain = build_short(base, 5, law), build_short(base, 5, "none")
    variables = perturbed(init_variables(model, jax.random.key(0), size))
    folded = fold(variables, law)
    fresh = jax.eval_shape(lambda: init_variables(plain, jax.random.key(0), size))
    assert jax.tree.map(jnp.shape, folded) == jax.tree.map(jnp.shape, fresh)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(3, size, size, 3)), jnp.float32)
    expected = jax.jit(model.apply)(variables, images)
    plain_apply = jax.jit(plain.apply)
    np.testing.assert_allclose(plain_apply(folded, images), expected, rtol=2e-4, atol=2e-4)
    assert np.abs(plain_apply(_without_force(variables), images) - expected).max() > 1e-2


@pytest.mark.parametrize("law", ["ring", "spring"])
def test_a_layer_that_its_network_builds_without_the_law_has_no_force(law: str) -> None:
    """The first layer of the speedrun network has a bias, and neither norm nor force."""
    config = ModelConfig("speedrun", law=law, width=0.05, algorithm="direct")
    variables = random_variables(config)
    folded, plain = fold(variables, law), build(config, 10, law="none")
    np.testing.assert_array_equal(
        folded["params"]["whiten"]["bias"], variables["params"]["whiten"]["bias"]
    )
    images = jnp.asarray(np.random.default_rng(1).normal(size=(3, 32, 32, 3)), jnp.float32)
    expected = jax.jit(build(config, 10).apply)(variables, images)
    np.testing.assert_allclose(jax.jit(plain.apply)(folded, images), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("folded", [True, False])
def test_a_model_is_exported_with_an_open_batch(folded: bool) -> None:
    """One program for any number of images: pools, forces, dense layers, chosen convolutions."""
    law = "spring" if folded else "divisive"
    config = ModelConfig("cnn", law=law, width=0.5)
    model = build(config, 5)
    variables = init_variables(model, jax.random.key(0), 32)
    if folded:
        variables, model = fold(variables, law), build(config, 5, law="none")
    call = jax.jit(lambda images: model.apply(variables, images))
    (batch,) = export.symbolic_shape("b")
    made = export.export(call)(jax.ShapeDtypeStruct((batch, 32, 32, 3), jnp.float32))

    for size in (1, 3):
        images = jax.random.normal(jax.random.key(size), (size, 32, 32, 3))
        np.testing.assert_allclose(made.call(images), call(images), rtol=1e-4, atol=1e-4)


def test_a_general_law_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    square = ForceLaw("square", "y[c]^2", "this test", force=lambda params, y: y * y)
    monkeypatch.setitem(LAWS, "square", square)
    with pytest.raises(ValueError, match=r"'square' is neither constant nor linear"):
        fold({"params": {}}, "square")
