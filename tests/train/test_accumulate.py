"""Batches in parts, and layers computed again: less memory, the same steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.short import build_short
from helpers.steps import assert_close, configure, run_steps, without_ties
from physjax import data
from physjax.config import ConfigError, ModelConfig, run_name
from physjax.models import MODELS, build
from physjax.train import step
from physjax.train.accumulate import in_parts
from physjax.train.batch import Batch
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.state import init_state

pytestmark = pytest.mark.quick_compile

CALM = {"learning_rate": 0.02, "schedule": "constant", "warmup": 0.0}


@pytest.fixture(scope="module")
def noise() -> data.Dataset:
    return without_ties()


@pytest.mark.parametrize(("rule", "shards"), [("backprop", 2), ("feedback-alignment", 1)])
def test_parts_add_up_to_the_batch(noise: data.Dataset, rule: str, shards: int) -> None:
    model = {"norm": "none", "dropout": 0.3}
    whole = configure(model=model, optim=CALM, rule={"update_rule": rule})
    parted = whole.set("optim.accumulate", 4)
    one = run_steps(whole, noise, 1, 3)
    four = run_steps(parted, noise, shards, 3)
    assert_close(one.params, four.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.metrics.loss_sum, four.metrics.loss_sum, rtol=1e-6)
    assert one.metrics.correct == four.metrics.correct
    assert one.metrics.count == four.metrics.count == 120


def test_a_short_last_batch_adds_up_too(noise: data.Dataset) -> None:
    """40 of 200 images are left for the third batch of 80: two parts, of which one is empty."""
    whole = configure(
        model={"norm": "none", "dropout": 0.0},
        optim={**CALM, "batch_size": 80, "drop_remainder": False},
    )
    one = run_steps(whole, noise, 1, 3)
    two = run_steps(whole.set("optim.accumulate", 2), noise, 1, 3)
    assert_close(one.params, two.params, rtol=1e-5, atol=1e-6)
    assert one.metrics.count == two.metrics.count == 200


def test_a_norm_sees_each_part_and_keeps_statistics_of_all(noise: data.Dataset) -> None:
    """Two parts are two updates of the running mean."""
    config = configure(model={"norm": "batch", "norm_momentum": 0.5}, optim=CALM)
    one = run_steps(config, noise, 1, 1)
    two = run_steps(config.set("optim.accumulate", 2), noise, 1, 1)
    means = [jax.tree.leaves(state.batch_stats) for state in (one, two)]
    assert all(not np.allclose(a, b) for a, b in zip(*means, strict=True))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(two.params))


@pytest.mark.parametrize("unroll", [False, True])
def test_a_loop_and_its_unrolled_form_give_each_part_in_its_order(unroll: bool) -> None:
    batch = Batch(jnp.arange(6.0), jnp.arange(6), jnp.ones(6, bool), jnp.int32(6))

    def part(stats: Any, share: Batch, number: jax.Array) -> tuple[Any, jax.Array, Any]:
        grown = {"seen": 10 * stats["seen"] + share.targets[0]}
        return {"w": jnp.sum(share.inputs) * (number + 1.0)}, share.inputs[:, None], grown

    gradients, logits, stats = in_parts(
        part, {"w": jnp.float32(7)}, {"seen": jnp.int32(0)}, batch, 3, unroll=unroll
    )
    assert gradients["w"] == 1 * (0 + 1) + 2 * (2 + 3) + 3 * (4 + 5)
    np.testing.assert_array_equal(logits[:, 0], np.arange(6))
    assert stats["seen"] == 24


def test_what_cannot_be_parted_is_refused(noise: data.Dataset) -> None:
    def setup(**parts: dict[str, Any]) -> TrainSetup:
        return TrainSetup(configure(**parts), noise.info, 200, 2)

    with pytest.raises(ConfigError, match="a batch of 40 does not divide over 2 devices in 3 part"):
        setup(optim={"accumulate": 3})
    with pytest.raises(ConfigError, match=r"accumulate is 2, but learning rule 'coupled' needs"):
        setup(optim={"accumulate": 2}, rule={"update_rule": "coupled"})
    assert setup(optim={"accumulate": 4}).steps_per_epoch == 5


def test_accumulation_makes_another_run_and_rematerialisation_the_same() -> None:
    config = configure()
    assert run_name(config.set("run.remat", True)) == run_name(config)
    assert run_name(config.set("optim.accumulate", 2)) != run_name(config)


@pytest.mark.parametrize("shards", [1, 2])
def test_layers_that_are_computed_again_make_the_same_steps(
    noise: data.Dataset, shards: int
) -> None:
    config = configure(model={"norm": "batch", "dropout": 0.2}, optim=CALM)
    plain = run_steps(config, noise, shards, 3)
    again = run_steps(config.set("run.remat", True), noise, shards, 3)
    assert_close(plain.params, again.params, rtol=1e-5, atol=1e-6)
    assert_close(plain.batch_stats, again.batch_stats, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if not spec.alias_of])
def test_a_checkpoint_of_one_is_one_of_the_other(name: str) -> None:
    """Every base has the same variables when its layers are computed again."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    plain, again = (
        jax.eval_shape(
            build(ModelConfig(name, law="ring"), 10, remat=remat).init, jax.random.key(0), images
        )
        for remat in (False, True)
    )
    assert plain == again


