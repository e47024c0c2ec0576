"""The record files of a folder that TensorFlow Datasets prepared, read without TensorFlow."""

from __future__ import annotations

import contextlib
import resource
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from physjax.data.types import DataError

FORMATS = ("array_record", "tfrecord")
"""What can be read; TFDS writes tfrecord unless it is told otherwise."""

_LARGEST_RECORD = 1 << 24
"""Bytes; an image of 32x32 pixels has some 2,500."""
_HEADER = 12


@dataclass(frozen=True)
class Shard:
    """A file of records, and how many dataset_info.json says that it has."""

    path: Path
    count: int


def read_shard(path: Path, file_format: str, count: int) -> Sequence[bytes]:
    """All records of one file, their checksums compared.

    Args:
      path: the file.
      file_format: one of `FORMATS`.
      count: the number of records that it must have.

    Raises:
      ValueError, OSError, RuntimeError: the file is damaged, or has another number of records.
    """
    records = _tfrecords(path, count) if file_format == "tfrecord" else _array_records(path)
    if len(records) != count:
        raise ValueError(f"it has {len(records)} records, not {count}")
    return records


class Records:
    """The records of several files, each by its number: in any order, and from several threads.

    Pickled, for another process, it is small. Files in the format tfrecord have no index: one is
    made of the headers of their records.

    Args:
      shards: the files.
      file_format: one of `FORMATS`.

    Raises:
      DataError: a file is missing, damaged, or has another number of records.
    """

    def __init__(self, shards: Sequence[Shard], file_format: str) -> None:
        self._shards = [shard for shard in shards if shard.count]
        self._ends = np.cumsum([shard.count for shard in self._shards])
        self._starts: list[npt.NDArray[np.int64]] = []
        self._source: Any = None
        if file_format == "array_record":
            self._source = _open_array_records(self._shards)
            return
        for shard in self._shards:
            with damage(f"{shard.path} cannot be read"):
                self._starts.append(_record_starts(shard))

    def __len__(self) -> int:
        return sum(shard.count for shard in self._shards)

    def name(self, index: int) -> str:
        """What messages call a record."""
        shard, number = self._find(index)
        return f"record {number} of {self._shards[shard].path}"

    def read(self, index: int) -> bytes:
        """A record. Raises DataError where it is damaged."""
        with damage(f"{self.name(index)} cannot be read"):
            if self._source is not None:
                record: bytes = self._source[index]
                return record
            shard, number = self._find(index)
            # Opened each time: there may be more files than a process may hold open.
            with self._shards[shard].path.open("rb") as file:
                file.seek(int(self._starts[shard][number]))
                return _content(file, _length(file.read(_HEADER), number), number)

    def _find(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - (int(self._ends[shard - 1]) if shard else 0)


@contextlib.contextmanager
def damage(what: str) -> Iterator[None]:
    """A DataError that begins with `what`, for whatever a damaged file makes its readers raise."""
    try:
        yield
    except DataError:
        raise
    # RuntimeError, DecodeError, struct.error, ...
    except Exception as error:
        raise DataError(
            f"{what} ({type(error).__name__}: {error}); prepare the data set again"
        ) from error


def _open_array_records(shards: Sequence[Shard]) -> Any:
    # Here, not above: Grain takes a second to import, and JAX with it.
    from grain.sources import ArrayRecordDataSource

    # Each file stays open.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < len(shards) + 256:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = shards[0].path.parent if shards else ""
    with damage(f"the files in {folder} cannot be read"):
        source = ArrayRecordDataSource([str(shard.path) for shard in shards])
        count = sum(shard.count for shard in shards)
        if len(source) != count:
            raise ValueError(f"they have {len(source):,} records, not {count:,}")
        return source


def _array_records(path: Path) -> Sequence[bytes]:
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(str(path), "")
    try:
        records: Sequence[bytes] = reader.read_all()
        return records
    finally:
        reader.close()


def _tfrecords(path: Path, count: int) -> Sequence[bytes]:
    """TFRecord: length (8 bytes), its checksum (4), the record, its checksum (4).

    Source: tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
    """
    records: list[bytes] = []
    remaining = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(_HEADER):
            if len(header) < _HEADER or len(records) == count:
                raise ValueError(f"it does not end after record {len(records)}")
            length = _length(header, len(records))
            remaining -= 16 + length
            if remaining < 0:
                raise ValueError(f"the length of record {len(records)} is damaged")
            records.append(_content(file, length, len(records)))
    return records


def _record_starts(shard: Shard) -> npt.NDArray[np.int64]:
    """Where the records of a TFRecord file begin."""
    starts, at = np.empty(shard.count, np.int64), 0
    with shard.path.open("rb", buffering=0) as file:
        for number in range(shard.count):
            starts[number] = at
            file.seek(at)
            at += 16 + _length(file.read(_HEADER), number)
    if at != shard.path.stat().st_size:
        raise ValueError(f"it does not end after record {shard.count - 1}")
    return starts


def _length(header: bytes, number: int) -> int:
    """Bytes of the record behind a header. Raises ValueError where that is damaged."""
    if len(header) < _HEADER:
        raise ValueError(f"it ends before record {number}")
    length, checksum = struct.unpack("<QI", header)
    if _masked_crc(header[:8]) != checksum or length > _LARGEST_RECORD:
        raise ValueError(f"the length of record {number} is damaged")
    return int(length)


def _content(file: IO[bytes], length: int, number: int) -> bytes:
    """The record at which the file stands behind the header. Raises ValueError: it is damaged."""
    record, checksum = file.read(length), file.read(4)
    if struct.pack("<I", _masked_crc(record)) != checksum:
        raise ValueError(f"record {number} is damaged")
    return record


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and shifted so that the checksum of a checksum is no special number."""
    import google_crc32c

    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
