"""The batch that a step takes: which rows of the training set, and how they are augmented.

Both follow from (seed, step) alone, whatever devices there are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from physjax.data import augment, mixing
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
    """float32 [n, S, S, 3], augmented, normalised and mixed."""
    targets: jax.Array
    """int32 [n]; of mixed images the labels that have the larger share."""
    mask: jax.Array
    """bool [n]: False past the end of the training set."""
    count: jax.Array
    """Examples in the whole batch, over all shards."""
    partners: jax.Array | None = None
    """int32 [n]: the labels that have the rest; None where nothing is mixed."""
    share: jax.Array | None = None
    """float32 [n]: that of `targets`, at least 1/2; None where nothing is mixed."""

    def probabilities(self, classes: int, smoothing: float = 0.0) -> jax.Array:
        """float32 [n, classes]: what the network is to say, with that much spread over all."""
        wanted = jax.nn.one_hot(self.targets, classes)
        if self.share is not None:
            others = jax.nn.one_hot(self.partners, classes)
            share = self.share[:, None]
            wanted = share * wanted + (1 - share) * others
        return optax.smooth_labels(wanted, smoothing)


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
    config = setup.config.augment

    def own(whole: jax.Array) -> jax.Array:
        in_order = setup.in_device_order(whole.T).T
        by_program = in_order.reshape(setup.programs, -1, *whole.shape[1:])
        return lax.dynamic_index_in_dim(by_program, shard, keepdims=False)

    if not gathered:
        chosen = own(rows)
        images, labels = images[chosen], labels[chosen]
    with jax.named_scope("augment"):
        # Every device draws for the whole batch and keeps its part: the same for any device count.
        draws = augment.draw(
            stream_key(state.seed, "augment", state.step),
            size,
            config,
            image_size=images.shape[1],
            out_size=setup.image_size,
            mirror=setup.info.mirror,
            mirrored=_alternated(setup, state, rows) if config.alternate else None,
        )
        mixed: dict[str, jax.Array] = {}
        if mixing.mixes(config):
            key = stream_key(state.seed, "mix", state.step)
            mixed = mixing.draw(key, size, config, setup.image_size)
        draws, mixed = jax.tree.map(own, (draws, mixed))
        inputs = by_device(setup, partial(_changed, setup), draws, mixed, images)
    return Batch(
        inputs=inputs,
        targets=labels,
        mask=own(positions) < setup.train_size,
        count=jnp.minimum(size, setup.train_size - start),
        partners=mixing.partners(labels) if mixed else None,
        share=mixed.get("share"),
    )


def _changed(
    setup: TrainSetup,
    draws: dict[str, jax.Array],
    mixed: dict[str, jax.Array],
    images: jax.Array,
) -> jax.Array:
    """Images of whole pairs, augmented and mixed: float32 [n, S, S, 3]."""
    info = setup.info
    found = augment.apply(
        draws, images, setup.config.augment, setup.image_size, info.mean, info.std
    )
    return mixing.apply(mixed, found) if mixed else found


def _alternated(setup: TrainSetup, state: TrainState, rows: jax.Array) -> jax.Array:
    """Of those rows, which are mirrored: a random half in even epochs, the others in odd ones."""
    epoch = state.step // setup.steps_per_epoch
    first = jax.random.bernoulli(stream_key(state.seed, "mirror", 0), shape=(setup.train_size,))
    return first[rows] ^ (epoch % 2 == 1)
