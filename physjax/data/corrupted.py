"""Test images that were corrupted and published: CIFAR-10-C, and what has its form.

Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations*, ICLR 2019 (arXiv:1903.12261). CIFAR-10-C (doi:10.5281/zenodo.2535967) is a folder of
files `<corruption>.npy`, uint8 [50000, 32, 32, 3], five severities of the 10,000 test images one
after the other, and `labels.npy`. TensorFlow Datasets has the same as `cifar10_corrupted`, a config
for each corruption and severity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax.data.images import shown
from physjax.data.tfds_any import TfdsSplit, tfds_test_split
from physjax.data.tfds_layout import configs
from physjax.data.types import DataError, DatasetInfo, Split

SEVERITIES = (1, 2, 3, 4, 5)
_CONFIG = re.compile(r"(?P<corruption>.+)_(?P<severity>[1-5])")
_LABELS = "labels.npy"


@dataclass(frozen=True)
class CorruptedImages:
    """What a folder of corrupted test images holds; they are read when they are asked for."""

    title: str
    """The folder's name."""
    examples: int
    """Of each corruption and severity."""
    severities: Mapping[str, tuple[int, ...]]
    """By corruption, those that there are."""
    read: Callable[[str, int], Split]
    """(corruption, severity) -> images, uint8 [N, S, S, 3], and their labels."""


def find_corrupted(folder: str | Path, info: DatasetInfo) -> CorruptedImages:
    """The corrupted images in a folder, in the form of CIFAR-10-C or as TFDS prepared them.

    No image is read yet, but what the files say of themselves is checked.

    Args:
      folder: with the files `<corruption>.npy` and `labels.npy`, or TFDS's, with folders
        `<corruption>_<severity>/<version>`.
      info: of the images that a network was trained on: theirs must have this size and these
        classes.

    Raises:
      DataError: it is neither, or holds other images than those; the message names the file.
    """
    path = Path(folder).expanduser()
    if (path / _LABELS).is_file():
        return _of_arrays(path, info)
    prepared = configs(path)
    if any(_CONFIG.fullmatch(name) for name in prepared):
        return _of_tfds(path, prepared, info)
    raise DataError(
        f"{shown(path)} holds no corrupted images: needed are {_LABELS} and a file "
        "<corruption>.npy for each corruption, as CIFAR-10-C has them, or the folders "
        "<corruption>_<severity> of TFDS's cifar10_corrupted"
    )


def _of_arrays(path: Path, info: DatasetInfo) -> CorruptedImages:
    labels = np.asarray(_array(path / _LABELS))
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or len(labels) % 5:
        raise DataError(
            f"{shown(path / _LABELS)} is {_form(labels)}, but must be whole numbers [5 N]: those "
            "of N images for each of five severities"
        )
    if not 0 <= labels.min() <= labels.max() < info.num_classes:
        raise DataError(
            f"{shown(path / _LABELS)} has labels from {labels.min()} to {labels.max()}, but the "
            f"network knows the classes 0 to {info.num_classes - 1}"
        )
    files = {file.stem: file for file in sorted(path.glob("*.npy")) if file.name != _LABELS}
    if not files:
        raise DataError(f"{shown(path)} has {_LABELS}, and no <corruption>.npy beside it")
    side = info.image_size
    for file in files.values():
        array = _array(file)
        if array.dtype != np.uint8 or array.shape != (len(labels), side, side, 3):
            raise DataError(
                f"{shown(file)} is {_form(array)}, but must be uint8 [{len(labels)}, {side}, "
                f"{side}, 3]: five severities of the images of {_LABELS}, of the size that the "
                "network was trained on"
            )
    count = len(labels) // 5

    def read(corruption: str, severity: int) -> Split:
        part = slice((severity - 1) * count, severity * count)
        # Of the file only this part: the rest is not taken into memory.
        images = np.ascontiguousarray(_array(files[corruption])[part])
        return Split(images, labels[part].astype(np.int32))

    return CorruptedImages(shown(path.name), count, dict.fromkeys(files, SEVERITIES), read)


def _array(path: Path) -> npt.NDArray[Any]:
    """The array in a file, mapped into memory and not read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    # A header of whatever letters is evaluated by NumPy, and may claim any size.
    except (Exception, MemoryError) as error:
        raise DataError(
            f"{shown(path)} cannot be read ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{shown(path)} holds several arrays, and must be one")
    return array


def _form(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _of_tfds(path: Path, prepared: Mapping[str, list[Path]], info: DatasetInfo) -> CorruptedImages:
    splits: dict[tuple[str, int], TfdsSplit] = {}
    for name, versions in prepared.items():
        match = _CONFIG.fullmatch(name)
        if match is None:
            continue
        split = tfds_test_split(path.name, versions[-1])
        if split.classes != info.class_names:
            raise DataError(
                f"{versions[-1]} has the classes {', '.join(split.classes)}, but the network knows "
                f"{', '.join(info.class_names)}"
            )
        splits[match["corruption"], int(match["severity"])] = split
    counts = {split.examples for split in splits.values()}
    if len(counts) > 1:
        raise DataError(
            f"{path} has corruptions of {min(counts):,} and of {max(counts):,} images: prepare "
            "the smaller ones again"
        )
    names = dict.fromkeys(corruption for corruption, _ in splits)
    severities = {
        name: tuple(sorted(severity for corruption, severity in splits if corruption == name))
        for name in names
    }

    def read(corruption: str, severity: int) -> Split:
        return splits[corruption, severity].read(info.image_size)

    return CorruptedImages(shown(path.name), counts.pop(), severities, read)
