"""What a tracker is: a callback that tells another program about a run, epoch by epoch."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from physjax.config import Config, settings_of
from physjax.errors import UserError
from physjax.records import EpochRecord, Result
from physjax.train.callbacks import Callback

if TYPE_CHECKING:
    from physjax.train.trainer import Trainer

Setting = str | int | float | bool | None


class Tracker(Callback, ABC):
    """Sends each epoch's figures on, at its step.

    A subclass sends them in :meth:`log`. A run that goes on after a stop is the same run there too.

    Attributes:
      name: in `physjax.train.trackers.TRACKERS`, and the extra that installs its package.
      package: that it needs.
    """

    name: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, folder: Path, config: Config) -> None:
        """Of the run in `folder`. Raises UserError where the package is not installed."""
        self._folder, self._config = folder, config
        self._ended = False

    @abstractmethod
    def log(self, scalars: dict[str, float], step: int) -> None:
        """Send the figures of an epoch that ended at that step; perhaps once more."""

    def imported(self) -> ModuleType:
        """The package. Raises UserError with the way to install it."""
        try:
            return importlib.import_module(self.package)
        except ImportError as error:
            raise UserError(
                f"--tracker {self.name} needs the package {self.package}: pip install "
                f"'physjax[{self.name}]'"
            ) from error

    def on_start(self, trainer: Trainer) -> None:
        # A process may have ended between an epoch's line and its sending, or tracked nothing.
        for record in trainer.epochs:
            self.log(scalars(record), record.step)

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        self.log(scalars(record), record.step)

    def on_end(self, trainer: Trainer, result: Result) -> None:
        self._ended = True


def scalars(record: EpochRecord) -> dict[str, float]:
    """The figures of an epoch by name: `accuracy/test`, and for each layer `force_rms/conv1`."""
    found: dict[str, float] = {}
    for split in ("train", "test", "validation"):
        for quantity in ("loss", "accuracy"):
            value = getattr(record, f"{split}_{quantity}")
            if value is not None:
                found[f"{quantity}/{split}"] = value
    found["learning_rate"] = record.learning_rate
    found["images_per_second"] = record.images_per_second
    for layer, figures in record.physics.items():
        found |= {f"{name}/{layer}": value for name, value in figures.items()}
    return found


def parameters(config: Config) -> dict[str, Setting]:
    """The config's fields by their dotted names; what is no number or truth value as text."""
    return {
        key: value if value is None or isinstance(value, str | int | float) else str(value)
        for key, value in settings_of(config).items()
    }


def kept_id(folder: Path, name: str, make: Callable[[], str]) -> str:
    """The run's name at a tracker: made the first time, and the same whenever it goes on."""
    path = folder / f"{name}.id"
    if not path.exists():
        path.write_text(make(), encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
