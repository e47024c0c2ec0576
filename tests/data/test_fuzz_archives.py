"""Damaged and hostile files where images are read from published files: a message, or sound images.

Seeded; `examples` says how many inputs each test tries. Whatever is read is either refused with a
DataError or holds what the data set has; where checksums protect it, exactly what was written.
Nothing else is raised, and no memory is taken for what a file merely claims to hold.
"""

from __future__ import annotations

import functools
import gzip
import io
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import published
from helpers.fuzzing import CHANGES, Change, bounded, damage, examples
from physjax.data import DataError, DatasetSpec
from physjax.data.archives import read_archives
from physjax.data.raw import unpacked_limit


def check_archives(spec: DatasetSpec, paths: list[Path]) -> None:
    with bounded(8 * unpacked_limit(spec)):
        try:
            data, _ = read_archives(spec, paths, unverified=True)
        except DataError:
            return
    for split, count in ((data.train, spec.train_examples), (data.test, spec.test_examples)):
        assert split.images.shape == (count, *spec.native_shape)
        assert split.images.dtype == np.uint8
        labels = split.labels["label"]
        assert labels.shape == (count,)
        assert 0 <= labels.min() <= labels.max() < spec.num_classes


@dataclass
class Files:
    """Published files that each input starts from."""

    spec: DatasetSpec
    paths: list[Path]
    contents: list[bytes]

    def restore(self) -> None:
        for path, content in zip(self.paths, self.contents, strict=True):
            path.write_bytes(content)


@functools.cache
def archives(name: str, folder: Path, python: bool = False) -> Files:
    spec = published.small(name)
    write = published.write_python if python else published.write
    train, test = (published.examples(spec, n, s) for s, n in ((0, 60), (1, 20)))
    paths = write(spec, folder, train, test)
    return Files(spec, paths, [path.read_bytes() for path in paths])


@pytest.mark.parametrize("name", ["cifar10", "cifar100 python", "mnist", "svhn_cropped"])
@examples(40)
@given(changes=CHANGES)
def test_packed_files(
    name: str, changes: list[Change], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Damage to the compressed file, which checksums mostly find."""
    plain, _, python = name.partition(" ")
    files = archives(plain, tmp_path_factory.getbasetemp() / f"fuzz-{name}", bool(python))
    files.paths[0].write_bytes(damage(files.contents[0], changes))
    check_archives(files.spec, files.paths)


@pytest.mark.parametrize("which", [0, 1])
@examples(60)
@given(changes=CHANGES)
def test_idx_files(
    which: int, changes: list[Change], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Damage below the compression, which no checksum sees: headers that lie."""
    files = archives("mnist", tmp_path_factory.getbasetemp() / "fuzz-idx")
    files.restore()
    content = damage(gzip.decompress(files.contents[which]), changes)
    files.paths[which].write_bytes(gzip.compress(content, 1))
    check_archives(files.spec, files.paths)


@examples(80)
@given(changes=CHANGES)
def test_tar_members(changes: list[Change], tmp_path_factory: pytest.TempPathFactory) -> None:
    files = archives("cifar10", tmp_path_factory.getbasetemp() / "fuzz-tar")
    files.paths[0].write_bytes(damage(gzip.decompress(files.contents[0]), changes))
    check_archives(files.spec, files.paths)


@examples(80)
@given(changes=CHANGES, name=st.sampled_from(["test_batch", "batches.meta"]))
def test_pickles(
    changes: list[Change], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = archives("cifar10", tmp_path_factory.getbasetemp() / "fuzz-pickle", True)
    members = {}
    with tarfile.open(fileobj=io.BytesIO(files.contents[0])) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            members[member.name] = content.read()
    members["cifar-10-batches-py/" + name] = damage(members["cifar-10-batches-py/" + name], changes)
    published.write_tar(files.paths[0], members)
    check_archives(files.spec, files.paths)


@examples(80)
@given(changes=CHANGES)
def test_matlab_arrays(changes: list[Change], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Damage below the compression of each array."""
    files = archives("svhn_cropped", tmp_path_factory.getbasetemp() / "fuzz-mat")
    data = files.contents[1]
    parts, offset = [data[:128]], 128
    while offset < len(data):
        kind, size = struct.unpack_from("<II", data, offset)
        content = damage(zlib.decompress(data[offset + 8 : offset + 8 + size]), changes)
        packed = zlib.compress(content, 1)
        parts.append(struct.pack("<II", kind, len(packed)) + packed)
        offset += 8 + size
    files.paths[1].write_bytes(b"".join(parts))
    check_archives(files.spec, files.paths)
