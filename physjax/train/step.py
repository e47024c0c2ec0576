"""Train and eval steps: pure functions of (state, data).

A batch, its augmentation and its dropout masks follow from (seed, step) alone, so that a run can
stop at any step and go on, also on another number of devices, split over them in another way.
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
from jax import lax

from physjax.models import AUXILIARY, Classifier
from physjax.nn.dropout import masks_of_batch
from physjax.nn.taps import VOLTAGES
from physjax.rules import Network, Outputs, Update
from physjax.train.accumulate import in_parts
from physjax.train.batch import Batch, select_batch
from physjax.train.setup import TrainSetup, stream_key
from physjax.train.sharding import whole_params
from physjax.train.state import NEVER, Metrics, TrainState, as_variables

T = TypeVar("T")


def _cross_entropy(logits: jax.Array, batch: Batch, smoothing: float = 0.0) -> jax.Array:
    wanted = batch.probabilities(logits.shape[-1], smoothing)
    return optax.softmax_cross_entropy(logits, wanted)


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


def make_network(
    setup: TrainSetup,
    state: TrainState,
    batch: Batch,
    first: jax.Array | int,
    model: Classifier | None = None,
) -> Network:
    """What the learning rule sees: the network's loss on a share of the batch.

    Its examples are the rows of the whole batch from `first` on. `model` takes the place of the
    setup's own.
    """
    model = model or setup.model()
    dropout = jax.random.fold_in(stream_key(state.seed, "dropout", state.step), 0)
    smoothing = setup.config.optim.label_smoothing

    def mean_loss(logits: jax.Array) -> jax.Array:
        losses = _cross_entropy(logits, batch, smoothing)
        return jnp.sum(jnp.where(batch.mask, losses, 0.0)) / batch.count

    def run(model: Classifier, params: Any, perturbations: Any) -> tuple[Outputs, Any]:
        whole = as_variables(whole_params(setup, params), state.batch_stats)
        with masks_of_batch(setup.config.optim.batch_size, first):
            logits, changed = model.apply(
                {**whole, **perturbations},
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
        targets=batch.probabilities(setup.info.num_classes, smoothing),
        mask=batch.mask,
        key=stream_key(state.seed, "rule", state.step),
    )


def _update(setup: TrainSetup, state: TrainState, batch: Batch, shard: jax.Array | int) -> Update:
    """What the learning rule makes of the batch, at once or in parts."""
    parts, size = setup.config.optim.accumulate, len(batch.targets)
    if parts == 1:
        return setup.rule.update(make_network(setup, state, batch, shard * size), state.params)

    def part(stats: Any, share: Batch, number: jax.Array) -> tuple[Any, jax.Array, Any]:
        first = (number * setup.programs + shard) * (size // parts)
        network = make_network(setup, state.replace(batch_stats=stats), share, first)
        # Shares of the gradient are summed at the end.
        alone = dataclasses.replace(network, sum_over_devices=lambda tree: tree)
        update = setup.rule.update(alone, state.params)
        return update.gradients, update.outputs.logits, update.outputs.batch_stats

    gradients, logits, stats = in_parts(
        part,
        state.params,
        state.batch_stats,
        batch,
        parts,
        devices=setup.shards // setup.programs,
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
    [N] that of the epoch; `gathered`: they are those of this program's part of the batch already,
    [n, H, W, 3] and [n]. Of `setup.programs` equal parts of the batch this computes part `shard`;
    gradients and metrics are summed over the mapped axis, so every program returns the same state.
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
    losses = jnp.where(batch.mask, _cross_entropy(logits, batch), 0.0)
    hits = batch.mask & (jnp.argmax(logits, -1) == batch.targets)
    loss_sum, correct = _sum_over_shards(setup, (jnp.sum(losses), jnp.sum(hits)))
    first_nonfinite_step = jnp.where(jnp.isfinite(loss_sum), NEVER, state.step)
    return Metrics(
        loss_sum,
        correct.astype(jnp.int32),
        batch.count.astype(jnp.int32),
        first_nonfinite_step.astype(jnp.int32),
    )
