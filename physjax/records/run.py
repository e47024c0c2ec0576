"""What the lines and files of a run's record hold: types, limits, and what each field means."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from pydantic import Field

from physjax import schema
from physjax.errors import UserError


class RecordError(UserError):
    """A run folder that is not what it should be; the message names the path and the way out."""


Number = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]


@schema.strict(RecordError)
class EpochRecord:
    """One line of metrics.jsonl. Losses are mean cross-entropies in nats, without smoothing.

    The training figures are sums over the epoch's batches while the parameters moved, augmentation
    and dropout on; the test figures come from the parameters at the epoch's end.
    """

    epoch: Annotated[int, Field(ge=1, lt=2**63)]
    step: Annotated[int, Field(ge=1, lt=2**63)]
    train_loss: float
    train_accuracy: Share
    test_loss: float | None
    """None, like the next one, in epochs that `run.evaluate_every` leaves out."""
    test_accuracy: Share | None
    learning_rate: Amount
    images_per_second: Amount
    """Training images per second of training time, evaluation and compilation left out; 0 where
    the session that wrote the line did none of the epoch's steps."""
    seconds: Amount
    """Training and evaluation time of the epoch."""
    validation_loss: float | None = None
    validation_accuracy: Share | None = None
    physics: dict[str, dict[str, float]] = field(default_factory=dict)
    """By layer: `strength` and `force_rms`, and what else the law or rule reports. Empty where the
    test images were not evaluated."""


@schema.strict(RecordError)
class DeviceFacts:
    """What a run was computed on."""

    platform: str
    """As JAX calls it: cpu, gpu, tpu."""
    kind: str
    count: Number
    """Devices of all hosts."""
    hosts: Number
    host_cores: Number | None


@schema.strict(RecordError)
class DataFacts:
    """Which images a run saw."""

    name: str
    """In `physjax.data.DATASETS`, or of one in the TFDS folder, or of arrays."""
    title: str
    """As figures call it: deviations from the original are named."""
    version: str
    source: str
    """The folder or library that they came from."""
    fingerprint: str
    """SHA-256 of the images and labels."""
    examples: dict[str, Number]
    """By split: train, test and, where there is one, validation."""
    class_names: tuple[str, ...]
    mean: tuple[float, float, float] | None = None
    """Of each channel of the training images, pixels in [0, 1]; None in older records."""
    std: tuple[float, float, float] | None = None
    mirror: bool | None = None
    """Whether a mirrored image still shows its class; None in older records."""
    image_size: Number = 32
    """Side in pixels of the images."""
    native: tuple[Number, Number, Number] | None = None
    """Height, width and channels before a border and copies of a grey channel; None in older
    records."""


@schema.strict(RecordError)
class Spent:
    """What the time of a run was spent on, over all its sessions (`physjax.records.ledger`)."""

    seconds: dict[str, Amount]
    """By what: steps, compile, data, evaluation, checkpoints, waiting, other."""
    between: Amount
    """Seconds between its sessions, in which nothing was at work on it."""
    restarts: Number
    """Sessions after the first one."""
    lost_steps: Number
    """Steps that were done again, since no checkpoint had them."""


@schema.strict(RecordError)
class Result:
    """What a finished run amounts to. Accuracies are fractions in [0, 1]."""

    train_accuracy: Share
    """Of the last epoch."""
    test_accuracy: Share
    """Of the last epoch: nothing was selected on the test set."""
    best_test_accuracy: Share
    """The best evaluated epoch's, which is a selection on the test set: for information only."""
    best_epoch: Number
    """The epoch of checkpoints/best, chosen by `selection_criterion`."""
    selection_criterion: str
    epochs: Number
    steps: Number
    parameters: Number
    wall_seconds: Amount
    """Over all sessions of the run."""
    compile_seconds: Amount
    """Of the last session."""
    images_per_second: Amount
    """Median over the epochs that were timed; 0 where none was."""
    peak_memory_mib: Amount
    device: DeviceFacts
    versions: dict[str, str]
    data: DataFacts
    confusion: list[list[Number]]
    """Of the last epoch on the test set: rows are the true classes."""
    law_parameters: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By layer and name: the force law's own parameters at the end, one for each channel."""
    spent: Spent | None = None
    """None in older records."""
