"""The batch that a step takes: which rows of the training set, and how they are augmented.

Both follow from (seed, step) alone, whatever devices there are.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from physjax.data import augment
from physjax.train.setup import TrainSetup, stream_key
from physjax.train.sharding import by_device
from physjax.train.state import TrainState


def rows_of_steps(setup: TrainSetup, order: jax.Array, step: Any, repeat: int = 1) -> jax.Array:
    """int32 [repeat, batch]: the rows of the training set that `step` and those after it take.

    Past the end of the set it is the last one of the order, which is masked.
    """
    size = setup.config.optim.batch_size
    steps = step % setup.steps_per_epoch + jnp.arange(repeat)
    positions = steps[:, None] * size + jnp.arange(size)[None]
    return order[jnp.minimum(positions, setup.train_size - 1)]


class Batch(struct.PyTreeNode):
    """This program's part of a training batch, of n examples.

    Of a batch that is taken in parts every device has a share of each, and its shares one after the
    other: a part is the same examples for any number of devices.
    """

    inputs: jax.Array
    """float32 [n, S, S, 3], augmented and normalised."""
    targets: jax.Array
    """int32 [n]."""
    mask: jax.Array
    """bool [n]: False past the end of the training set."""
    count: jax.Array
    """Examples in the whole batch, over all shards."""


def select_batch(
    setup: TrainSetup,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    order: jax.Array,
    shard: jax.Array | int,
    gathered: bool = False,
) -> Batch:
    """The batch that state.step names, augmented; arguments as in `train_step`."""
    size = setup.config.optim.batch_size
    start = (state.step % setup.steps_per_epoch) * size
    positions = start + jnp.arange(size)
    rows = rows_of_steps(setup, order, state.step)[0]
    alternate = setup.config.augment.alternate

    def own(whole: jax.Array) -> jax.Array:
        by_program = setup.in_device_order(whole).reshape(setup.programs, -1)
        return lax.dynamic_index_in_dim(by_program, shard, keepdims=False)

    if not gathered:
        chosen = own(rows)
        images, labels = images[chosen], labels[chosen]
    with jax.named_scope("augment"):
        # Every device draws for the whole batch and keeps its part: the same for any device count.
        draws = augment.draw(
            stream_key(state.seed, "augment", state.step),
            size,
            setup.config.augment,
            image_size=images.shape[1],
            out_size=setup.image_size,
            mirror=setup.info.mirror,
            mirrored=_alternated(setup, state, rows) if alternate else None,
        )
        inputs = by_device(
            setup,
            lambda draws, images: augment.apply(
                draws,
                images,
                setup.config.augment,
                setup.image_size,
                setup.info.mean,
                setup.info.std,
            ),
            jax.tree.map(own, draws),
            images,
        )
    return Batch(
        inputs=inputs,
        targets=labels,
        mask=own(positions) < setup.train_size,
        count=jnp.minimum(size, setup.train_size - start),
    )


def _alternated(setup: TrainSetup, state: TrainState, rows: jax.Array) -> jax.Array:
    """Of those rows, which are mirrored: a random half in even epochs, the others in odd ones."""
    epoch = state.step // setup.steps_per_epoch
    first = jax.random.bernoulli(stream_key(state.seed, "mirror", 0), shape=(setup.train_size,))
    return first[rows] ^ (epoch % 2 == 1)
