"""Train and eval steps: pure functions of (state, data).

A batch, its augmentation and its dropout follow from (seed, step) alone, so that a run can stop
at any step and go on, on another number of devices too (only dropout masks depend on that).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from physjax.data import augment
from physjax.models import AUXILIARY, Classifier
from physjax.nn.taps import VOLTAGES
from physjax.rules import Network, Outputs, Update
from physjax.train.accumulate import in_parts
from physjax.train.setup import TrainSetup, stream_key
from physjax.train.state import NEVER, Metrics, TrainState, as_variables

T = TypeVar("T")


def _targets(labels: jax.Array, classes: int, smoothing: float) -> jax.Array:
    return optax.smooth_labels(jax.nn.one_hot(labels, classes), smoothing)


def _cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    return optax.softmax_cross_entropy(logits, _targets(labels, logits.shape[-1], smoothing))


def _sum_over_shards(setup: TrainSetup, tree: T) -> T:
    return tree if setup.axis_name is None else lax.psum(tree, setup.axis_name)


def _averaged(params: Any, average: Any, decay: float, steps: jax.Array) -> Any:
    """The moving average after `steps` steps; an empty dict where `decay` is 0.

    It is debiased: the mean of the parameters after each step so far, weighted by decay^(steps
    ago), with weights that sum to 1. The start values are no part of it, which a decay of 0.999
    would otherwise still hold to a third after 1,000 steps.
    """
    if not decay:
        return {}
    # (1 - decay) / (1 - decay^steps), in digits that float32 has.
    weight = (1 - decay) / -jnp.expm1(steps * math.log(decay))
    return optax.incremental_update(params, average, weight)


def _replaced(tree: Any, new: Any) -> Any:
    """`tree` with the leaves that `new`, nested dictionaries of some of its names, has instead."""
    if not isinstance(new, Mapping):
        return new
    return {
        name: _replaced(value, new[name]) if name in new else value for name, value in tree.items()
    }


def rows_of_steps(setup: TrainSetup, order: jax.Array, step: Any, repeat: int = 1) -> jax.Array:
    """int32 [repeat, batch]: the rows of the training set that `step` and those after it take.

    Past the end of the set it is the last one of the order, which is masked.
    """
    size = setup.config.optim.batch_size
    steps = step % setup.steps_per_epoch + jnp.arange(repeat)
    positions = steps[:, None] * size + jnp.arange(size)[None]
    return order[jnp.minimum(positions, setup.train_size - 1)]


class Batch(struct.PyTreeNode):
    """This shard's part of a training batch, of n examples."""

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
    """The batch that state.step names, augmented; arguments as in :func:`train_step`."""
    size = setup.config.optim.batch_size
    part = size // setup.shards
    start = (state.step % setup.steps_per_epoch) * size
    positions = start + jnp.arange(size)
    rows = rows_of_steps(setup, order, state.step)[0]
    alternate = setup.config.augment.alternate

    def own(whole: jax.Array) -> jax.Array:
        return lax.dynamic_slice_in_dim(whole, shard * part, part)

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
        inputs = augment.apply(
            jax.tree.map(own, draws),
            images,
            setup.config.augment,
            setup.image_size,
            setup.info.mean,
            setup.info.std,
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


def make_network(
    setup: TrainSetup,
    state: TrainState,
    batch: Batch,
    shard: jax.Array | int,
    model: Classifier | None = None,
) -> Network:
    """What the learning rule sees: the network's loss on this shard's part of the batch.

    `model` takes the place of the setup's own.
    """
    model = model or setup.model()
    dropout = jax.random.fold_in(stream_key(state.seed, "dropout", state.step), shard)
    smoothing = setup.config.optim.label_smoothing

    def mean_loss(logits: jax.Array) -> jax.Array:
        losses = _cross_entropy(logits, batch.targets, smoothing)
        return jnp.sum(jnp.where(batch.mask, losses, 0.0)) / batch.count

    def run(model: Classifier, params: Any, perturbations: Any) -> tuple[Outputs, Any]:
        logits, changed = model.apply(
            {**as_variables(params, state.batch_stats), **perturbations},
            batch.inputs,
            train=True,
            mutable=["batch_stats", VOLTAGES, AUXILIARY],
            rngs={"dropout": dropout},
        )
        outputs = Outputs(logits, changed.get("batch_stats", {}), changed.get(VOLTAGES, {}))
        return outputs, changed.get(AUXILIARY, {})

    def loss(params: Any, perturbations: Any) -> tuple[jax.Array, Outputs]:
        outputs, early = run(model, params, perturbations)
        total = mean_loss(outputs.logits)
        for logits in jax.tree.leaves(early):
            total += setup.config.model.auxiliary_weight * mean_loss(logits)
        return total, outputs

    return Network(
        loss=loss,
        examples=batch.count,
        sum_over_devices=partial(_sum_over_shards, setup),
        forward=lambda params, activation: run(model.clone(activation=activation), params, {})[0],
        activation=model.activation,
        targets=_targets(batch.targets, setup.info.num_classes, smoothing),
        mask=batch.mask,
        key=stream_key(state.seed, "rule", state.step),
    )


def _update(setup: TrainSetup, state: TrainState, batch: Batch, shard: jax.Array | int) -> Update:
    """What the learning rule makes of the batch, at once or in parts."""
    parts = setup.config.optim.accumulate
    if parts == 1:
        return setup.rule.update(make_network(setup, state, batch, shard), state.params)

    def part(stats: Any, share: Batch, number: jax.Array) -> tuple[Any, jax.Array, Any]:
        # Each part has dropout masks of its own, and shares of the gradient are summed at the end.
        network = make_network(
            setup, state.replace(batch_stats=stats), share, shard * parts + number
        )
        alone = dataclasses.replace(network, sum_over_devices=lambda tree: tree)
        update = setup.rule.update(alone, state.params)
        return update.gradients, update.outputs.logits, update.outputs.batch_stats

    gradients, logits, stats = in_parts(
        part,
        state.params,
        state.batch_stats,
        batch,
        parts,
        unroll=jax.default_backend() == "cpu",
    )
    return Update(_sum_over_shards(setup, gradients), Outputs(logits, stats, {}))


def train_step(
    setup: TrainSetup,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    order: jax.Array,
    shard: jax.Array | int = 0,
    gathered: bool = False,
) -> TrainState:
    """One step of the learning rule and the optimiser on the batch that state.step names.

    `images` uint8 [N, H, W, 3] and `labels` int32 [N] are the whole training set, `order` int32
    [N] that of the epoch; `gathered`: they are those of this shard's part of the batch already,
    [n, H, W, 3] and [n]. Of `setup.shards` equal parts of the batch this computes part `shard`;
    gradients and metrics are summed over the mapped axis, so every shard returns the same state.
    """
    batch = select_batch(setup, state, images, labels, order, shard, gathered)
    update = _update(setup, state, batch, shard)
    with jax.named_scope("optimizer"):
        steps, opt_state = setup.optimizer().update(update.gradients, state.opt_state, state.params)
        params = _replaced(optax.apply_updates(state.params, steps), update.moved)
    metrics = _batch_metrics(setup, state, batch, update.outputs.logits)
    return TrainState(
        step=state.step + 1,
        seed=state.seed,
        params=params,
        batch_stats=update.outputs.batch_stats,
        opt_state=opt_state,
        ema=_averaged(params, state.ema, setup.config.optim.ema, state.step + 1),
        metrics=state.metrics.merge(metrics),
    )


def _batch_metrics(
    setup: TrainSetup, state: TrainState, batch: Batch, logits: jax.Array
) -> Metrics:
    losses = jnp.where(batch.mask, _cross_entropy(logits, batch.targets), 0.0)
    hits = batch.mask & (jnp.argmax(logits, -1) == batch.targets)
    loss_sum, correct = _sum_over_shards(setup, (jnp.sum(losses), jnp.sum(hits)))
    first_nonfinite_step = jnp.where(jnp.isfinite(loss_sum), NEVER, state.step)
    return Metrics(
        loss_sum,
        correct.astype(jnp.int32),
        batch.count.astype(jnp.int32),
        first_nonfinite_step.astype(jnp.int32),
    )
