"""Arrays as a data set: what is asked of images and labels, and how one's own become one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from physjax.data import DATASETS
from physjax.data.types import DataError, Dataset, DatasetInfo, Split, fingerprint

SIDE = 32
"""Height and width of the images of all data sets but one's own."""


def from_arrays(
    train_images: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_images: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    name: str = "arrays",
    title: str = "",
    mirror: bool = False,
) -> Dataset:
    """One's own images as a data set.

    Args:
      train_images: uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], H and W at most 32; smaller ones
        get a black border (`to_rgb`).
      train_labels: integers [N], from 0 to K - 1; every class has an image.
      test_images: as the training images, of the same height, width and channels.
      test_labels: as the training labels; a class may be missing.
      class_names: K different names.
      name: what run folders are called by: letters, digits, `_` and `-`, at most 40.
      title: what figures show; empty: the name.
      mirror: whether a mirrored image still shows its class.

    Returns:
      The data set, with the mean and deviation of its own training images.

    Raises:
      DataError: what does not fit; the message names the argument.
    """
    names = _checked_names(class_names)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise DataError(f"name is {name!r}, but must be 1 to 40 letters, digits, _ or -")
    if not isinstance(title, str) or not title.isprintable() or len(title) > 80:
        raise DataError(f"title is {title!r}, but must be up to 80 printable characters")
    if name in DATASETS or name == "auto":
        raise DataError(f"name is {name!r}, which is a data set of the package; choose another")
    images = [
        _checked_images(array, argument)
        for array, argument in ((train_images, "train_images"), (test_images, "test_images"))
    ]
    if images[0].shape[1:] != images[1].shape[1:]:
        raise DataError(
            f"test_images are {list(images[1].shape[1:])}, but train_images "
            f"{list(images[0].shape[1:])} (height, width, channels)"
        )
    train, test = (
        Split(to_rgb(array), _checked_labels(labels, argument, len(array), len(names)))
        for array, labels, argument in (
            (images[0], train_labels, "train_labels"),
            (images[1], test_labels, "test_labels"),
        )
    )
    missing = np.flatnonzero(np.bincount(train.labels, minlength=len(names)) == 0)
    if missing.size:
        raise DataError(
            f"train_labels: class {missing[0]} ({names[missing[0]]}) has no image"
            + (f", nor have {missing.size - 1} more" if missing.size > 1 else "")
        )
    mean, std = channel_statistics(train.images)
    if min(std) == 0:
        raise DataError("train_images: all pixels of a channel are the same; nothing can be seen")
    info = DatasetInfo(
        name=name,
        title=title or name,
        num_classes=len(names),
        class_names=names,
        mean=mean,
        std=std,
        mirror=bool(mirror),
        version="1.0.0",
        source="arrays",
        fingerprint=fingerprint(train, test),
        notice="",
        native=(images[0].shape[1], images[0].shape[2], images[0].shape[3]),
    )
    return Dataset(train, test, info)


