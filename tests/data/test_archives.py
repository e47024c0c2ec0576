"""Published files: what is the original, what is taken for it only on demand, what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import os
import pickle
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest
from scipy.io import savemat

from physjax.config import DataConfig
from physjax.data import DATASETS, DataError, DatasetSpec, cifar, load
from physjax.data.archives import read_archives
from physjax.data.pickles import read_pickle
from physjax.data.preparing import prepare_spec
from physjax.data.raw import unpacked_limit
from physjax.data.svhn import read_arrays

CIFARS = ["cifar10", "cifar100"]


def parts(spec: DatasetSpec) -> tuple[Any, Any]:
    return published.examples(spec, published.TRAIN, 0), published.examples(spec, published.TEST, 1)


def refused(spec: DatasetSpec, paths: list[Path], message: str, unverified: bool = True) -> None:
    """Refused with these words, before the memory that a lie asks for has been taken."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            read_archives(spec, paths, unverified)
        assert tracemalloc.get_traced_memory()[1] < 4 * unpacked_limit(spec)
    finally:
        tracemalloc.stop()


# --- the original, or something else -------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", "mnist", "svhn_cropped"])
@pytest.mark.parametrize("change", ["noise", "one byte more"])
def test_what_is_not_the_original_is_taken_on_demand_only(
    name: str, change: str, tmp_path: Path
) -> None:
    spec = published.small(name)
    train, test = parts(spec)
    paths = published.write(spec, tmp_path, train, test)
    spec = published.publish(spec, paths)
    assert read_archives(spec, paths)[1]
    if change == "noise":
        other = published.examples(spec, published.TRAIN, 2)
        published.write(spec, tmp_path, other, test)
        message = "is not the published "
    else:
        original = paths[0].stat().st_size
        with paths[0].open("ab") as file:
            file.write(b"\0")
        message = rf"is not the published .*: it has {original + 1:,} bytes, not .*{original:,}"
    with pytest.raises(DataError, match=f"{paths[0]} {message}") as caught:
        read_archives(spec, paths)
    assert "With --unverified it is taken all the same" in str(caught.value)
    if change == "noise":
        data, verified = read_archives(spec, paths, unverified=True)
        assert not verified
        np.testing.assert_array_equal(data.train.images, other[0])


def test_the_same_size_with_another_checksum_is_noticed(tmp_path: Path) -> None:
    spec = published.small("cifar10")
    paths = published.write(spec, tmp_path, *parts(spec))
    spec = published.publish(spec, paths)
    data = bytearray(paths[0].read_bytes())
    data[4] ^= 1  # the time in a gzip header, which no reader looks at
    paths[0].write_bytes(data)
    with pytest.raises(DataError, match=r"its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}"):
        read_archives(spec, paths)


def test_titles_say_whether_the_archive_was_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = published.small("cifar10")
    paths = published.write(spec, tmp_path, *parts(spec))
    genuine = published.publish(spec, paths)
    monkeypatch.setitem(DATASETS, "cifar10", genuine)
    folder = prepare_spec(genuine, str(tmp_path / "original"), paths)
    info = load(DataConfig("cifar10", str(tmp_path / "original"))).info
    assert (info.title, info.notice) == ("CIFAR-10", "")

    prepare_spec(spec, str(tmp_path / "other"), paths, unverified=True)
    other = load(DataConfig("cifar10", str(tmp_path / "other"))).info
    assert other.title == "CIFAR-10 (unverified copy)"
    assert "IS AN UNVERIFIED COPY" in other.notice
    assert str(tmp_path / "other" / "cifar10") in other.notice
    assert "\n" not in other.notice
    assert other.fingerprint == info.fingerprint

    # What the folder says counts for the images that it was said of, not for others.
    wrong = (folder / "physjax.json").read_text().replace(info.fingerprint[:8], "0" * 8)
    for content in (wrong, "", "[]", '{"verified": 1}', "\xff", "[" * 100_000):
        (folder / "physjax.json").write_text(content, encoding="latin-1")
        assert load(DataConfig("cifar10", str(tmp_path / "original"))).info.title == other.title


# --- CIFAR's Python version ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CIFARS)
def test_the_python_version_holds_the_same(name: str, tmp_path: Path) -> None:
    spec = published.small(name)
    binary = published.write(spec, tmp_path / "binary", *parts(spec))
    python = published.write_python(spec, tmp_path / "python", *parts(spec))
    spec = published.publish(spec, [*binary, *python])
    one, other = (read_archives(spec, paths) for paths in (binary, python))
    assert one[1]
    assert other[1]
    assert one[0].names == other[0].names
    for left, right in ((one[0].train, other[0].train), (one[0].test, other[0].test)):
        np.testing.assert_array_equal(left.images, right.images)
        assert left.images.dtype == right.images.dtype == np.uint8
        assert set(left.labels) == set(right.labels)
        for key, labels in left.labels.items():
            np.testing.assert_array_equal(labels, right.labels[key])


