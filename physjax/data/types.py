"""What a data set is to the rest of the package: NumPy arrays and the facts about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from physjax.errors import UserError

if TYPE_CHECKING:
    from physjax.data.lazy import Images


class DataError(UserError):
    """Images that cannot be had or read; the message names the path and the way out."""


@dataclass(frozen=True)
class Split:
    """Images and their labels, in a fixed order."""

    images: Images
    """uint8 [N, S, S, 3], S = 32 but for images of one's own; grey ones have three equal channels.
    Where they are streamed, what decodes them when it is indexed."""
    labels: npt.NDArray[np.int32]
    """[N], from 0."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class DatasetInfo:
    """What a run's record and its figures say about the data."""

    name: str
    """Key of `DATASETS`; never `auto`."""
    title: str
    """What figures show, deviations from the original named: "CIFAR-10 (JPEG-75 copy)"."""
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, float, float]
    """Of each channel of the training images, pixels in [0, 1]."""
    std: tuple[float, float, float]
    mirror: bool
    """Whether a mirrored image still shows its class."""
    version: str
    source: str
    """The folder or package that the images were read from."""
    fingerprint: str
    """SHA-256 of the decoded pixels and labels of both whole splits (`fingerprint`)."""
    notice: str
    """One line that the user must not miss, e.g. of a stand-in; else empty."""
    image_size: int = 32
    """Side S in pixels of the images."""
    native: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels before a black border made the images S x S, and copies of a grey
    channel three: what an image from elsewhere is first brought to."""


@dataclass(frozen=True)
class Dataset:
    """The images of a run. `validation` is cut from the training images (`DataConfig.holdout`)."""

    train: Split
    test: Split
    info: DatasetInfo
    validation: Split | None = None


def fingerprint(train: Split, test: Split) -> str:
    """SHA-256 (hex) over train images, train labels, test images, test labels, in this order.

    Labels count as little-endian int32, so that the value is the same on every machine.
    """
    digest = hashlib.sha256()
    for split in (train, test):
        digest.update(np.ascontiguousarray(split.images).data)
        digest.update(np.ascontiguousarray(split.labels, dtype="<i4").data)
    return digest.hexdigest()
