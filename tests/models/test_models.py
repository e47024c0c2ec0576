"""Every base with force laws: shapes by tracing alone, and passes that really ran."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from helpers.sampling import sampled
from helpers.short import SHORT, cut
from physjax.config import ModelConfig
from physjax.forces import LAWS
from physjax.models import AUXILIARY, MODELS, Classifier, build, init_variables
from physjax.models.densenet import DenseNet
from physjax.models.googlenet import Inception, _halve
from physjax.models.resnet import BasicBlock
from physjax.nn.conv import Conv

pytestmark = pytest.mark.quick_compile

FIELDS = {**SHORT, "vgg16": SHORT["vgg11"]}


def make(name: str, law: str, **changed: Any) -> Classifier:
    config = ModelConfig(name, law=law, algorithm="direct", **{"dropout": 0.0, **changed})
    return build(config, 5)


@pytest.mark.parametrize("name", MODELS)
def test_every_base_with_laws_at_each_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and gradients have their shapes, and a law adds its own parameters alone."""
    cut(monkeypatch)
    images, fields = jnp.zeros((2, 32, 32, 3)), FIELDS.get(name, {})
    plain = jax.eval_shape(make(name, "none").clone(**fields).init, jax.random.key(0), images)
    for law in ("ring", "divisive", "ring-gate", "miller"):
        model = make(name, law, dropout=0.1).clone(**fields)
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
        logits, gradient = jax.eval_shape(partial(gradients, model), variables, images)
        assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)
        assert gradient == variables["params"]
        assert variables["batch_stats"] == plain["batch_stats"]
        own = {*LAWS[law].init(1), "interaction_strength"}
        leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
        kept = [x for path, x in leaves if path[-1].key not in own]
        assert kept == jax.tree.leaves(plain["params"])
        assert len(leaves) > len(kept)


def gradients(model: Classifier, variables: Any, images: jax.Array) -> tuple[jax.Array, Any]:
    """Logits, and the gradient of their sum."""

    def total(params: Any) -> tuple[jax.Array, jax.Array]:
        logits, _ = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return logits.sum(), logits

    gradient, logits = jax.grad(total, has_aux=True)(variables["params"])
    return logits, gradient


@pytest.mark.parametrize("law", ["ring", "divisive"])
@pytest.mark.parametrize("name", sampled(MODELS, "cnn", "vgg11", "resnet18", "densenet"))
def test_every_base_computes_with_two_laws(
    name: str, law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite logits, which the law's parameters change."""
    cut(monkeypatch)
    model = make(name, law, width=0.05).clone(**FIELDS.get(name, {}))
    own = set(LAWS[law].init(1))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, 32, 32, 3)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)

    def fill(path: Any, x: jax.ShapeDtypeStruct) -> jax.Array:
        forced = path[-1].key in own
        spread = rng.normal(size=x.shape) / np.sqrt(max(1, np.prod(x.shape[:-1])))
        return jnp.zeros(x.shape) if forced else jnp.asarray(np.abs(spread), jnp.float32)

    def push(path: Any, x: jax.Array) -> jax.Array:
        forced = path[-1].key in own
        return x + jnp.linspace(0.0, 0.2, x.size).reshape(x.shape) if forced else x

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    apply = jax.jit(model.apply)
    start = apply(variables, images)
    moved = apply(jax.tree_util.tree_map_with_path(push, variables), images)
    assert start.shape == moved.shape == (2, 5)
    assert np.all(np.isfinite(start))
    assert np.all(np.isfinite(moved))
    assert np.abs(moved - start).max() > 1e-3


def parts(law: str) -> tuple[Any, Any]:
    """The factories of layers and stand-alone norms."""
    model = make("cnn", law)
    return model.layer, model.norm


def forces(variables: Any) -> set[str]:
    """Paths of the layers that hold a force."""
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {
        "/".join(key.key for key in path[:-1])
        for path, _ in leaves
        if path[-1].key == "neighbor_forces"
    }


def test_force_acts_after_every_norm_of_a_convolution() -> None:
    layer, norm = parts("ring")
    images = jnp.zeros((1, 8, 8, 6))
    key = jax.random.key(0)
    block = jax.eval_shape(lambda: BasicBlock(layer, 8, strides=2).init(key, images))
    assert forces(block) == {"conv1", "conv2", "shortcut"}
    inception = jax.eval_shape(lambda: Inception(layer, (4, 5, 6, 7, 8, 9)).init(key, images))
    names = {"branch1", "branch2", "branch3", "branch4", "branch2_reduce", "branch3_reduce"}
    assert forces(inception) == names
    densenet = DenseNet(3, layer, Conv, nn.Dense, norm, depths=(1, 1))
    dense = jax.eval_shape(lambda: densenet.init(key, jnp.zeros((1, 8, 8, 3))))
    assert forces(dense) == {"block1_1_conv1", "block2_1_conv1"}
    # What is only collected is the kernel alone, and its norms stand alone.
    assert set(dense["params"]["block1_1_conv2"]) == {"kernel"}
    assert set(dense["params"]["block1_1_norm"]) == {"scale", "bias"}
    assert set(dense["batch_stats"]["transition1_norm"]) == {"mean", "var"}


