"""What an evaluation leaves in a run's folder: robustness.json. Nothing here imports JAX."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from pydantic import ConfigDict, TypeAdapter, ValidationError

from physjax.files import atomic_write, read_text
from physjax.records import RecordError
from physjax.train.metrics import ClassificationMetrics

FILE = "robustness.json"
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Corruptions of CIFAR-10-C that its paper keeps for validation, and its mean leaves out."""


@dataclass(frozen=True)
class CorruptionMetrics:
    """How the network did on images that one corruption had changed in one severity."""

    severity: int
    strength: float | None
    """In the unit that `RobustnessRecord.quantities` names; None: published images do not say."""
    accuracy: float
    loss: float
    """Mean cross-entropy in nats."""
    calibration_error: float


@dataclass(frozen=True)
class CorruptedSource:
    """Corrupted images that were not made here but read."""

    title: str
    examples: int
    """Of each corruption and severity."""


@dataclass(frozen=True)
class RingMetrics:
    """How the network did with its channels in another order on the ring than it was trained in."""

    order: int
    """Which of the random orders (`ForceLaw.permutation`)."""
    accuracy: float
    loss: float
    """Mean cross-entropy in nats."""
    calibration_error: float


@dataclass(frozen=True)
class RobustnessRecord:
    """A trained network on its test images, as they are and corrupted."""

    tta: str
    """The views that probabilities were averaged over."""
    folded: bool
    """Whether the force was merged into the convolutions."""
    examples: int
    class_names: list[str]
    clean: ClassificationMetrics
    quantities: dict[str, str]
    """By corruption, what its strength measures."""
    corruptions: dict[str, list[CorruptionMetrics]]
    """By name, each in growing severity; empty where the clean images alone were evaluated."""
    corrupted_source: CorruptedSource | None = None
    """Where the corrupted images were read from; None: they were made of the test images."""
    permuted_rings: list[RingMetrics] = field(default_factory=list)
    """On clean images; empty where that was not asked for."""
    gates: dict[str, list[list[float | None]]] = field(default_factory=dict)
    """By layer: the mean gate of each class and channel on clean images, [K, C], None for a class
    without an image; empty where that was not asked for."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def mean_corruption_error(self) -> float | None:
        """Mean of 1 - accuracy over the severities of each corruption, then over corruptions.

        Equation 1 of Hendrycks & Dietterich (arXiv:1903.12261) without the division by AlexNet's
        errors, as is usual for CIFAR-10-C. Corruptions that the paper keeps for validation do not
        count where there are others. None: nothing was corrupted.
        """
        names = [name for name in self.corruptions if name not in EXTRA] or list(self.corruptions)
        errors = [fmean(1 - m.accuracy for m in self.corruptions[name]) for name in names]
        return fmean(errors) if errors else None


_SCHEMA = TypeAdapter(RobustnessRecord)


def write_robustness(run: Path, record: RobustnessRecord) -> None:
    """Write `record` into the folder of a run."""
    atomic_write(run / FILE, _SCHEMA.dump_json(record, indent=2).decode() + "\n")


def read_robustness(run: Path) -> RobustnessRecord:
    """The record in the folder of a run.

    Raises:
        RecordError: the run has not been evaluated, or the record is damaged.
    """
    path = run / FILE
    if not path.exists():
        raise RecordError(f"{run} has not been evaluated: physjax evaluate {run}")
    try:
        return _SCHEMA.validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(
            f"{path} is no record of an evaluation ({where}: {first['msg']}); evaluate the run "
            f"again: physjax evaluate {run}"
        ) from error
