"""Evaluate a trained run: its test set, clean and corrupted, with or without several views.

A force that can be merged into the convolution is merged first: it costs nothing then, and changes
the logits by rounding alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from physjax import data
from physjax.calibration import Scores, score
from physjax.checkpoint import CheckpointError, Checkpoints
from physjax.config import ConfigError
from physjax.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from physjax.data import augment
from physjax.devices import place
from physjax.fold import fold, foldable
from physjax.models import law_name
from physjax.records import RecordError, Result, RunFolder, RunRecord, write_json
from physjax.state import init_state
from physjax.task import Task

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
    names: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluate the finished run in `path`; what robustness.json then holds.

    `tta` averages probabilities over views of each image: `mirror` over both mirror images,
    `mirror+shift` over those moved by a pixel to two corners too. `say` is told every figure as it
    comes.

    Raises RecordError where the run has not ended or its images are not those here, ConfigError
    for a view that changes the class, CheckpointError where the parameters are gone.
    """
    folder = RunFolder(path)
    record = folder.read()
    if record.result is None:
        raise RecordError(f"{path} has not ended: finish the run before you evaluate it")
    with folder.locked():
        return _evaluate(folder, record, record.result, tta, data_dir, names, severities, say)


def _evaluate(
    folder: RunFolder,
    record: RunRecord,
    result: Result,
    tta: Views,
    data_dir: str | None,
    names: Sequence[str],
    severities: Sequence[int],
    say: Callable[[str], None],
) -> dict[str, Any]:
    config = dataclasses.replace(
        record.config, data=dataclasses.replace(record.config.data, data_dir=data_dir)
    )
    dataset = data.load(config.data)
    trained_on = result.data["fingerprint"]
    if dataset.info.fingerprint != trained_on:
        raise RecordError(
            f"the images of {dataset.info.name} here ({dataset.info.source}) are not those that "
            f"{folder.path} was trained on (fingerprints {dataset.info.fingerprint[:12]} and "
            f"{trained_on[:12]}); give their --data-dir"
        )
    task = Task(config, dataset.info, len(dataset.train))
    variables, folded = restore(task, folder.checkpoints, result.steps)
    probabilities = predictor(task, variables, folded, tta)

    test = dataset.test
    clean = score(probabilities(test.images), test.labels, dataset.info.num_classes)
    say(f"clean: {_line(clean)}")
    corrupted: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        corrupted[name] = []
        for severity in severities:
            images = corrupt(test.images, name, severity)
            found = score(probabilities(images), test.labels, dataset.info.num_classes)
            say(f"{name} {severity}: {_line(found)}")
            corrupted[name].append(
                {
                    "severity": severity,
                    "strength": CORRUPTIONS[name].strengths[severity - 1],
                    "accuracy": found.accuracy,
                    "loss": found.loss,
                    "calibration_error": found.calibration_error,
                }
            )
    outcome = {
        "tta": tta,
        "folded": folded,
        "examples": len(test),
        "class_names": list(dataset.info.class_names),
        "clean": dataclasses.asdict(clean),
        "quantities": {name: CORRUPTIONS[name].quantity for name in names},
        "corruptions": corrupted,
    }
    write_json(folder.path / "robustness.json", outcome)
    return outcome


def _line(found: Scores) -> str:
    return f"accuracy {found.accuracy:.2%}, calibration error {found.calibration_error:.2%}"


def restore(task: Task, checkpoints: Path, step: int) -> tuple[Mapping[str, Any], bool]:
    """The variables that a run ended with at `step`, and whether they are those of the plain twin.

    They are where there was a force or resistances, and all could be merged into the kernels and
    biases. Raises CheckpointError where that step is not there or cannot be read.
    """
    if not checkpoints.is_dir():
        raise CheckpointError(f"there is no {checkpoints}: only a run with checkpoints has a model")
    store = Checkpoints(checkpoints, read_only=True)
    try:
        state = store.restore(place(task, init_state(task)), step)
    finally:
        store.close()
    if state is None:
        raise CheckpointError(f"{checkpoints} has no checkpoint of step {step}, the run's last")
    law = law_name(task.config.model)
    if foldable(law) and (law != "none" or task.couples):
        return fold(state.variables, law), True
    return state.variables, False


def predictor(task: Task, variables: Mapping[str, Any], folded: bool, tta: Views) -> Predictor:
    """The trained network as a function from images to probabilities, averaged over the views.

    `variables` and `folded` are those of :func:`restore`.

    Raises ConfigError where `tta` mirrors images whose mirror image shows no such class.
    """
    config, info = task.config, task.info
    if tta != "none" and not info.mirror:
        raise ConfigError(
            f"tta is {tta!r}, but {info.title} mirrored shows no such class; leave it out"
        )
    model, batch = task.model(folded), config.run.eval_batch_size

    @jax.jit
    def average(variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
        total = jnp.zeros((batch, info.num_classes))
        for weight, seen in _views(images, tta):
            inputs = augment.preprocess(seen, task.image_size, info.mean, info.std, config.augment)
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
