"""What the readers of published files share: bounded reading, and the data as it was published."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from physjax.data.spec import DatasetSpec
from physjax.data.types import DataError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RawSplit:
    """Images as published, [N, H, W, C], and their labels [N] by feature name."""

    images: Images
    labels: dict[str, Labels]


@dataclass(frozen=True)
class RawData:
    """Both splits, and class names by feature name where the files carry them."""

    train: RawSplit
    test: RawSplit
    names: dict[str, list[str]] = field(default_factory=dict)


def unpacked_limit(spec: DatasetSpec) -> int:
    """Bytes that the unpacked files of a data set never reach: twice its pixels and labels."""
    each = math.prod(spec.native_shape) + 64
    return 2 * (spec.train_examples + spec.test_examples) * each + (1 << 20)


class Bounded:
    """A file that is read up to a limit, so that a small one cannot fill the memory.

    Raises:
      DataError: on reading past the limit.
    """

    def __init__(self, file: IO[bytes], path: Path, limit: int) -> None:
        self._file, self._path, self._limit, self._left = file, path, limit, limit

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; -1: all."""
        most = self._left + 1
        data = self._file.read(most if size < 0 else min(size, most))
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"{self._path} unpacks to more than {self._limit:,} bytes, which is far more than "
                "the data set has: it is not the published file"
            )
        return data


@contextmanager
def open_bounded(path: Path, limit: int) -> Iterator[Bounded]:
    """Open a file, inflating it if it is gzipped, and read no more than `limit` bytes of it."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if zipped:
            with gzip.GzipFile(fileobj=file) as inflated:
                yield Bounded(inflated, path, limit)  # type: ignore[arg-type]
        else:
            yield Bounded(file, path, limit)


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole content of a file, inflated if it is gzipped.

    Raises:
      DataError: it is damaged, or larger than `limit` bytes.
    """
    try:
        with open_bounded(path, limit) as file:
            return file.read()
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} is not a whole gzip file ({error})") from error


def check_names(spec: DatasetSpec, names: list[str], where: str) -> None:
    """Refuse files whose classes are other ones, or in another order, than the table's.

    Raises:
      DataError: names the first that differs.
    """
    if len(names) != spec.num_classes:
        raise DataError(f"{where} names {len(names)} classes, not {spec.num_classes}")
    for index, (name, expected) in enumerate(zip(names, spec.class_names, strict=True)):
        if name != expected:
            raise DataError(f"{where} calls class {index} {name!r}, not {expected!r}")
