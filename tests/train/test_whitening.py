"""A first layer made of the images' patches: uncorrelated outputs, and frozen where asked for."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from helpers.steps import configure
from physjax import data
from physjax.config import RECIPES, Config
from physjax.data import augment
from physjax.models import MODELS, first_layer
from physjax.train.setup import TrainSetup
from physjax.train.state import init_state
from physjax.train.step import train_step

pytestmark = pytest.mark.quick_compile


def digits() -> data.Dataset:
    return data.load(RECIPES["smoke"].data)


def setup_of(config: Config, dataset: data.Dataset) -> TrainSetup:
    return TrainSetup(config, dataset.info, len(dataset.train))


WIDE = {"name": "alexnet", "law": "none", "width": 1.0, "norm": "none"}


def test_the_outputs_are_uncorrelated_and_come_in_pairs() -> None:
    dataset = digits()
    setup = setup_of(configure(model={**WIDE, "first_layer": "whitened"}), dataset)
    kernel = init_state(setup, dataset.train.images).params["conv1"]["kernel"]
    seen = augment.preprocess(
        jnp.asarray(dataset.train.images[:100]),
        32,
        setup.info.mean,
        setup.info.std,
        setup.config.augment,
    )
    y = lax.conv_general_dilated(
        seen, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    outputs = np.asarray(y, np.float64).reshape(-1, 64)
    # The digits are grey and were small: in a 3x3 patch of 27 numbers few directions vary much.
    second = outputs[:, :12:2].T @ outputs[:, :12:2] / len(outputs)
    np.testing.assert_allclose(second, np.eye(6), atol=0.1)
    np.testing.assert_array_equal(kernel[..., :54:2], -kernel[..., 1:54:2])
    plain = init_state(setup).params["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel[..., 54:], plain[..., 54:])
    assert not np.array_equal(kernel[..., :54], plain[..., :54])


@pytest.mark.parametrize("start", ["whitened", "frozen"])
def test_a_frozen_first_layer_stays_and_another_learns(start: str) -> None:
    dataset = digits()
    config = configure(model={"first_layer": start}, optim={"weight_decay": 0.1})
    setup = setup_of(config, dataset)
    state = init_state(setup, dataset.train.images)
    before = np.array(state.params["conv1"]["kernel"])
    train = jax.jit(partial(train_step, setup))
    order = np.arange(len(dataset.train), dtype=np.int32)
    after = train(state, dataset.train.images, dataset.train.labels, order)
    same = np.array_equal(before, after.params["conv1"]["kernel"])
    assert same == (start == "frozen")
    assert not np.array_equal(state.params["conv2"]["kernel"], after.params["conv2"]["kernel"])


@pytest.mark.parametrize("name", [n for n in MODELS if not MODELS[n].alias_of])
def test_every_base_has_one_first_layer(name: str) -> None:
    setup = setup_of(configure(model={"name": name, "law": "none"}), digits())
    path = first_layer(setup.model(), setup.image_size)
    params = jax.eval_shape(lambda: init_state(setup).params)
    for step in path:
        params = params[step]
    assert params["kernel"].shape[2] == 3
