"""SVHN (cropped) as published: MATLAB 5 files, inflated within bounds before SciPy reads them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from physjax.data.raw import RawData, RawSplit, read_bounded
from physjax.data.spec import DatasetSpec
from physjax.data.types import DataError

_HEADER = 128
_COMPRESSED = 15


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
    from scipy.io import loadmat, whosmat

    content = read_bounded(path, limit)
    try:
        content = _inflate(content, limit)
        found = {name: (shape, kind) for name, shape, kind in whosmat(_file(content))}
    # SciPy raises whatever a damaged field leads to: TypeError, zlib.error, MatReadError, ...
    except Exception as error:
        raise _damaged(path, error) from error
    for name, shape in (("X", (32, 32, 3, count)), ("y", (count, 1))):
        if name not in found:
            raise DataError(f"{path} holds {', '.join(found) or 'nothing'}, but not {name}")
        if found[name] != (shape, "uint8"):
            raise DataError(
                f"{path}: {name} is {found[name][1]} {found[name][0]}, not uint8 {shape}"
            )
    try:
        arrays = loadmat(_file(content), variable_names=["X", "y"])
        images, labels = np.asarray(arrays["X"]), np.asarray(arrays["y"])
    except Exception as error:
        raise _damaged(path, error) from error
    if images.shape != (32, 32, 3, count) or images.dtype != np.uint8 or labels.size != count:
        raise DataError(f"{path}: X and y are not what the header says")
    if labels.dtype != np.uint8 or not 1 <= labels.min() <= labels.max() <= 10:
        raise DataError(f"{path}: y goes from {labels.min()} to {labels.max()}, not 1 to 10")
    digits = labels.reshape(-1).astype(np.int64) % 10
    return RawSplit(images.transpose(3, 0, 1, 2), {"label": digits})


def _file(content: bytes) -> Any:
    """SciPy takes open files too, but its types say names only."""
    return io.BytesIO(content)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not a whole MATLAB file of X and y ({type(error).__name__}: {error})"
    )


def _inflate(data: bytes, limit: int) -> bytes:
    """The same file without compression: SciPy makes room for whatever a compressed one claims."""
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise ValueError("it has no header of MATLAB 5")
    order = "<" if data[126:128] == b"IM" else ">"
    parts = [data[:_HEADER]]
    left = limit
    offset = _HEADER
    while offset < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, offset)
        end = offset + 8 + size
        if end > len(data):
            raise ValueError(f"it ends {end - len(data)} bytes too early")
        if kind == _COMPRESSED:
            stream = zlib.decompressobj()
            part = stream.decompress(data[offset + 8 : end], left + 1)
            if len(part) > left:
                raise ValueError(f"it unpacks to more than {limit:,} bytes")
            if not stream.eof:
                raise ValueError("a compressed array is cut off")
        else:
            part = data[offset:end]
        left -= len(part)
        parts.append(part)
        offset = end
    return b"".join(parts)
