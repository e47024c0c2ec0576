"""Train steps of a small network, without a run around them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from physjax import data
from physjax.config import RECIPES, Config
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.sharding import compile_step, place
from physjax.train.state import TrainState, init_state
from physjax.train.step import train_step

SMALL = {"name": "cnn", "law": "ring", "width": 0.1, "algorithm": "direct"}


def configure(**parts: dict[str, Any]) -> Config:
    base = RECIPES["smoke"]
    parts["model"] = {**SMALL, **parts.get("model", {})}
    return dataclasses.replace(
        base, **{k: dataclasses.replace(getattr(base, k), **v) for k, v in parts.items()}
    )


def without_ties() -> data.Dataset:
    """Images without two equal patches, for what is computed by two programs.

    In the flat areas of digits the pixels of a pooling window tie, and their last bits, which each
    program and each processor rounds in its own way, decide which one takes the gradient.
    """
    digits = data.load(RECIPES["smoke"].data)
    images = np.random.default_rng(0).integers(0, 256, digits.train.images.shape, np.uint8)
    train = dataclasses.replace(digits.train, images=images)
    return dataclasses.replace(digits, train=train)


def run_steps(
    config: Config, digits: data.Dataset, shards: int, steps: int, repeat: int = 1
) -> TrainState:
    """The state after `steps` steps."""
    return states_of(config, digits, shards, steps, repeat)[-1]


def states_of(
    config: Config, digits: data.Dataset, shards: int, steps: int, repeat: int = 1
) -> list[TrainState]:
    """The state before the first call, and after each call of `repeat` steps."""
    setup = TrainSetup(config, digits.info, len(digits.train.labels), shards)
    state = place(setup, init_state(setup))
    train = place(setup, (digits.train.images, digits.train.labels))
    order = place(setup, shuffle_indices(state.seed, 0, setup.train_size))
    call = compile_step(setup, train_step, state, *train, order, repeat=repeat, donate=True)
    # Copies: the state's buffers are donated to the next call.
    states = [jax.tree.map(np.array, state)]
    for _ in range(steps // repeat):
        state = call(state, *train, order)
        states.append(jax.tree.map(np.array, state))
    return states


def assert_close(one: Any, two: Any, **tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, two)
