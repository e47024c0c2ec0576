"""Train steps of a small network, without a run around them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from physjax import data
from physjax.config import RECIPES, Config
from physjax.train.batch import select_batch
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.sharding import compile_step, place, place_state
from physjax.train.state import Metrics, TrainState, init_state
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
    state = place_state(setup, init_state(setup))
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


def batch_digests(setup: TrainSetup, dataset: data.Dataset, steps: Iterable[int]) -> list[str]:
    """Of each step's batch a SHA-256: its rows of the training set, and its augmented pixels.

    As the train step of the setup takes it, over all of its devices; hosts must all ask.
    """
    mean, std = np.array(setup.info.mean), np.array(setup.info.std)
    digests = []
    for batch in whole_batches(setup, dataset, steps):
        pixels = np.rint(255 * (batch.inputs * std + mean)).astype(np.uint8)
        digests.append(hashlib.sha256(batch.targets.tobytes() + pixels.tobytes()).hexdigest())
    return digests


def whole_batches(setup: TrainSetup, dataset: data.Dataset, steps: Iterable[int]) -> Iterator[Any]:
    """The `Batch` of each step, put together over all devices of the setup, in NumPy's arrays.

    Its labels are rows of the training set.
    """

    def batch(setup: TrainSetup, state: TrainState, *arrays: jax.Array, shard: Any) -> Any:
        found = select_batch(setup, state, *arrays, shard).replace(count=None)
        if setup.axis_name is None:
            return found
        return lax.all_gather(found, setup.axis_name, tiled=True)

    # What is chosen depends on nothing else of a state; numbers for labels name the rows.
    seed = jnp.uint32(setup.config.run.seed)
    state = TrainState(jnp.int32(0), seed, {}, {}, {}, {}, Metrics.zero())
    size = setup.train_size
    images, rows = place(setup, (dataset.train.images, np.arange(size, dtype=np.int32)))
    shuffle = jax.jit(shuffle_indices, static_argnums=2)
    state = place(setup, state)
    order = place(setup, np.arange(size, dtype=np.int32))
    select = compile_step(setup, batch, state, images, rows, order)
    in_batch = np.argsort(setup.in_device_order(np.arange(setup.config.optim.batch_size)))
    of = -1
    for step in steps:
        if step // setup.steps_per_epoch != of:
            of = step // setup.steps_per_epoch
            shuffled = np.asarray(shuffle(setup.config.run.seed, of, size), np.int32)
            order = place(setup, shuffled)
        at = state.replace(step=place(setup, np.int32(step)))
        found = select(at, images, rows, order)
        yield jax.tree.map(lambda array: np.asarray(array)[in_batch], found)
