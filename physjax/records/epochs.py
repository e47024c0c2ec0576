"""The lines of metrics.jsonl: which are sound, and what they say about a run."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from physjax import schema
from physjax.records.run import EpochRecord, RecordError


@dataclass(frozen=True)
class Line:
    """One line of metrics.jsonl, as it stands there and as it is understood."""

    text: str
    epoch: EpochRecord


def parse_lines(content: bytes) -> tuple[tuple[Line, ...], str]:
    """The sound lines of metrics.jsonl, and what is wrong with the next one; "" where none is.

    Sound are epochs 1, 2, ... up to one that is cut off by a kill, damaged, doubled or missing.
    """
    # A complete file ends in a newline; whatever comes after the last one was cut off.
    texts = content.decode(errors="replace").split("\n")
    lines: list[Line] = []
    for text in texts[:-1]:
        number = len(lines) + 1
        try:
            epoch = schema.read_json(EpochRecord, text, f"line {number}", RecordError)
        except RecordError as error:
            return tuple(lines), str(error)
        before = lines[-1].epoch.step if lines else 0
        if epoch.epoch != number or epoch.step <= before:
            return tuple(lines), f"line {number} is of epoch {epoch.epoch}, step {epoch.step}"
        lines.append(Line(text, epoch))
    return tuple(lines), "the last line is cut off" if texts[-1] else ""


def digest(lines: Sequence[Line]) -> str:
    """SHA-256 of the lines: says whether they are those that a checkpoint was saved with."""
    return hashlib.sha256("".join(f"{line.text}\n" for line in lines).encode()).hexdigest()


def median_images_per_second(epochs: Sequence[EpochRecord]) -> float:
    """The median over the epochs whose training was timed; 0 where none was."""
    rates = [e.images_per_second for e in epochs if e.images_per_second]
    return statistics.median(rates) if rates else 0.0


def selection_criterion(epochs: Sequence[EpochRecord]) -> str:
    """What :func:`best_epoch` goes by."""
    held_out = bool(epochs) and epochs[0].validation_accuracy is not None
    return "validation accuracy" if held_out else "training loss"


def best_epoch(epochs: Sequence[EpochRecord]) -> EpochRecord | None:
    """The epoch with the highest validation accuracy, or without a held-out set the lowest
    training loss; the earliest of equals. None where there is no epoch yet."""
    if not epochs:
        return None
    if epochs[0].validation_accuracy is not None:
        return max(epochs, key=lambda e: e.validation_accuracy or 0.0)
    return min(epochs, key=lambda e: e.train_loss)


def best_test_accuracy(epochs: Sequence[EpochRecord]) -> float:
    """The highest of the epochs whose test images were evaluated; one of them was, the last."""
    return max(e.test_accuracy for e in epochs if e.test_accuracy is not None)
