"""How good probabilities are: accuracy, loss, calibration and confusion. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 15


@dataclass(frozen=True)
class Scores:
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
    hit_rate: list[float | None]
    """Accuracy in each of them."""


def score(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], num_classes: int
) -> Scores:
    """Score `probabilities` [N, K], rows of which sum to 1, against `labels` [N].

    The calibration error is that of Guo et al., *On Calibration of Modern Neural Networks*, ICML
    2017, Eq. (3): the mean over the examples of |accuracy - mean confidence| in their bin, where
    the confidence is the largest probability and 15 bins divide (0, 1] evenly. Raises ValueError
    where there are no examples or the shapes do not fit.
    """
    if probabilities.shape != (len(labels), num_classes) or len(labels) == 0:
        raise ValueError(
            f"probabilities have the shape {probabilities.shape} for {len(labels)} labels of "
            f"{num_classes} classes"
        )
    guesses = probabilities.argmax(1)
    hits = guesses == labels
    confidences = probabilities.max(1)
    likelihood = probabilities[np.arange(len(labels)), labels]
    confusion = np.zeros((num_classes, num_classes), int)
    np.add.at(confusion, (labels, guesses), 1)
    counts = confusion.sum(1)

    # Bin b holds (b / BINS, (b + 1) / BINS].
    bins = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    sizes = np.bincount(bins, minlength=BINS)
    sure = np.bincount(bins, confidences, BINS)
    right = np.bincount(bins, hits, BINS)
    return Scores(
        accuracy=float(hits.mean()),
        # The smallest normal float keeps a probability that was rounded to zero finite.
        loss=float(-np.log(np.maximum(likelihood, np.finfo(np.float32).tiny)).mean()),
        calibration_error=float(np.abs(right - sure).sum() / len(labels)),
        per_class=_ratios(confusion.diagonal(), counts),
        confusion=confusion.tolist(),
        confidence=_ratios(sure, sizes),
        hit_rate=_ratios(right, sizes),
    )


def _ratios(above: npt.NDArray[np.number], below: npt.NDArray[np.number]) -> list[float | None]:
    return [float(a / b) if b else None for a, b in zip(above, below, strict=True)]
