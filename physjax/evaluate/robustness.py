"""Evaluate a trained run: its test set, clean and corrupted, with or without several views.

A force that can be merged into the convolution is merged first: it costs nothing then, and changes
the logits by rounding alone.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from physjax import data, runtime
from physjax.config import ConfigError
from physjax.data import augment
from physjax.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from physjax.evaluate.metrics import ClassificationMetrics, classification_metrics
from physjax.evaluate.record import CorruptionMetrics, RobustnessRecord, write_robustness
from physjax.nn.fold import fold, foldable
from physjax.records import RecordError, RunFolder
from physjax.train.checkpoint import Checkpoints
from physjax.train.checkpoint_errors import CheckpointError
from physjax.train.origin import check_code
from physjax.train.setup import TrainSetup
from physjax.train.sharding import place
from physjax.train.state import init_state

Views = Literal["none", "mirror", "mirror+shift"]
Predictor = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]
"""uint8 images [N, S, S, 3] -> probabilities [N, K]."""

# (weight, rows, columns) of the shifted views, as airbench has them (arXiv:2404.00498).
_SHIFTS = ((0.5, 0, 0), (0.25, -1, -1), (0.25, 1, 1))


def evaluate(
    path: Path,
    *,
    tta: Views = "none",
    data_dir: str | None = None,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    other_code: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> RobustnessRecord:
    """Evaluate the finished run in `path` on its test set, and write robustness.json into it.

    Args:
        path: the run's folder.
        tta: average probabilities over views of each image: `mirror` over both mirror images,
            `mirror+shift` over those moved by a pixel to two corners too.
        data_dir: TFDS folder; None: as for training.
        corruptions: names in `CORRUPTIONS`; with none of them it is a single
            pass over the images as they are.
        severities: of each corruption, 1 to 5.
        other_code: evaluate also where the code of the law or the base model, or a setting of JAX
            that changes numbers, is not what it was trained with.
        log: is told every result as it comes.

    Raises:
        RecordError: the run has not ended, or its images are not those here.
        OriginError: its code or settings are not those here, and `other_code` is not given.
        ConfigError: there is no such corruption, or a view changes the class.
        CheckpointError: the parameters are gone.
    """
    for name in corruptions:
        if name not in CORRUPTIONS:
            raise ConfigError(f"there is no corruption {name!r}; they are {', '.join(CORRUPTIONS)}")
    runtime.require_32_bits()
    folder = RunFolder(path)
    record = folder.read()
    if record.result is None:
        raise RecordError(f"{path} has not ended: finish the run before you evaluate it")
    check_code(path, record, other_code, log)
    with folder.locked():
        config = dataclasses.replace(
            record.config, data=dataclasses.replace(record.config.data, data_dir=data_dir)
        )
        dataset = data.load(config.data)
        trained_on = record.result.data.fingerprint
        if dataset.info.fingerprint != trained_on:
            raise RecordError(
                f"the images of {dataset.info.name} here ({dataset.info.source}) are not those "
                f"that {folder.path} was trained on (fingerprints {dataset.info.fingerprint[:12]} "
                f"and {trained_on[:12]}); give their --data-dir"
            )
        setup = TrainSetup(config, dataset.info, len(dataset.train))
        variables, folded = restore(setup, folder.checkpoints, record.result.steps)
        probabilities = predictor(setup, variables, folded, tta)
        test = dataset.test

        def measure(title: str, images: npt.NDArray[np.uint8]) -> ClassificationMetrics:
            found = classification_metrics(
                probabilities(images), test.labels, dataset.info.num_classes
            )
            log(
                f"{title}: accuracy {found.accuracy:.2%}, calibration error "
                f"{found.calibration_error:.2%}"
            )
            return found

        clean = measure("clean", test.images)
        corrupted: dict[str, list[CorruptionMetrics]] = {name: [] for name in corruptions}
        for name, severity in itertools.product(corrupted, severities):
            found = measure(f"{name} {severity}", corrupt(test.images, name, severity))
            strength = CORRUPTIONS[name].strengths[severity - 1]
            corrupted[name].append(
                CorruptionMetrics(
                    severity, strength, found.accuracy, found.loss, found.calibration_error
                )
            )
        outcome = RobustnessRecord(
            tta=tta,
            folded=folded,
            examples=len(test),
            class_names=list(dataset.info.class_names),
            clean=clean,
            quantities={name: CORRUPTIONS[name].quantity for name in corrupted},
            corruptions=corrupted,
        )
        write_robustness(path, outcome)
        return outcome


def restore(setup: TrainSetup, checkpoints: Path, step: int) -> tuple[Mapping[str, Any], bool]:
    """The variables that a run ended with at `step`, and whether they are those of the plain twin.

    They are where there was a force, or a learning rule with parameters in every layer, and all
    could be merged into the kernels and biases. Raises CheckpointError where that step is not there
    or cannot be read.
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
    law, connection = setup.law, setup.rule.connection
    if foldable(law) and (law.name != "none" or connection.params):
        return fold(state.variables, law, connection), True
    return state.variables, False


def predictor(
    setup: TrainSetup, variables: Mapping[str, Any], folded: bool, tta: Views
) -> Predictor:
    """The trained network as a function from images to probabilities, averaged over the views.

    `variables` and `folded` are those of :func:`restore`.

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
        found = []
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
