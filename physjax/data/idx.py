"""Y. LeCun's IDX format, in which MNIST and Fashion-MNIST are published."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from physjax.data.raw import Images, RawData, RawSplit, read_bounded
from physjax.data.spec import DatasetSpec
from physjax.data.types import DataError


def read_idx(spec: DatasetSpec, files: list[Path], limit: int) -> RawData:
    """Both splits, from four files of IDX format (yann.lecun.com/exdb/mnist).

    Args:
      spec: the data set.
      files: training images, training labels, test images, test labels; gzipped or not.
      limit: the most bytes that a file may unpack to.

    Raises:
      DataError: a file is damaged, too large, or holds something else.
    """
    train_images, train_labels, test_images, test_labels = (
        read_idx_file(file, limit) for file in files
    )
    for file, images in ((files[0], train_images), (files[2], test_images)):
        if images.shape[1:] != spec.native_shape[:2]:
            raise DataError(f"{file} holds an array {images.shape}, not images of 28x28 pixels")
    for file, labels in ((files[1], train_labels), (files[3], test_labels)):
        if labels.ndim != 1:
            raise DataError(f"{file} holds an array {labels.shape}, not labels")
    return RawData(
        RawSplit(train_images[..., None], {"label": train_labels.astype(np.int64)}),
        RawSplit(test_images[..., None], {"label": test_labels.astype(np.int64)}),
    )


def read_idx_file(path: Path, limit: int) -> Images:
    """One IDX file of bytes: 0, 0, type 8, number of dimensions, their sizes, values."""
    data = read_bounded(path, limit)
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DataError(f"{path} is not an IDX file of bytes: it starts with {data[:4].hex(' ')}")
    dimensions = data[3]
    header = 4 + 4 * dimensions
    shape = struct.unpack_from(f">{dimensions}I", data, 4) if len(data) >= header else ()
    # In Python's integers: four sizes of 2^16 would be nothing at all in NumPy's.
    expected = header + math.prod(shape)
    if not 1 <= dimensions <= 3 or len(data) != expected:
        raise DataError(f"{path} has {len(data)} bytes, but its header {shape} means {expected}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
