"""Arrays as a data set: what is asked of images and labels, and how one's own become one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from physjax.data import DATASETS
from physjax.data.images import resize
from physjax.data.pixels import SIDE, channel_statistics, to_rgb, too_large
from physjax.data.types import DataError, Dataset, DatasetInfo, Split, fingerprint


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
    image_size: int | None = None,
) -> Dataset:
    """One's own images as a data set.

    Args:
      train_images: uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], H and W at most 32; smaller ones
        get a black border (`to_rgb`). With `image_size` of any size.
      train_labels: integers [N], from 0 to K - 1; every class has an image.
      test_images: as the training images, of the same height, width and channels.
      test_labels: as the training labels; a class may be missing.
      class_names: K different names.
      name: what run folders are called by: letters, digits, `_` and `-`, at most 40.
      title: what figures show; empty: the name.
      mirror: whether a mirrored image still shows its class.
      image_size: side in pixels that images are resized to; None: 32, and they are not resized.

    Returns:
      The data set, with the mean and deviation of its own training images.

    Raises:
      DataError: what does not fit; the message names the argument.
    """
    names = checked_names(class_names)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise DataError(f"name is {name!r}, but must be 1 to 40 letters, digits, _ or -")
    if not isinstance(title, str) or not title.isprintable() or len(title) > 80:
        raise DataError(f"title is {title!r}, but must be up to 80 printable characters")
    if name in DATASETS or name == "auto":
        raise DataError(f"name is {name!r}, which is a data set of the package; choose another")
    side = SIDE if image_size is None else image_size
    images = [
        checked_images(array, argument, SIDE if image_size is None else None)
        for array, argument in ((train_images, "train_images"), (test_images, "test_images"))
    ]
    if images[0].shape[1:] != images[1].shape[1:]:
        raise DataError(
            f"test_images are {list(images[1].shape[1:])}, but train_images "
            f"{list(images[0].shape[1:])} (height, width, channels)"
        )
    if image_size is not None:
        images = [resize(array, side, side) for array in images]
    train, test = (
        Split(to_rgb(array, side), _checked_labels(labels, argument, len(array), len(names)))
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
    mean, std = channel_statistics(np.asarray(train.images))
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
        image_size=side,
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
    return to_rgb(checked_images(array, "images", side), side)


def check_labels(labels: npt.ArrayLike, count: int, num_classes: int) -> npt.NDArray[np.int32]:
    """Labels of `count` images, int32 [count]. Raises DataError for what does not fit."""
    return _checked_labels(labels, "labels", count, num_classes)


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """At least two different printable names. Raises DataError for others."""
    if isinstance(class_names, str):
        raise DataError("class_names is one text; it must be a sequence of names")
    names = tuple(class_names)
    for text in names:
        if not isinstance(text, str) or not text.strip() or not text.isprintable():
            raise DataError(f"class_names: {text!r} is not a printable name")
    if len(set(names)) != len(names) or len(names) < 2:
        raise DataError(f"class_names: at least 2 different names are needed, not {list(names)}")
    return names


def checked_images(
    images: npt.ArrayLike, argument: str, side: int | None = None
) -> npt.NDArray[np.uint8]:
    """Images as uint8 [N, H, W, 1 or 3], H and W at most `side` (None: any).

    Raises:
      DataError: what does not fit; the message names the argument.
    """
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
    if side is not None and max(array.shape[1:3]) > side:
        raise DataError(f"{argument}: {too_large(array.shape[1], array.shape[2], side)}")
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
