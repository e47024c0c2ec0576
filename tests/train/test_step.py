"""The train and eval steps: what they compute, on one device and on several."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.sampling import sampled
from helpers.short import build_short, cut
from helpers.steps import assert_close, configure, run_steps, states_of, without_ties
from physjax import data
from physjax.config import RECIPES, ConfigError
from physjax.data import augment
from physjax.train.batch import select_batch
from physjax.train.predict import Predictor
from physjax.train.setup import TrainSetup, shuffle_indices, stream_key
from physjax.train.sharding import place
from physjax.train.state import Metrics, init_state
from physjax.train.step import train_step

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(RECIPES["smoke"].data)


@pytest.fixture(scope="module")
def noise() -> data.Dataset:
    return without_ties()


@pytest.mark.parametrize(("norm", "shards"), [("batch", 4), ("none", 8)])
def test_pmap_equals_jit(noise: data.Dataset, norm: str, shards: int) -> None:
    config = configure(
        model={"norm": norm, "dropout": 0.0},
        optim={"learning_rate": 0.02, "schedule": "constant", "warmup": 0.0},
    )
    one = run_steps(config, noise, 1, 2)
    many = run_steps(config, noise, shards, 2)
    # Rounding alone differs: sums are taken in another order.
    assert_close(one.params, many.params, rtol=1e-4, atol=1e-5)
    assert_close(one.batch_stats, many.batch_stats, rtol=1e-4, atol=1e-5)
    assert one.metrics.count == many.metrics.count == 80
    np.testing.assert_allclose(one.metrics.loss_sum, many.metrics.loss_sum, rtol=1e-4)


# VGG is built of what AlexNet is built of, and the deeper ResNet of what the other one is.
@pytest.mark.slow
@pytest.mark.parametrize(
    "base", sampled(["alexnet", "googlenet", "resnet20", "densenet"], "alexnet", "densenet")
)
def test_every_base_is_the_same_under_pmap(
    base: str, noise: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch)
    law = "spring" if base in ("alexnet", "resnet20") else "ring"
    monkeypatch.setattr(
        TrainSetup,
        "model",
        lambda setup, folded=False: build_short(base, 10, law, axis_name=setup.axis_name),
    )
    config = configure(optim={"learning_rate": 0.02, "schedule": "constant", "warmup": 0.0})
    start, _, one = states_of(config, noise, 1, 2)
    many = run_steps(config, noise, 4, 2)
    assert_close(one.params, many.params, rtol=1e-3, atol=1e-4)
    assert_close(one.batch_stats, many.batch_stats, rtol=1e-3, atol=1e-4)
    assert one.metrics.count == many.metrics.count == 80
    # The parameters have moved further than they may differ.
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one.params, start.params)
    assert max(jax.tree.leaves(moved)) > 1e-2


def test_auxiliary_heads_learn_by_their_weight(
    digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of plain gradient descent: what only a head's loss reaches moves in proportion."""
    cut(monkeypatch)
    optim = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0}
    moved = {}
    for weight in (0.3, 0.6):
        model = {"name": "googlenet", "auxiliary_weight": weight}
        config = configure(model=model, optim=optim)
        start, end = states_of(config, digits, 1, 1)
        moved[weight] = jax.tree.map(np.subtract, end.params, start.params)
        assert end.metrics.loss == pytest.approx(np.log(10), rel=0.5)  # the main head's alone
    weak, strong = moved[0.3], moved[0.6]
    assert np.abs(weak["auxiliary4a"]["fc1"]["kernel"]).max() > 1e-4
    for name in ("fc1", "fc2", "conv"):
        head = {w: moved[w]["auxiliary4a"][name]["kernel"] for w in moved}
        np.testing.assert_allclose(head[0.6], 2 * head[0.3], rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(strong["fc"]["kernel"], weak["fc"]["kernel"], rtol=1e-4, atol=1e-7)
    assert not np.allclose(strong["conv1"]["kernel"], weak["conv1"]["kernel"], atol=1e-5)


def test_scanned_steps_equal_single_steps(noise: data.Dataset) -> None:
    config = configure(optim={"ema": 0.9})
    one, four = (run_steps(config, noise, 1, 4, repeat=r) for r in (1, 4))
    assert one.step == four.step == 4
    assert_close(one.params, four.params, rtol=1e-3, atol=1e-5)
    assert_close(one.ema, four.ema, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("decay", [0.75, 0.999])
def test_moving_average_is_the_weighted_mean_of_the_parameters(
    digits: data.Dataset, decay: float
) -> None:
    """Without the start values: at decay 0.999 they would be nine tenths of it here."""
    config = configure(optim={"ema": decay})
    states = states_of(config, digits, 1, 3)[1:]
    weights = np.array([decay**2, decay, 1]) / (decay**2 + decay + 1)

    def mean(*values: np.ndarray) -> np.ndarray:
        return sum(w * v.astype(np.float64) for w, v in zip(weights, values, strict=True))

    expected = jax.tree.map(mean, *(state.params for state in states))
    assert_close(states[2].ema, expected, rtol=1e-5, atol=1e-6)
    assert_close(states[0].ema, states[0].params, rtol=1e-5, atol=1e-6)
    assert states[2].variables["params"] is states[2].ema


def test_one_step_of_the_whole_is_gradient_descent_by_hand(noise: data.Dataset) -> None:
    """Against a loss written out here: normalised images, cross-entropy, plain gradient."""
    config = configure(
        augment={"crop": "none", "mirror": False},
        model={"norm": "none", "dropout": 0.0},
        optim={
            "batch_size": 200,
            "learning_rate": 0.1,
            "schedule": "constant",
            "warmup": 0.0,
            "momentum": 0.0,
            "weight_decay": 0.0,
        },
    )
    setup = TrainSetup(config, noise.info, 200)
    params = init_state(setup).params
    mean, std = np.array(noise.info.mean), np.array(noise.info.std)
    images = jnp.asarray((noise.train.images / 255 - mean) / std, jnp.float32)

    @jax.jit
    def loss(params: Any) -> jax.Array:
        scores = jax.nn.log_softmax(setup.model().apply({"params": params}, images))
        return -jnp.mean(scores[jnp.arange(200), noise.train.labels])

    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.jit(jax.grad(loss))(params))
    state = run_steps(config, noise, 1, 1)
    assert_close(state.params, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.metrics.loss, loss(params), rtol=1e-5)


def test_short_last_batch_counts_only_its_examples(noise: data.Dataset) -> None:
    config = configure(
        model={"norm": "none"}, optim={"batch_size": 64, "drop_remainder": False, "ema": 0.0}
    )
    setup = TrainSetup(config, noise.info, 200)
    assert setup.steps_per_epoch == 4
    assert run_steps(config, noise, 1, 4).metrics.count == 200
    dropped = TrainSetup(configure(optim={"batch_size": 64}), noise.info, 200)
    assert dropped.steps_per_epoch == 3


def test_order_is_a_permutation_that_depends_on_seed_and_epoch() -> None:
    orders = [
        np.asarray(shuffle_indices(seed, epoch, 50)) for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_streams_do_not_share_keys() -> None:
    keys = [
        tuple(jax.random.key_data(stream_key(seed, stream, count)).tolist())
        for seed in (0, 1)
        for stream in ("init", "shuffle", "augment", "dropout")
        for count in (0, 1, 2)
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("batch", "shards"), [(360, 1), (77, 4)])
def test_evaluation_counts_every_example_once(
    digits: data.Dataset, batch: int, shards: int
) -> None:
    config = configure(run={"eval_batch_size": batch})
    setup = TrainSetup(config, digits.info, 200, shards)
    state = init_state(setup)
    variables = place(setup, state.variables)
    predictor, between = Predictor(setup, variables), []
    found = predictor.evaluate(
        variables,
        predictor.batches(digits.test.images),
        digits.test.labels,
        lambda: between.append(1),
    ).metrics
    assert len(between) == -(-360 // predictor.batch_size)
    info = digits.info
    images = (digits.test.images / 255 - np.array(info.mean)) / np.array(info.std)
    model = TrainSetup(config, info, 200).model()
    logits = np.asarray(jax.jit(model.apply)(state.variables, jnp.asarray(images, jnp.float32)))
    guesses = logits.argmax(-1)
    # Another program, which may decide a near tie otherwise.
    second, first = np.sort(logits, -1)[:, -2:].T
    near_ties = int(np.sum(first - second < 1e-4))
    assert near_ties < 10
    scores = np.asarray(jax.nn.log_softmax(logits))
    assert len(digits.test.labels) == 360
    accuracy = np.mean(guesses == digits.test.labels)
    assert found.accuracy == pytest.approx(accuracy, abs=near_ties / 360 + 1e-6)
    picked = scores[np.arange(360), digits.test.labels]
    np.testing.assert_allclose(found.loss, -np.mean(picked), rtol=1e-4)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (digits.test.labels, guesses), 1)
    assert np.sum(found.confusion) == 360
    assert np.abs(found.confusion - expected).sum() <= 2 * near_ties


def test_a_loss_that_is_not_finite_is_remembered_by_its_step(digits: data.Dataset) -> None:
    config = configure(optim={"learning_rate": 1e20, "schedule": "constant", "warmup": 0.0})
    state = run_steps(config, digits, 1, 4)
    assert state.metrics.first_nonfinite_step in (1, 2)
    merged = Metrics.zero().merge(state.metrics)
    assert merged.first_nonfinite_step == state.metrics.first_nonfinite_step


def test_a_batch_that_does_not_divide_is_refused_with_the_numbers(digits: data.Dataset) -> None:
    with pytest.raises(
        ConfigError, match=r"42 does not divide over 4.*--devices 3 .*--batch-size 40"
    ):
        TrainSetup(configure(optim={"batch_size": 42}), digits.info, 200, 4)
    with pytest.raises(ConfigError, match=r"batch_size is 400.*200 training"):
        TrainSetup(configure(optim={"batch_size": 400}), digits.info, 200)


def test_bf16_trains_with_float32_parameters(digits: data.Dataset) -> None:
    state = run_steps(configure(run={"precision": "bf16"}), digits, 1, 2)
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {np.dtype("float32")}
    assert np.isfinite(state.metrics.loss)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_step_lowers_for_accelerators(digits: data.Dataset, platform: str) -> None:
    config = configure(model={"algorithm": "auto", "width": 1.0}, run={"precision": "bf16"})
    setup = TrainSetup(config, digits.info, 200)
    state = jax.eval_shape(lambda: init_state(setup))
    shapes = [
        jax.ShapeDtypeStruct(x.shape, x.dtype)
        for x in (digits.train.images, digits.train.labels, np.zeros(200, np.int32))
    ]
    step = jax.jit(lambda state, *rest: train_step(setup, state, *rest))
    exported = jax.export.export(step, platforms=[platform])(state, *shapes)
    text = exported.mlir_module()
    # Three layers, each with one convolution forward and two backward, bar the images' gradient.
    assert text.count("stablehlo.convolution") == 8


def test_the_step_is_traced_once(digits: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = 0
    original = augment.draw

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal traces
        traces += 1
        return original(*arguments, **named)

    monkeypatch.setattr(augment, "draw", counted)
    run_steps(configure(), digits, 1, 3)
    assert traces == 1


def test_an_alternating_mirror_shows_each_image_both_ways_in_two_epochs() -> None:
    dataset = without_ties()
    size, batch = len(dataset.train), 40
    plain = {"crop": "none", "mirror": True, "alternate": True}
    config = configure(augment=plain, optim={"batch_size": batch})
    setup = TrainSetup(config, dataclasses.replace(dataset.info, mirror=True), size)
    straight = dataclasses.replace(setup, config=config.set("augment.mirror", False))
    state = init_state(setup)
    mirrored: list[dict[int, bool]] = []
    for epoch in range(3):
        order = np.asarray(shuffle_indices(0, epoch, size))
        seen = {}
        for step in range(setup.steps_per_epoch):
            at = state.replace(step=jnp.int32(epoch * setup.steps_per_epoch + step))
            arguments = (at, dataset.train.images, dataset.train.labels, order, 0)
            one, other = select_batch(setup, *arguments), select_batch(straight, *arguments)
            for row, index in enumerate(order[step * batch :][:batch]):
                flipped = np.array_equal(one.inputs[row], other.inputs[row][:, ::-1])
                assert flipped or np.array_equal(one.inputs[row], other.inputs[row])
                seen[int(index)] = flipped
        mirrored.append(seen)
    first, second, third = mirrored
    assert len(first) == size
    assert first == third == {index: not flipped for index, flipped in second.items()}
    assert 0.35 < np.mean(list(first.values())) < 0.65
