"""What is known of a data set before it is read: one entry of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from physjax.config import DataConfig
from physjax.data.lazy import LazyImages
from physjax.data.types import Split

Channels = tuple[float, float, float]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Archive:
    """One file as its publisher offers it."""

    name: str
    url: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class OwnImages:
    """What is known of images of one's own when they were found, and not yet decoded."""

    title: str
    class_names: tuple[str, ...]
    source: Path
    """The folder or file that they come from."""
    counts: tuple[int, int]
    """Training and test images."""
    files: tuple[Path, ...]
    """Where one of them changes its size or its time of change, all are decoded anew."""
    read: Callable[[int], tuple[Split, Split]]
    """Decodes training and test images, each resized to that side in pixels."""
    lazy: Callable[[int], tuple[LazyImages, LazyImages]] | None = None
    """Training and test images of that side that are decoded one by one, when they are asked for.
    None: `read` is the only way."""
    labels: Callable[[], tuple[Labels, Labels]] | None = None
    """Theirs, int32 [N] each; may read all files."""
    remark: str = ""
    """What the user should know of how they were found."""
    version: str = "1.0.0"


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
    layout: Literal["cifar", "idx", "svhn", "embedded", "own"]
    """Format of the published files; embedded: there are none, and `load` has the images; own: the
    user has them, and `find` says what they are."""
    archives: tuple[Archive, ...] = ()
    """What is downloaded, and taken from `--archive`."""
    alternatives: tuple[Archive, ...] = ()
    """Files that hold the same images in another form; each is taken alone."""
    load: Callable[[], tuple[Split, Split]] | None = None
    """Embedded data: returns the training and the test images."""
    find: Callable[[DataConfig], OwnImages] | None = None
    """Images of one's own: looks where the config says. What the entry says of classes, numbers and
    statistics is empty then."""

    def __post_init__(self) -> None:
        """Refuse an entry that names no way to its images, or two."""
        if (self.layout == "embedded") != (self.load is not None):
            raise ValueError(f"{self.name}: an embedded data set has a load function, others none")
        if (self.layout == "own") != (self.find is not None):
            raise ValueError(f"{self.name}: images of one's own have a find function, others none")

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


def own_spec(name: str, title: str, find: Callable[[DataConfig], OwnImages]) -> DatasetSpec:
    """The entry of a data set of which nothing is known before it is looked at."""
    return DatasetSpec(
        name=name,
        title=title,
        class_names=(),
        native_shape=(0, 0, 0),
        mean=(0.0,) * 3,
        std=(0.0,) * 3,
        mirror=True,
        version="1.0.0",
        train_examples=0,
        test_examples=0,
        layout="own",
        find=find,
    )
