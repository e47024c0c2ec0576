"""How good predicted probabilities are: accuracy, loss, calibration, confusion. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 15


@dataclass(frozen=True)
class ClassificationMetrics:
    """What probabilities amount to on labelled examples."""

    accuracy: float
    loss: float
    """Mean cross-entropy in nats."""
    calibration_error: float
    per_class: list[float | None]
    """Accuracy on the examples of each class; None for a class without examples."""
    confusion: list[list[int]]
    """Rows are the true classes."""
    confidence: list[float | None]
    """Mean confidence in each of `BINS` equal bins of it; None where a bin is empty."""
    bin_accuracy: list[float | None]
    """Accuracy in each of them."""
    bin_examples: list[int]
    """How many examples lie in each of them."""


def classification_metrics(
    log_probabilities: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    num_classes: int,
) -> ClassificationMetrics:
    """Compare the logarithms of predicted probabilities with labels.

    The calibration error is that of Guo et al., *On Calibration of Modern Neural Networks*, ICML
    2017, Eq. (3): the mean over the examples of |accuracy - mean confidence| in their bin, where
    the confidence is the largest probability and 15 bins divide (0, 1] evenly.

    Args:
        log_probabilities: [N, K]; rows of their exponentials sum to 1.
        labels: [N], in 0 ... K - 1.
        num_classes: K.

    Raises:
        ValueError: there are no examples, or the shapes do not fit.
    """
    if log_probabilities.shape != (len(labels), num_classes) or len(labels) == 0:
        raise ValueError(
            f"log_probabilities have the shape {log_probabilities.shape} for {len(labels)} labels "
            f"of {num_classes} classes"
        )
    guesses = log_probabilities.argmax(1)
    correct = guesses == labels
    confidences = np.exp(log_probabilities.max(1))
    cells = np.bincount(labels.astype(int) * num_classes + guesses, minlength=num_classes**2)
    confusion = cells.reshape(num_classes, num_classes)

    # Bin b holds (b / BINS, (b + 1) / BINS]. What is not a number lies in the first one, and makes
    # its sums none either.
    bins = np.clip(
        np.ceil(np.nan_to_num(confidences, posinf=0) * BINS).astype(int) - 1, 0, BINS - 1
    )
    sizes = np.bincount(bins, minlength=BINS)
    summed_confidence = np.bincount(bins, confidences, BINS)
    summed_correct = np.bincount(bins, correct, BINS)
    return ClassificationMetrics(
        accuracy=float(correct.mean()),
        loss=float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        calibration_error=float(np.abs(summed_correct - summed_confidence).sum() / len(labels)),
        per_class=_ratios(confusion.diagonal(), confusion.sum(1)),
        confusion=confusion.tolist(),
        confidence=_ratios(summed_confidence, sizes),
        bin_accuracy=_ratios(summed_correct, sizes),
        bin_examples=sizes.tolist(),
    )


def _ratios(above: npt.NDArray[np.number], below: npt.NDArray[np.number]) -> list[float | None]:
    return [float(a / b) if b else None for a, b in zip(above, below, strict=True)]