def as_images(images: npt.ArrayLike, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Images to predict, as the models get them: uint8 [N, side, side, 3].

    Args:
      images: uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], H and W at most `side`, as in
        :func:`from_arrays`; N may be 0.
      side: in pixels.

    Raises:
      DataError: what does not fit.
    """
    array = _array(images, "images")
    if array.ndim in (3, 4) and len(array) == 0:
        return np.zeros((0, side, side, 3), np.uint8)
    return to_rgb(_checked_images(array, "images", side), side)


def check_labels(labels: npt.ArrayLike, count: int, num_classes: int) -> npt.NDArray[np.int32]:
    """Labels of `count` images, int32 [count]. Raises DataError for what does not fit."""
    return _checked_labels(labels, "labels", count, num_classes)


def _checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(class_names, str):
        raise DataError("class_names is one text; it must be a sequence of names")
    names = tuple(class_names)
    for text in names:
        if not isinstance(text, str) or not text.strip() or not text.isprintable():
            raise DataError(f"class_names: {text!r} is not a printable name")
    if len(set(names)) != len(names) or len(names) < 2:
        raise DataError(f"class_names: at least 2 different names are needed, not {list(names)}")
    return names


def _checked_images(
    images: npt.ArrayLike, argument: str, side: int = SIDE
) -> npt.NDArray[np.uint8]:
    """As uint8 [N, H, W, 1 or 3]."""
    array = _array(images, argument)
    if array.dtype != np.uint8:
        raise DataError(f"{argument} are {array.dtype}, but must be uint8 (0 to 255)")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3):
        raise DataError(
            f"{argument} have the shape {list(array.shape)}, but must be [N, H, W], [N, H, W, 1] "
            "or [N, H, W, 3]"
        )
    if 0 in array.shape:
        raise DataError(f"{argument} have the shape {list(array.shape)}: there are no pixels")
    if max(array.shape[1:3]) > side:
        raise DataError(f"{argument}: {_too_large(array.shape[1], array.shape[2], side)}")
    return array


def _checked_labels(
    labels: npt.ArrayLike, argument: str, count: int, num_classes: int
) -> npt.NDArray[np.int32]:
    array = _array(labels, argument)
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{argument} are {array.dtype}, but must be integers")
    if array.shape != (count,):
        raise DataError(
            f"{argument} have the shape {list(array.shape)}, but there are {count} images: "
            f"[{count}] is needed"
        )
    if count and not 0 <= array.min() <= array.max() < num_classes:
        raise DataError(
            f"{argument} go from {array.min()} to {array.max()}, but {num_classes} class_names "
            f"mean 0 to {num_classes - 1}"
        )
    return array.astype(np.int32)


def _array(values: npt.ArrayLike, argument: str) -> np.ndarray:
    try:
        # A copy: what is changed later must not change what was checked and hashed.
        return np.array(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{argument} is no array: {error}") from error


def channel_statistics(
    images_NHWC: npt.NDArray[np.uint8],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each of three channels, pixels in [0, 1]; exact sums."""
    values = np.arange(256) / 255
    counts = [np.bincount(images_NHWC[..., c].ravel(), minlength=256) for c in range(3)]
    means = [float(np.average(values, weights=n)) for n in counts]
    deviations = [
        float(np.sqrt(np.average((values - mean) ** 2, weights=n)))
        for n, mean in zip(counts, means, strict=True)
    ]
    return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])


def to_rgb(images_NHWC: npt.NDArray[np.uint8], side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Images as the models get them, [N, side, side, 3].

    Smaller ones get a black border, evenly; where that is odd, the row below and the column on the
    right are the wider ones. A grey channel becomes three equal ones.

    Raises:
      DataError: images larger than that, or neither 1 nor 3 channels.
    """
    _, height, width, channels = images_NHWC.shape
    if max(height, width) > side:
        raise DataError(_too_large(height, width, side))
    if channels not in (1, 3):
        raise DataError(f"images have {channels} channels, but must have 1 or 3")
    if (height, width) != (side, side):
        rows, columns = side - height, side - width
        border = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
        images_NHWC = np.pad(images_NHWC, ((0, 0), *border, (0, 0)))
    return images_NHWC if channels == 3 else np.repeat(images_NHWC, 3, axis=-1)


def _too_large(height: int, width: int, side: int) -> str:
    return (
        f"images of {height}x{width} pixels are larger than the {side}x{side} that models get; "
        "make them smaller first, e.g. with physjax.data.images.resize"
    )


def check_split(split: Split, count: int, num_classes: int, what: str, side: int = SIDE) -> Split:
    """The split, if it is what the rest of the package relies on.

    Raises:
      DataError: shapes, types, the number of images or the range of labels are other ones.
    """
    images, labels = split.images, split.labels
    if images.shape != (count, side, side, 3) or images.dtype != np.uint8:
        raise DataError(
            f"{what} are {images.dtype} {list(images.shape)}, "
            f"not uint8 [{count}, {side}, {side}, 3]"
        )
    if labels.shape != (count,) or labels.dtype != np.int32:
        raise DataError(f"labels of {what} are {labels.dtype} {list(labels.shape)}, not [{count}]")
    if count and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(
            f"labels of {what} go from {labels.min()} to {labels.max()}, not 0 to {num_classes - 1}"
        )
    return split
