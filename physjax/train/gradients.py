"""How far a learning rule's gradient is backpropagation's, layer by layer, on one batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from physjax.nn.connection import PLAIN
from physjax.train import multihost
from physjax.train.batch import select_batch
from physjax.train.callbacks import Callback
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.state import TrainState
from physjax.train.step import make_network

if TYPE_CHECKING:
    from physjax.train.predict import Evaluation
    from physjax.train.trainer import Trainer

Path = tuple[str, ...]


class GradientComparison(Callback):
    """Adds to the epochs' records what :func:`compare_gradients` finds on the next epoch's first
    batch."""

    def __init__(self) -> None:
        self._compiled: Callable[..., Any] | None = None

    def layer_metrics(
        self, trainer: Trainer, evaluation: Evaluation
    ) -> dict[str, dict[str, float]]:
        setup, train = trainer.setup, trainer.dataset.train
        size = setup.config.optim.batch_size
        if self._compiled is None:
            self._compiled = gradient_pair(setup)
        order = shuffle_indices(setup.config.run.seed, trainer.epoch + 1, setup.train_size)
        rows = np.resize(np.asarray(order), size)
        state = multihost.fetch(trainer.state.replace(opt_state=(), ema={}))
        return compare_gradients(self._compiled, state, train.images[rows], train.labels[rows])


def gradient_pair(setup: TrainSetup) -> Callable[..., Any]:
    """A compiled function of a state and one batch of images and labels, on one device.

    It gives the rule's gradient for the optimiser, the steps that the rule makes by itself, as if
    they were gradients, and backpropagation's gradient of the mean cross-entropy, which the rule
    may have another cost in place of. All in the same pass: with the same augmentation, dropout
    masks and batch statistics.
    """
    size = setup.config.optim.batch_size
    alone = dataclasses.replace(setup, train_size=size, shards=1)
    # What a rule computes with stays, as resistances do; another way back, as of feedback
    # alignment, does not.
    connection = dataclasses.replace(alone.rule.connection, connect=PLAIN.connect)

    def pair(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[Any, Any, Any]:
        batch = select_batch(alone, state, images, labels, jnp.arange(size), 0)
        update = alone.rule.update(make_network(alone, state, batch, 0), state.params)
        plain = make_network(alone, state, batch, 0, alone.model(connection=connection))
        true = jax.grad(lambda params: plain.loss(params, {})[0])(state.params)
        before, moved = flatten_dict(state.params), flatten_dict(update.moved)
        own = {path: before[path] - value for path, value in moved.items()}
        return flatten_dict(update.gradients), own, flatten_dict(true)

    return jax.jit(pair)


def compare_gradients(
    compiled: Callable[..., Any], state: TrainState, images: Any, labels: Any
) -> dict[str, dict[str, float]]:
    """By layer: `gradient_cosine` and `gradient_length`, and `moved_cosine` of what the rule moves.

    Args:
        compiled: of :func:`gradient_pair`.
        state: whose parameters are looked at.
        images: uint8 [B, H, W, 3], a whole batch.
        labels: int32 [B].

    Returns:
        The cosine between the rule's gradient and backpropagation's over all parameters of a layer,
        and the length of the first over that of the second. Where one of them is zero there is no
        cosine, and nothing is said.
    """
    rule, moved, true = jax.device_get(compiled(state, images, labels))
    found: dict[str, dict[str, float]] = {}
    for layer, paths in _layers(true).items():
        trained = [path for path in paths if path not in moved]
        figures = {}
        if angle := _cosine(rule, true, trained):
            figures = {"gradient_cosine": angle[0], "gradient_length": angle[1]}
        # What a rule holds where it is was not moved in any direction.
        if angle := _cosine(moved, true, [p for p in paths if p in moved and np.any(moved[p])]):
            figures["moved_cosine"] = angle[0]
        if figures:
            found["/".join(layer)] = figures
    return found


def _layers(params: Mapping[Path, Any]) -> dict[Path, list[Path]]:
    """The parameters by the layer that has the kernel: its norm's lie in a folder of its own."""
    owners = {path[:-1] for path in params if path[-1] == "kernel"}
    layers: dict[Path, list[Path]] = {}
    for path in params:
        above = [path[:end] for end in range(len(path) - 1, 0, -1)]
        layers.setdefault(next(filter(owners.__contains__, above), path[:-1]), []).append(path)
    return layers


def _cosine(
    own: Mapping[Path, Any], true: Mapping[Path, Any], paths: list[Path]
) -> tuple[float, float] | None:
    """The cosine, and the quotient of the lengths; None where a length is zero."""
    if not paths:
        return None
    flat = partial(np.concatenate, dtype=np.float64)
    a, b = (flat([np.ravel(tree[path]) for path in paths]) for tree in (own, true))
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if not all(lengths):
        return None
    return float(a @ b) / (lengths[0] * lengths[1]), lengths[0] / lengths[1]
