"""SVHN (cropped) as published: MATLAB 5 files of two uint8 arrays.

SciPy reads them too, but takes the memory that a damaged file claims, or ends the process.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from physjax.data.raw import RawData, RawSplit, read_bounded
from physjax.data.spec import DatasetSpec
from physjax.data.types import DataError

_HEADER = 128
# Types of elements, and the class of arrays, that are looked for.
_INT8, _UINT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 2, 5, 6, 14, 15
_UINT8_CLASS = 9


def read_svhn(spec: DatasetSpec, files: list[Path], limit: int) -> RawData:
    """Both splits, from files of X [32, 32, 3, N] and y [N, 1] in 1..10 (10: the digit 0).

    Args:
      spec: the data set.
      files: those of the training and of the test images.
      limit: the most bytes that a file may unpack to.

    Raises:
      DataError: a file is damaged, too large, or holds something else.
    """
    train, test = files
    return RawData(
        _read_split(train, spec.train_examples, limit), _read_split(test, spec.test_examples, limit)
    )


def _read_split(path: Path, count: int, limit: int) -> RawSplit:
    try:
        arrays = read_arrays(read_bounded(path, limit), ("X", "y"), limit)
    except (ValueError, struct.error, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not a whole MATLAB file of X and y ({error})") from error
    for name, shape in (("X", (32, 32, 3, count)), ("y", (count, 1))):
        if name not in arrays:
            raise DataError(f"{path} holds no uint8 array {name}")
        if arrays[name].shape != shape:
            raise DataError(f"{path}: {name} is {arrays[name].shape}, not {shape}")
    labels = arrays["y"].reshape(-1)
    if not 1 <= labels.min() <= labels.max() <= 10:
        raise DataError(f"{path}: y goes from {labels.min()} to {labels.max()}, not 1 to 10")
    return RawSplit(arrays["X"].transpose(3, 0, 1, 2), {"label": labels.astype(np.int64) % 10})


def read_arrays(
    data: bytes, names: tuple[str, ...], limit: int
) -> dict[str, npt.NDArray[np.uint8]]:
    """The uint8 arrays of these names in a MATLAB 5 file; others are passed over.

    Args:
      data: the content of the file.
      names: which arrays.
      limit: the most bytes that all arrays may unpack to.

    Raises:
      ValueError, struct.error, zlib.error: the file is damaged or unpacks to more.

    Source: MathWorks, "MAT-File Format", Level 5.
    """
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise ValueError("it has no header of MATLAB 5")
    order = "<" if data[126:128] == b"IM" else ">"
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    remaining = limit
    for kind, content in _elements(memoryview(data)[_HEADER:], order):
        if kind == _COMPRESSED:
            stream = zlib.decompressobj()
            inflated = stream.decompress(content, remaining + 1)
            remaining -= len(inflated)
            if remaining < 0:
                raise ValueError(f"it unpacks to more than {limit:,} bytes")
            if not stream.eof:
                raise ValueError("a compressed array is cut off")
            kind, content = next(_elements(memoryview(inflated), order), (0, memoryview(b"")))
        if kind == _MATRIX:
            name, array = _array(content, order)
            if name in names and array is not None:
                arrays[name] = array
    return arrays


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of one element after the other."""
    offset = 0
    while offset < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, offset)
        start = offset + 8
        if kind >> 16:  # up to four bytes, in the place of their number
            kind, size, start = kind & 0xFFFF, kind >> 16, offset + 4
            if size > 4:
                raise ValueError(f"a short element has {size} bytes")
        end = start + size
        if end > len(data):
            raise ValueError(f"it ends {end - len(data):,} bytes too early")
        yield kind, data[start:end]
        offset = end if kind == _COMPRESSED else -(-end // 8) * 8


def _array(content: memoryview, order: str) -> tuple[str, npt.NDArray[np.uint8] | None]:
    """The name of an array, and the array if it is a real one of uint8."""
    parts = list(itertools.islice(_elements(content, order), 4))
    if [kind for kind, _ in parts[:3]] != [_UINT32, _INT32, _INT8]:
        raise ValueError("an array has no flags, dimensions and name")
    flags, dimensions, name = (part for _, part in parts[:3])
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    (flag, _) = struct.unpack(f"{order}II", flags)
    text = bytes(name).decode("ascii", "replace")
    if flag & 0xFF != _UINT8_CLASS or flag & 0x800:
        return text, None
    if len(parts) < 4 or parts[3][0] != _UINT8:
        raise ValueError(f"the array {text} is not stored as uint8")
    pixels = parts[3][1]
    if min(shape, default=0) < 0 or len(pixels) != math.prod(shape):
        raise ValueError(f"the array {text} has {len(pixels):,} bytes, but its shape is {shape}")
    return text, np.frombuffer(pixels, np.uint8).reshape(shape, order="F")