@pytest.mark.parametrize("name", CIFARS)
@pytest.mark.parametrize("version", ["binary", "python"])
def test_unpacked_folders_are_taken(
    name: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder itself and the one around it; those of the Python version have checksums."""
    spec = published.small(name)
    write = published.write if version == "binary" else published.write_python
    (archive,) = write(spec, tmp_path, *parts(spec))
    packed, _ = read_archives(spec, [archive], unverified=True)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    archive.unlink()
    (inner,) = (tmp_path / "unpacked").iterdir()
    for folder in (inner, tmp_path / "unpacked"):
        message = "are not those of|no checksums are published"
        with pytest.raises(DataError, match=f"{message}.*With --unverified"):
            read_archives(spec, [folder])
        data, verified = read_archives(spec, [folder], unverified=True)
        assert not verified
        np.testing.assert_array_equal(data.train.images, packed.train.images)
        np.testing.assert_array_equal(data.test.labels["label"], packed.test.labels["label"])
    if version == "python":
        form = cifar.FORMS[name][1]
        sums = {file: cifar.md5((inner / file).read_bytes()) for file in form.md5}
        assert set(sums) == set(form.files)
        ours = dataclasses.replace(form, md5=sums)
        monkeypatch.setitem(cifar.FORMS, name, (cifar.FORMS[name][0], ours))
        assert read_archives(spec, [inner])[1]


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.path}",)


def test_pickles_run_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    hostile = [pickle.dumps({b"data": Malicious(marker)}, protocol) for protocol in range(6)] + [
        b"cbuiltins\neval\n(S'open(%r, \"w\")'\ntR." % str(marker).encode(),
        b"(S'touch %s'\nios\nsystem\n." % str(marker).encode(),
        b"\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x01x\x85R.",
        # Attributes of an allowed name, and the extension registry.
        b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__reduce__\x93.",
        b"\x80\x02\x82\x01.",
    ]
    pickle.loads(hostile[0])
    assert marker.exists(), "the test's own weapon is loaded"
    marker.unlink()
    for data in hostile:
        with pytest.raises(DataError, match="x is not a batch of CIFAR"):
            read_pickle(data, "x")
        assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "not a dictionary"),
        ({3: 1}, "a key is a int"),
        ({b"data": np.zeros((2, 3072), np.float32)}, "not uint8"),
        ({b"data": np.array([None, {}], object)}, "not uint8"),
    ],
)
def test_pickles_of_something_else(content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pickle(published.pickled(content), "x")


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_in_either_order(order: str) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    content = {b"data": np.array(values, order=order)}  # type: ignore[call-overload]
    np.testing.assert_array_equal(read_pickle(published.pickled(content), "x")["data"], values)


def test_a_pickle_takes_no_memory_that_it_does_not_fill() -> None:
    hostile = [
        b"\x80\x02Nr\xf0\xff\xff\xff.",  # a memo of four billion values
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",  # a terabyte of bytes
        b"T" + struct.pack("<i", 2**31 - 1) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x04\x96" + struct.pack("<Q", 1 << 36) + b".",
    ]
    tracemalloc.start()
    for data in hostile:
        with pytest.raises(DataError):
            read_pickle(data, "x")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


# --- bombs and odd members -----------------------------------------------------------------------


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


def test_other_class_names_are_refused(tmp_path: Path) -> None:
    spec = published.small("cifar10")
    names = (*spec.class_names[1:], spec.class_names[0])
    other = dataclasses.replace(spec, class_names=names)
    (path,) = published.write(other, tmp_path, *parts(spec))
    refused(spec, [path], "calls class 0 'automobile', not 'airplane'")


def test_paths_that_hold_nothing_of_it(tmp_path: Path) -> None:
    spec = published.small("cifar10")
    refused(spec, [tmp_path], "needs cifar-10-binary.tar.gz or cifar-10-python.tar.gz")
    refused(spec, [Path("/dev/null")], "is neither a file nor a folder")
    refused(spec, [tmp_path / "none"], "there is no archive")
    os.mkfifo(tmp_path / "pipe")
    refused(spec, [tmp_path / "pipe"], "is neither a file nor a folder")