@pytest.mark.exhaustive
def test_a_network_of_many_layers_starts_and_learns_the_same_when_they_are_computed_again() -> None:
    plain, again = (build_short("densenet", 10, "ring", remat=remat) for remat in (False, True))
    images = jax.random.uniform(jax.random.key(1), (4, 32, 32, 3))
    variables = plain.init(jax.random.key(0), images)
    assert_close(variables, again.init(jax.random.key(0), images), rtol=0, atol=0)

    def loss(params: Any, model: Any) -> tuple[jax.Array, Any]:
        logits, changed = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats", "voltages"],
        )
        return jnp.sum(jnp.square(logits)), changed

    found = [jax.grad(loss, has_aux=True)(variables["params"], m) for m in (plain, again)]
    assert_close(*found, rtol=1e-3, atol=1e-4)


def test_layers_that_are_computed_again_keep_their_input_alone() -> None:
    """Bytes that the backward pass is left: AlexNet's convolutions are four times their pools."""
    images = jax.random.uniform(jax.random.key(1), (4, 32, 32, 3))
    kept = {}
    for remat in (False, True):
        model = build_short("alexnet", 10, "ring", remat=remat)
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)
        variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

        def logits(params: Any, model: Any = model, variables: Any = variables) -> jax.Array:
            changed = {**variables, "params": params}
            return model.apply(changed, images, train=True, mutable=["batch_stats"])[0]

        def pull(params: Any, logits: Any = logits) -> Any:
            return jax.vjp(logits, params)[1]

        left = jax.tree.leaves(jax.eval_shape(pull, variables["params"]))
        kept[remat] = sum(leaf.size * leaf.dtype.itemsize for leaf in left)
    assert kept[True] < 0.5 * kept[False], kept


@pytest.mark.slow
def test_parts_in_a_loop_take_the_memory_of_one(
    noise: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of temporary arrays, as the compiler plans them on any device."""
    sizes = []
    for parts in (1, 4):
        monkeypatch.setattr(
            step, "in_parts", lambda *a, unroll, **b: in_parts(*a, unroll=not unroll, **b)
        )
        config = configure(model={"width": 0.25}, optim={"batch_size": 200, "accumulate": parts})
        setup = TrainSetup(config, noise.info, len(noise.train.labels))
        arguments = (noise.train.images, noise.train.labels, shuffle_indices(0, 0, 200))
        lowered = jax.jit(lambda *a, setup=setup: step.train_step(setup, *a)).lower(
            init_state(setup), *arguments
        )
        memory = lowered.compile().memory_analysis()
        assert memory is not None
        sizes.append(memory.temp_size_in_bytes)
    assert sizes[1] < 0.6 * sizes[0], sizes