def test_option_a_shortcut_takes_every_other_pixel_and_pads_channels() -> None:
    x = jnp.arange(2 * 4 * 4 * 3.0).reshape(2, 4, 4, 3)
    block = BasicBlock(parts("none")[0], 6, strides=2, project=False)
    y = block.shortcut(x, False)
    np.testing.assert_array_equal(y[..., 1:4], x[:, ::2, ::2])
    np.testing.assert_array_equal(y[..., [0, 4, 5]], np.zeros((2, 2, 2, 3)))


def test_a_block_whose_convolutions_are_zero_is_its_shortcut() -> None:
    layer, _ = parts("ring")
    block = BasicBlock(layer, 4)
    x = jnp.abs(jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 4)), jnp.float32))
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    np.testing.assert_array_equal(jax.jit(block.apply)(zeros, x), x)


@pytest.mark.parametrize(("side", "window", "expected"), [(112, 3, 56), (28, 3, 14), (14, 2, 7)])
def test_googlenet_pools_round_up(side: int, window: int, expected: int) -> None:
    # torchvision: MaxPool2d(window, stride=2, ceil_mode=True)
    pooled = jax.eval_shape(lambda x: _halve(x, window), jnp.zeros((1, side, side, 4)))
    assert pooled.shape == (1, expected, expected, 4)


def test_auxiliary_heads_classify_in_training_alone() -> None:
    """Two heads with forces of their own, and a prediction that knows nothing of them."""
    model = make("googlenet", "ring", width=0.1, auxiliary_weight=0.3)
    images = jnp.zeros((2, 32, 32, 3))
    shapes = jax.eval_shape(
        partial(model.init, mutable=["params", "batch_stats"]), jax.random.key(0), images
    )

    def seen(train: bool) -> Any:
        mutable = ["batch_stats", AUXILIARY]
        rngs = {"dropout": jax.random.key(0)}
        applied = partial(model.apply, train=train, mutable=mutable, rngs=rngs)
        _, changed = jax.eval_shape(applied, shapes, images)
        return changed.get(AUXILIARY, {})

    assert {name: x.shape for name, x in seen(train=True).items()} == {"4a": (2, 5), "4d": (2, 5)}
    assert seen(train=False) == {}
    heads = {name for name in shapes["params"] if name.startswith("auxiliary")}
    assert {f"{name}/conv" for name in heads} <= forces(shapes)
    kept = {name: x for name, x in shapes["params"].items() if name not in heads}
    bare = make("googlenet", "ring", width=0.1)
    logits = jax.eval_shape(bare.apply, {**shapes, "params": kept}, images)
    assert logits.shape == (2, 5)


@pytest.mark.parametrize(
    ("law", "name"),
    sampled(
        zip(LAWS, itertools.cycle(["vgg11", "resnet20"]), strict=False),
        "ring",
        "divisive",
        "miller",
    ),
)
def test_every_law_trains(name: str, law: str) -> None:
    """A gradient step downhill lowers the loss, and every parameter of the law has a gradient."""
    model = make(name, law, width=0.07)
    if name == "vgg11":
        model = model.clone(depths=(1, 0, 0, 1, 0), hidden=())
    else:
        model = model.clone(depths=(1, 1), features=(32, 64))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(6, 32, 32, 3)), jnp.float32)
    labels = jnp.eye(5)[np.arange(6) % 5]
    variables = init_variables(model, jax.random.key(0), 32)

    @jax.jit
    def loss(params: Any) -> tuple[jax.Array, Any]:
        def objective(params: Any) -> jax.Array:
            logits, _ = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1))

        return jax.value_and_grad(objective)(params)

    own = set(LAWS[law].init(1))

    def move(path: Any, x: jax.Array) -> jax.Array:
        # Where a parameter is zero, or a hidden unit dead, another has no gradient.
        return jnp.abs(x) + 0.1 * np.abs(rng.normal(size=x.shape)) if path[-1].key in own else x

    params = jax.tree_util.tree_map_with_path(move, variables["params"])
    before, gradient = loss(params)
    after, _ = loss(jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient))
    assert after < before
    found = [x for p, x in jax.tree_util.tree_leaves_with_path(gradient) if p[-1].key in own]
    assert bool(found) == bool(own)
    assert all(np.any(x != 0) for x in found)
