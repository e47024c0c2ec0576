"""The record files of a folder that TensorFlow Datasets prepared, read without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

FORMATS = ("array_record", "tfrecord")
"""What can be read; TFDS writes tfrecord unless it is told otherwise."""

_LARGEST_RECORD = 1 << 24
"""Bytes; an image of 32x32 pixels has some 2,500."""


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
        while header := file.read(12):
            if len(header) < 12 or len(records) == count:
                raise ValueError(f"it does not end after record {len(records)}")
            length, checksum = struct.unpack("<QI", header)
            remaining -= 16 + length
            if _masked_crc(header[:8]) != checksum or remaining < 0 or length > _LARGEST_RECORD:
                raise ValueError(f"the length of record {len(records)} is damaged")
            record, checksum_bytes = file.read(length), file.read(4)
            if struct.pack("<I", _masked_crc(record)) != checksum_bytes:
                raise ValueError(f"record {len(records)} is damaged")
            records.append(record)
    return records


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and shifted so that the checksum of a checksum is no special number."""
    import google_crc32c

    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
