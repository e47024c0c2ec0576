"""What an epoch and a finished run amount to: a line of metrics.jsonl, and result.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from physjax import runtime
from physjax.errors import NotFinite
from physjax.records import (
    DataFacts,
    EpochRecord,
    Result,
    RunFolder,
    best_epoch,
    best_test_accuracy,
    median_images_per_second,
    selection_criterion,
)
from physjax.train import multihost
from physjax.train.diagnostics import law_parameters

if TYPE_CHECKING:
    from physjax.train.predict import Evaluation
    from physjax.train.state import Metrics
    from physjax.train.trainer import Trainer


def make_epoch(
    trainer: Trainer,
    metrics: Metrics,
    test: Evaluation | None,
    held: Evaluation | None,
    physics: dict[str, dict[str, float]],
    seconds: float,
) -> EpochRecord:
    """The line of the epoch that the trainer is at the end of.

    Args:
      trainer: all steps of the epoch are done.
      metrics: of its training images.
      test: of the test images; None where they were not evaluated.
      held: of the held-out images; None where there are none.
      physics: numbers by layer and name.
      seconds: that the epoch took.
    """
    return EpochRecord(
        epoch=trainer.epoch + 1,
        step=trainer.step,
        train_loss=metrics.loss,
        train_accuracy=metrics.accuracy,
        test_loss=None if test is None else test.metrics.loss,
        test_accuracy=None if test is None else test.metrics.accuracy,
        learning_rate=float(trainer.setup.schedule(trainer.step - 1)),
        images_per_second=trainer.images_per_second,
        seconds=seconds,
        validation_loss=None if held is None else held.metrics.loss,
        validation_accuracy=None if held is None else held.metrics.accuracy,
        physics=physics,
    )


def make_result(trainer: Trainer, evaluation: Evaluation) -> Result:
    """The result of a run that has done all its steps; `evaluation`: of the test images then."""
    epochs, dataset, info = trainer.epochs, trainer.dataset, trainer.dataset.info
    last, best = epochs[-1], best_epoch(epochs)
    assert best is not None
    assert last.test_accuracy is not None
    sizes = {"train": len(dataset.train), "test": len(dataset.test)}
    if dataset.validation is not None:
        sizes["validation"] = len(dataset.validation)
    return Result(
        train_accuracy=last.train_accuracy,
        test_accuracy=last.test_accuracy,
        best_test_accuracy=best_test_accuracy(epochs),
        best_epoch=best.epoch,
        selection_criterion=selection_criterion(epochs),
        epochs=len(epochs),
        steps=trainer.step,
        parameters=trainer.parameters,
        wall_seconds=sum(e.seconds for e in epochs) + trainer.compile_seconds,
        compile_seconds=trainer.compile_seconds,
        images_per_second=median_images_per_second(epochs),
        peak_memory_mib=runtime.peak_memory_mib(),
        device=trainer.device,
        versions=trainer.versions,
        data=DataFacts(
            name=info.name,
            title=info.title,
            version=info.version,
            source=info.source,
            fingerprint=info.fingerprint,
            examples=sizes,
            class_names=tuple(info.class_names),
            mean=info.mean,
            std=info.std,
            mirror=info.mirror,
            image_size=info.image_size,
            native=info.native,
        ),
        confusion=evaluation.metrics.confusion,
        law_parameters=law_parameters(
            multihost.fetch(trainer.state.params), trainer.setup.law.recorded_names
        ),
        spent=trainer.ledger.sum_up(trainer.step),
    )


def diverged(what: str, step: int, folder: RunFolder) -> NotFinite:
    """The error of a run in `folder` in which `what` is no number any more."""
    return NotFinite(
        what,
        step,
        f"the last good checkpoint stays in {folder.checkpoints}; a lower --learning-rate may help",
    )


def not_finite(
    losses: Mapping[str, float], physics: Mapping[str, Mapping[str, float]]
) -> str | None:
    """What is infinite or not a number in an epoch's evaluation; None: nothing.

    Bad parameters need not show in the loss of any training batch.

    Args:
      losses: by split.
      physics: numbers by layer and name.
    """
    values = {f"the {split} loss": loss for split, loss in losses.items()}
    for layer, numbers in physics.items():
        values.update({f"{name} of {layer}": value for name, value in numbers.items()})
    return next((what for what, value in values.items() if not np.isfinite(value)), None)
