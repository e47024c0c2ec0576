"""A batch in parts, one after the other: a step's memory for a large batch is that of a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from physjax.rules import LearningRule
from physjax.rules.backprop import gradient_update

if TYPE_CHECKING:
    from physjax.train.batch import Batch

Part = Callable[[Any, "Batch", jax.Array], tuple[Any, jax.Array, Any]]
"""(running statistics, part of the batch, its number) -> gradients, logits [n / parts, K], and the
running statistics after it."""


def adds_up(rule: LearningRule) -> bool:
    """Whether the rule can take a batch in parts: its update is the gradient of the mean loss and
    nothing else, so that those of the parts' shares add up to that of the batch."""
    return rule.update is gradient_update


def in_parts(
    part: Part,
    params: Any,
    batch_stats: Any,
    batch: Batch,
    parts: int,
    *,
    devices: int = 1,
    unroll: bool,
) -> tuple[Any, jax.Array, Any]:
    """What :data:`Part` gives for a whole batch: gradients added up, logits [n, K], statistics.

    Args:
      part: computes one part, whose gradients are those of its share of the batch's mean loss.
      params: in the structure of the gradients.
      batch_stats: before the first part.
      batch: of n examples: of each device its share of every part.
      parts: how many.
      devices: that the batch is spread over; `parts` times this divides n.
      unroll: without a loop, for XLA:CPU, whose convolutions are slow in one. It plans the memory
        of all parts then.
    """

    def by_part(whole: jax.Array) -> jax.Array:
        return whole.reshape(devices, parts, -1, *whole.shape[1:])

    def one(carry: tuple[Any, Any], number: jax.Array) -> tuple[tuple[Any, Any], jax.Array]:
        stats, total = carry

        def own(whole: jax.Array) -> jax.Array:
            share = lax.dynamic_index_in_dim(by_part(whole), number, 1, keepdims=False)
            return share.reshape(-1, *whole.shape[1:])

        rows = jax.tree.map(own, batch.replace(count=None))
        share = rows.replace(count=batch.count)
        gradients, logits, stats = part(stats, share, number)
        return (stats, jax.tree.map(jnp.add, total, gradients)), logits

    start = batch_stats, jax.tree.map(jnp.zeros_like, params)
    (stats, gradients), logits = lax.scan(
        one, start, jnp.arange(parts), unroll=parts if unroll else 1
    )
    in_order = logits.reshape(parts, devices, -1, logits.shape[-1]).swapaxes(0, 1)
    return gradients, in_order.reshape(-1, logits.shape[-1]), stats
