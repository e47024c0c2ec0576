"""A network as a function from images to class probabilities: what every evaluation stands on.

Images come in batches of one size, the last one filled up, so that one compiled program does for
any number of them and every example counts once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike

from physjax.config import ConfigError
from physjax.data import augment
from physjax.data.lazy import Images
from physjax.data.stream import in_order
from physjax.nn.physics import DIAGNOSTICS
from physjax.train.metrics import ClassificationMetrics, classification_metrics
from physjax.train.setup import TrainSetup
from physjax.train.sharding import (
    compile_step,
    own_columns,
    place_batches,
    place_state,
    whole_params,
)

Views = Literal["none", "mirror", "mirror+shift"]
"""What probabilities are averaged over: the image alone; both mirror images; those moved by a pixel
to two corners too."""

# (weight, rows, columns) of the shifted views, as airbench has them (arXiv:2404.00498).
_SHIFTS = ((0.5, 0, 0), (0.25, -1, -1), (0.25, 1, 1))


@dataclass(frozen=True)
class Evaluation:
    """A network on labelled images."""

    metrics: ClassificationMetrics
    diagnostics: Any
    """By layer, on the first batch: RMS force, and what else the law says."""


class Predictor:
    """The network of a setup, compiled for batches of images, over the setup's devices.

    Args:
      setup: of the run.
      variables: like those that it will be called with.
      tta: test-time augmentation.
      folded: `variables` are those of the plain twin that `physjax.nn.fold` gives.
      batch_size: images at a time, rounded up to a multiple of the devices; None: the run's
        `eval_batch_size`.

    Raises:
      ConfigError: `tta` mirrors images whose mirror image shows no such class.
    """

    def __init__(
        self,
        setup: TrainSetup,
        variables: Mapping[str, Any],
        *,
        tta: Views = "none",
        folded: bool = False,
        batch_size: int | None = None,
    ) -> None:
        if tta != "none" and not setup.info.mirror:
            raise ConfigError(
                f"tta is {tta!r}, but {setup.info.title} mirrored shows no such class; leave it out"
            )
        self._setup = setup
        wanted = batch_size or setup.config.run.eval_batch_size
        self.batch_size = -(-wanted // setup.shards) * setup.shards
        step = partial(predict_step, tta=tta, folded=folded)
        side = setup.info.image_size
        self._columns = own_columns(setup, np.arange(self.batch_size))
        example = np.zeros((1, len(self._columns), side, side, 3), np.uint8)
        placed = place_state(setup, variables), place_batches(setup, example)
        self._call = compile_step(setup, step, *placed, batches=1)

    def batches(self, images: Images) -> Iterator[ArrayLike]:
        """uint8 [N, S, S, 3] on the devices, a batch at a time; copies fill up the last one.

        Raises ImageError for an image that is streamed and cannot be read.
        """
        workers = self._setup.config.data.workers
        for batch in in_order(images, self.batch_size, self._columns, workers):
            yield place_batches(self._setup, batch[None])

    def log_probabilities(
        self,
        variables: Mapping[str, Any],
        batches: Iterable[ArrayLike],
        count: int,
        between: Callable[[], None] = lambda: None,
    ) -> tuple[npt.NDArray[np.float64], Any]:
        """float64 [count, K] of the first `count` images, and what layers say of their forces.

        Args:
          variables: on the devices.
          batches: of :meth:`batches`.
          count: how many images there are.
          between: is called after each batch.
        """
        parts, first = [np.zeros((0, self._setup.info.num_classes))], None
        for batch in batches:
            part, forces = self._call(variables, batch)
            parts.append(np.asarray(part, np.float64))
            first = jax.tree.map(np.array, forces) if first is None else first
            between()
        return np.concatenate(parts)[:count], first

    def evaluate(
        self,
        variables: Mapping[str, Any],
        batches: Iterable[ArrayLike],
        labels: npt.NDArray[np.integer],
        between: Callable[[], None] = lambda: None,
    ) -> Evaluation:
        """Compare what the network makes of images with their labels, [N]."""
        log_probabilities, forces = self.log_probabilities(variables, batches, len(labels), between)
        classes = self._setup.info.num_classes
        return Evaluation(classification_metrics(log_probabilities, labels, classes), forces)


def predict_step(
    setup: TrainSetup,
    variables: Mapping[str, Any],
    images: jax.Array,
    shard: jax.Array | int = 0,
    *,
    tta: Views = "none",
    folded: bool = False,
) -> tuple[jax.Array, Any]:
    """Log-probabilities of a batch, and RMS force and more of every layer on it.

    Args:
      setup: of the run.
      variables: of the network.
      images: uint8 [n, S, S, 3], the part of the batch that this program computes.
      shard: number of that part, of `setup.programs` equal ones.
      tta: views to average the probabilities over.
      folded: `variables` are those of the plain twin.

    Returns:
      (float32 [N, K], forces), the same on all devices.
    """
    del shard
    info, model = setup.info, setup.model(folded)
    variables = whole_params(setup, variables)
    scores, sown = [], []
    for weight, seen in _views(images, tta):
        inputs = augment.preprocess(
            seen, setup.image_size, info.mean, info.std, setup.config.augment
        )
        logits, collections = model.apply(variables, inputs, train=False, mutable=[DIAGNOSTICS])
        scores.append(jax.nn.log_softmax(logits.astype(jnp.float32)) + math.log(weight))
        sown.append(collections.get(DIAGNOSTICS, {}))
    log_probabilities = scores[0] if len(scores) == 1 else logsumexp(jnp.stack(scores), 0)
    figures = sown[0]
    if setup.axis_name is not None:
        log_probabilities = lax.all_gather(log_probabilities, setup.axis_name, tiled=True)
        figures = _merged(figures, setup.axis_name)
    return log_probabilities, figures


def _merged(figures: Any, axis_name: str) -> Any:
    """What layers say of each device's images, for all of them: RMS forces, and means."""

    def merge(path: Any, x: jax.Array) -> jax.Array:
        if path[-1].key == "force_rms":
            return jnp.sqrt(lax.pmean(jnp.square(x), axis_name))
        return lax.pmean(x, axis_name)

    return jax.tree_util.tree_map_with_path(merge, figures)


def _views(images: jax.Array, tta: Views) -> list[tuple[float, jax.Array]]:
    """(weight, images) of each view; the weights sum to 1."""
    if tta == "none":
        return [(1.0, images)]
    shifts = _SHIFTS if tta == "mirror+shift" else ((1.0, 0, 0),)
    views = []
    for weight, down, right in shifts:
        moved = _move(images, down, right)
        views += [(weight / 2, moved), (weight / 2, moved[:, :, ::-1])]
    return views


def _move(images: jax.Array, down: int, right: int) -> jax.Array:
    """The images moved by whole pixels; what comes in mirrors what is there."""
    size, pad = images.shape[1], max(abs(down), abs(right))
    if pad == 0:
        return images
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    return padded[:, pad - down : pad - down + size, pad - right : pad - right + size]
