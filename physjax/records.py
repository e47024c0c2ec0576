"""What a run leaves behind: the schema of its folder, written whole or not at all, and read back.

    runs/<name>/config.json     the resolved configuration
                metrics.jsonl   a line an epoch
                result.json     once the run has ended
                checkpoints/    Orbax
                figures/

Nothing here imports JAX: a record can be read, and drawn, anywhere.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physjax import files
from physjax.config import Config, differences, from_dict, to_dict
from physjax.errors import UserError


class RecordError(UserError):
    """A run folder that is not what it should be; the message names the path and the way out."""


@dataclass(frozen=True)
class EpochRecord:
    """One line of metrics.jsonl. Losses are mean cross-entropies in nats, without smoothing.

    The training figures are sums over the epoch's batches while the parameters moved, augmentation
    and dropout on; the test figures come from the parameters at the epoch's end.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    learning_rate: float
    images_per_second: float
    """Training images per second of training time, evaluation and compilation left out; 0 where
    the session that wrote the line did none of the epoch's steps."""
    seconds: float
    """Training and evaluation time of the epoch."""
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    physics: dict[str, dict[str, float]] = field(default_factory=dict)
    """By layer: `strength` and `force_rms`, and what else the law or rule reports."""


@dataclass(frozen=True)
class Result:
    """What a finished run amounts to. Accuracies are fractions in [0, 1]."""

    train_accuracy: float
    """Of the last epoch."""
    test_accuracy: float
    """Of the last epoch: nothing was selected on the test set."""
    best_test_accuracy: float
    """The best epoch's, which is a selection on the test set: for information only."""
    best_epoch: int
    """The epoch of checkpoints/best, chosen by `selected_by`."""
    selected_by: str
    epochs: int
    steps: int
    parameters: int
    wall_seconds: float
    """Over all sessions of the run."""
    compile_seconds: float
    """Of the last session."""
    images_per_second: float
    """Median over the epochs that were timed; 0 where none was."""
    peak_memory_mib: float
    device: dict[str, Any]
    versions: dict[str, str]
    data: dict[str, Any]
    """Name, title, version, source and fingerprint of the images, and how many."""
    confusion: list[list[int]]
    """Of the last epoch on the test set: rows are the true classes."""


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder tells it; `result` is None until it has ended."""

    config: Config
    epochs: tuple[EpochRecord, ...]
    result: Result | None


def usual_rate(epochs: Sequence[EpochRecord]) -> float:
    """The median over the epochs whose training was timed; 0 where none was."""
    rates = [e.images_per_second for e in epochs if e.images_per_second]
    return statistics.median(rates) if rates else 0.0


def selected_by(epochs: Sequence[EpochRecord]) -> str:
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


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` so that a reader finds the old content or the new, never half."""
    files.atomic_write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(files.read_text(path))
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{path} is not valid JSON ({error}); remove the run's folder to start afresh"
        ) from error


class RunFolder:
    """The files of one run below `runs_dir`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def open(self, config: Config) -> None:
        """Start the folder, or go on in it.

        Raises RecordError, and changes nothing, where it holds a run of another config.
        """
        path = self.path / "config.json"
        if path.exists():
            changed = differences(self.read_config(), config)
            if changed:
                raise RecordError(
                    f"{self.path} holds a run of another config ({'; '.join(changed)}); "
                    "choose another --name, or remove the folder"
                )
        elif self.path.exists() and not files.is_empty(self.path):
            raise RecordError(
                f"{self.path} is not empty and holds no run; choose another --name or --runs-dir"
            )
        else:
            write_json(path, to_dict(config))

    def read_config(self) -> Config:
        """The config that the folder was started with."""
        path = self.path / "config.json"
        if not path.exists():
            raise RecordError(f"{self.path} holds no run: there is no config.json in it")
        return from_dict(_read_json(path))

    def read_epochs(self) -> tuple[EpochRecord, ...]:
        """The lines of metrics.jsonl, bar a last one that was cut off while being written."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return ()
        lines = files.read_text(path).split("\n")
        # A complete file ends in a newline; whatever comes after the last one was cut off.
        return tuple(EpochRecord(**json.loads(line)) for line in lines[:-1])

    def write_epochs(self, epochs: tuple[EpochRecord, ...]) -> None:
        """Replace metrics.jsonl, for a run that goes on from before its last line."""
        text = "".join(f"{_line(epoch)}\n" for epoch in epochs)
        files.atomic_write(self.path / "metrics.jsonl", text)

    def append_epoch(self, epoch: EpochRecord) -> None:
        """Add one line to metrics.jsonl."""
        files.append_line(self.path / "metrics.jsonl", _line(epoch))

    def read_result(self) -> Result | None:
        """The result, or None where the run has not ended."""
        path = self.path / "result.json"
        return Result(**_read_json(path)) if path.exists() else None

    def write_result(self, result: Result) -> None:
        """Write result.json: the run has ended."""
        write_json(self.path / "result.json", dataclasses.asdict(result))

    def read(self) -> RunRecord:
        """The whole record. Raises RecordError where there is none."""
        return RunRecord(self.read_config(), self.read_epochs(), self.read_result())


def _line(epoch: EpochRecord) -> str:
    return json.dumps(dataclasses.asdict(epoch), allow_nan=False)
