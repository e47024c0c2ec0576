"""What is known of a data set before it is read: one entry of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from physjax.data.types import Split

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Archive:
    """One file as its publisher offers it."""

    name: str
    url: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a data set before it is read."""

    name: str
    """Its name in TensorFlow Datasets too."""
    title: str
    """What figures show of the original and of nothing else."""
    class_names: tuple[str, ...]
    native_shape: tuple[int, int, int]
    """Height, width, channels as stored; images reach the models as 32x32x3 (`to_rgb`)."""
    mean: Channels
    """Of the training images as the models get them (padding included), pixels in [0, 1]."""
    std: Channels
    mirror: bool
    """Whether left-right mirroring keeps the class: not of digits and house numbers."""
    version: str
    """Version of the TFDS builder; for embedded data, of this package's conversion."""
    train_examples: int
    test_examples: int
    layout: Literal["cifar", "idx", "svhn", "embedded"]
    """Format of the published files; embedded: there are none, and `load` has the images."""
    archives: tuple[Archive, ...] = ()
    """What is downloaded, and taken from `--archive`."""
    alternatives: tuple[Archive, ...] = ()
    """Files that hold the same images in another form; each is taken alone."""
    load: Callable[[], tuple[Split, Split]] | None = None
    """Embedded data: returns the training and the test images."""

    def __post_init__(self) -> None:
        """Refuse an entry that names no way to its images, or two."""
        if (self.layout == "embedded") != (self.load is not None):
            raise ValueError(f"{self.name}: an embedded data set has a load function, others none")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def native(self) -> tuple[int, int, int]:
        """Height, width and channels before a border and copies of a grey channel.

        Embedded images come in their final size, however they were brought to it.
        """
        height, width, channels = self.native_shape
        return (32, 32, channels) if self.layout == "embedded" else (height, width, channels)

    @property
    def home(self) -> str:
        """Where its archives are published; empty for embedded data."""
        return self.archives[0].url.rpartition("/")[0] if self.archives else ""
