"""Archives that claim more than they hold, or hold what nobody asked for."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from helpers import published
from helpers.hostile import parts, refused
from physjax.data.archives import read_archives
from physjax.data.raw import unpacked_limit
from physjax.data.svhn import read_arrays


def test_a_tar_bomb_is_not_unpacked(tmp_path: Path) -> None:
    spec = published.small("cifar10")
    path = tmp_path / "bomb.tar.gz"
    published.write_tar(path, {"zeros": bytes(4 * unpacked_limit(spec))})
    assert path.stat().st_size < 40_000
    refused(spec, [path], "unpacks to more than .* bytes")
    published.write_tar(path, {"cifar-10-batches-bin/test_batch.bin": bytes(unpacked_limit(spec))})
    refused(spec, [path], "unpacks to more than .* bytes")
    published.write_tar(path, {f"empty {i}": b"" for i in range(1001)})
    refused(spec, [path], "more than 1000 files")


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "device", "fifo", "folder"])
def test_only_plain_files_are_read_from_a_tar(kind: str, tmp_path: Path) -> None:
    spec = published.small("cifar10")
    path = tmp_path / "odd.tar.gz"
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(3073))
    member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    member.linkname = str(secret)
    member.type = {
        "symbolic link": tarfile.SYMTYPE,
        "hard link": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
        "fifo": tarfile.FIFOTYPE,
        "folder": tarfile.DIRTYPE,
    }[kind]
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member)
    refused(spec, [path], "test_batch.bin is not a plain file")


def test_odd_members_of_other_names_are_ignored(tmp_path: Path) -> None:
    spec = published.small("cifar10")
    (path,) = published.write(spec, tmp_path, *parts(spec))
    expected, _ = read_archives(spec, [path], unverified=True)
    members = gzip.decompress(path.read_bytes())
    link = tarfile.TarInfo("../../etc/passwd")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path.write_bytes(link.tobuf() + members)  # a plain tar file, too
    found, _ = read_archives(spec, [path], unverified=True)
    np.testing.assert_array_equal(found.train.images, expected.train.images)


def test_a_member_given_twice_is_refused(tmp_path: Path) -> None:
    spec = published.small("cifar10")
    path = tmp_path / "twice.tar"
    member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    with tarfile.open(path, "w") as tar:
        tar.addfile(member)
        tar.addfile(member)
    refused(spec, [path], "holds cifar-10-batches-bin/test_batch.bin twice")


@pytest.mark.parametrize(
    "shape", [(1 << 16,) * 4, (1 << 31, 1 << 31, 4), (2**32 - 1,) * 3, (0, 28, 28), ()]
)
def test_an_idx_header_that_lies_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    """The product of the first is 2^64, which is 0 in 64 bits."""
    spec = published.small("mnist")
    paths = published.write(spec, tmp_path, *parts(spec))
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    paths[0].write_bytes(gzip.compress(header))
    message = "but its header|0 images" if 0 in shape else f"{paths[0]} has {len(header)} bytes"
    refused(spec, paths, message)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    spec = published.small("mnist")
    paths = published.write(spec, tmp_path, *parts(spec))
    paths[0].write_bytes(gzip.compress(bytes(8 * unpacked_limit(spec))))
    refused(spec, paths, f"{paths[0]} unpacks to more than")


def test_matlab_bombs_and_other_arrays_are_refused(tmp_path: Path) -> None:
    spec = published.small("svhn_cropped")
    train, test = published.write(spec, tmp_path, *parts(spec))
    whole = train.read_bytes()
    bomb = zlib.compress(bytes(8 * unpacked_limit(spec)))
    claim = zlib.compress(struct.pack("<II", 14, 2**32 - 8) + bytes(64))
    for element in (bomb, claim):
        train.write_bytes(whole[:128] + struct.pack("<II", 15, len(element)) + element)
        refused(spec, [train, test], f"{train} is not a whole MATLAB file")
    images, labels = parts(spec)[0]
    contents: list[tuple[dict[str, object], str]] = [
        ({"y": labels}, "holds no uint8 array X"),
        ({"X": images[:3], "y": labels}, "X is .3, 32, 32, 3., not .32, 32, 3, 60."),
        ({"X": np.zeros((2, 3)), "y": labels}, "holds no uint8 array X"),
        ({"X": np.ones((2, 3)) * 1j, "y": labels}, "holds no uint8 array X"),
        ({"X": {"a": 1}, "y": labels}, "holds no uint8 array X"),
        ({"X": images.transpose(1, 2, 3, 0), "y": labels[:, None] * 0}, "y goes from 0 to 0"),
    ]
    for content, message in contents:
        savemat(train, content, do_compression=True)
        refused(spec, [train, test], message)


@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_that_scipy_writes(compressed: bool, tmp_path: Path) -> None:
    """Beside others, of which some are so small that they lie inside their tags."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {
        "a": np.uint8([[1, 2, 3]]),
        "text": "some",
        "z": 2.5,
        "cell": {"b": 1},
    }
    content["pixels"] = rng.integers(0, 256, (5, 3, 2, 7), dtype=np.uint8)
    savemat(tmp_path / "x.mat", content, do_compression=compressed)
    data = (tmp_path / "x.mat").read_bytes()
    found = read_arrays(data, ("a", "pixels", "z", "text", "none"), 1 << 20)
    assert set(found) == {"a", "pixels"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, content[name])
    with pytest.raises(ValueError, match=r"unpacks to more than|ends"):
        read_arrays(data if compressed else data[:-4], ("a",), 100)
