"""A trained network at hand: its variables, and probabilities for images.

A force that can be merged into the convolution is merged for this: it costs nothing then, and
changes the logits by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from physjax.config import ConfigError
from physjax.data import DATASETS, DatasetInfo, augment
from physjax.nn.fold import fold, foldable
from physjax.records import DataFacts, RecordError
from physjax.train.checkpoint import Checkpoints
from physjax.train.checkpoint_errors import CheckpointError
from physjax.train.setup import TrainSetup
from physjax.train.sharding import place
from physjax.train.state import init_state

Views = Literal["none", "mirror", "mirror+shift"]
"""What probabilities are averaged over: the image alone; both mirror images; those moved by a pixel
to two corners too."""
Predictor = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]
"""uint8 images [N, S, S, 3] -> probabilities [N, K]."""

# (weight, rows, columns) of the shifted views, as airbench has them (arXiv:2404.00498).
_SHIFTS = ((0.5, 0, 0), (0.25, -1, -1), (0.25, 1, 1))


def restore(setup: TrainSetup, checkpoints: Path, step: int) -> dict[str, Any]:
    """The variables that a run ended with at `step`, as they were trained.

    Raises:
      CheckpointError: that step is not there or cannot be read.
    """
    if not checkpoints.is_dir():
        raise CheckpointError(f"there is no {checkpoints}: only a run with checkpoints has a model")
    store = Checkpoints(checkpoints, read_only=True)
    try:
        state = store.restore(place(setup, init_state(setup)), step)
    finally:
        store.close()
    if state is None:
        raise CheckpointError(f"{checkpoints} has no checkpoint of step {step}, the run's last")
    return state.variables


def merge(setup: TrainSetup, variables: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The variables to predict with, and whether they are those of the plain twin.

    They are where there was a force, or a learning rule with parameters in every layer, and all
    could be merged into the kernels and biases.
    """
    law, connection = setup.law, setup.rule.connection
    if foldable(law) and (law.name != "none" or connection.params):
        return fold(variables, law, connection), True
    return variables, False


def predictor(
    setup: TrainSetup, variables: Mapping[str, Any], folded: bool, tta: Views
) -> Predictor:
    """The trained network as a function from images to probabilities, averaged over the views.

    `variables` and `folded` are those of :func:`merge`.

    Raises ConfigError where `tta` mirrors images whose mirror image shows no such class.
    """
    config, info = setup.config, setup.info
    if tta != "none" and not info.mirror:
        raise ConfigError(
            f"tta is {tta!r}, but {info.title} mirrored shows no such class; leave it out"
        )
    model, batch = setup.model(folded), config.run.eval_batch_size

    @jax.jit
    def average(variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
        total = jnp.zeros((batch, info.num_classes))
        for weight, seen in _views(images, tta):
            inputs = augment.preprocess(seen, setup.image_size, info.mean, info.std, config.augment)
            logits = model.apply(variables, inputs, train=False)
            assert isinstance(logits, jax.Array)
            total += weight * jax.nn.softmax(logits)
        return total

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        found = [np.zeros((0, info.num_classes))]
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            # One shape for all batches: the last one is filled up and cut off again.
            filled = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
            found.append(np.asarray(average(variables, filled), np.float64)[: len(part)])
        return np.concatenate(found)

    return predict


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


def dataset_info(facts: DataFacts) -> DatasetInfo:
    """What the network must know of the images that it was trained on.

    Raises:
      RecordError: an older record, of arrays, does not say it.
    """
    mean, std, mirror = facts.mean, facts.std, facts.mirror
    if mean is None or std is None or mirror is None:
        # Of a record that was made before it held them.
        if facts.name not in DATASETS:
            raise RecordError(
                f"the record does not say by which mean and deviation the images of {facts.name!r} "
                "are normalised; train the run again"
            )
        spec = DATASETS[facts.name]
        mean, std, mirror = spec.mean, spec.std, spec.mirror
    return DatasetInfo(
        name=facts.name,
        title=facts.title,
        num_classes=len(facts.class_names),
        class_names=facts.class_names,
        mean=mean,
        std=std,
        mirror=mirror,
        version=facts.version,
        source=facts.source,
        fingerprint=facts.fingerprint,
        notice="",
    )
