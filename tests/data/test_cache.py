"""The cache of decoded images: right, atomic, and never in the way."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from physjax.data.cache import cached
from physjax.data.types import Split, fingerprint
from physjax.runtime import cache_root


def pair(seed: int) -> tuple[Split, Split]:
    rng = np.random.default_rng(seed)
    splits = [
        Split(
            rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
            rng.integers(0, 10, n, dtype=np.int32),
        )
        for n in (30, 10)
    ]
    return splits[0], splits[1]


class Decoder:
    """Stands for the slow reading, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> tuple[Split, Split]:
        self.calls += 1
        return pair(self.calls)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "tfds" / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    (folder / "records").write_bytes(b"12345")
    return folder


def assert_same(found: tuple[Split, Split], expected: tuple[Split, Split]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert (one.images.dtype, one.labels.dtype) == (np.uint8, np.int32)


def test_second_reading_comes_from_the_cache(source: Path, tmp_path: Path) -> None:
    decode = Decoder()
    for _ in range(2):
        found, mark = cached(source, (30, 10), str(tmp_path / "cache"), decode)
        assert_same(found, pair(1))
        assert mark == fingerprint(*pair(1))
    assert decode.calls == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("change", ["size", "mtime", "new file"])
def test_a_changed_source_is_decoded_again(source: Path, tmp_path: Path, change: str) -> None:
    decode = Decoder()
    cached(source, (30, 10), str(tmp_path / "cache"), decode)
    records = source / "records"
    status = records.stat()
    if change == "size":
        records.write_bytes(b"123456")
        os.utime(records, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "mtime":
        os.utime(records, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    else:
        (source / "more").touch()
    found, _ = cached(source, (30, 10), str(tmp_path / "cache"), decode)
    assert_same(found, pair(2))
    assert len(list((tmp_path / "cache").iterdir())) == 1, "the stale file is replaced"


def test_two_folders_do_not_share_a_file(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "cifar10" / "3.0.2"
    other.mkdir(parents=True)
    decode = Decoder()
    for folder in (source, other, source, other):
        cached(folder, (30, 10), str(tmp_path / "cache"), decode)
    assert decode.calls == 2


@pytest.mark.parametrize(
    "damage",
    [
        *("pixel", "label", "truncated", "longer", "empty", "text", "other header"),
    ],
)
def test_a_damaged_cache_is_made_anew(source: Path, tmp_path: Path, damage: str) -> None:
    decode = Decoder()
    cached(source, (30, 10), str(tmp_path / "cache"), decode)
    (path,) = (tmp_path / "cache").iterdir()
    data = path.read_bytes()
    body = data.partition(b"\n")[2]
    pixel = bytearray(data)
    pixel[len(data) // 2] ^= 1
    content = {
        "pixel": bytes(pixel),
        "label": data[:-1] + bytes([data[-1] ^ 1]),
        "truncated": data[:-1000],
        "longer": data + bytes(3076),
        "empty": b"",
        "text": b"hello",
        "other header": b"{}\n" + body,
    }
    path.write_bytes(content[damage])
    with pytest.warns(RuntimeWarning, match=f"{path} is damaged"):
        found, _ = cached(source, (30, 10), str(tmp_path / "cache"), decode)
    assert_same(found, pair(2))
    assert_same(cached(source, (30, 10), str(tmp_path / "cache"), decode)[0], pair(2))
    assert decode.calls == 2


@pytest.mark.parametrize("counts", [(10, 30), (20, 10), (30, 11)])
def test_other_numbers_of_images_are_decoded_again(
    source: Path, tmp_path: Path, counts: tuple[int, int]
) -> None:
    """Also those that share the bytes out otherwise: the fingerprint is that of one stream."""
    decode = Decoder()
    cached(source, (30, 10), str(tmp_path / "cache"), decode)
    cached(source, counts, str(tmp_path / "cache"), decode)
    assert decode.calls == 2


def test_a_cache_that_cannot_be_written_only_warns(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="cannot be cached in .*file/cache"):
        found, mark = cached(source, (30, 10), str(tmp_path / "file" / "cache"), Decoder())
    assert_same(found, pair(1))
    assert mark == fingerprint(*pair(1))


def test_a_full_disk_leaves_no_file(source: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.warns(RuntimeWarning, match="cannot be cached in .*File too large"):
            found, _ = cached(source, (30, 10), str(tmp_path / "cache"), Decoder())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_same(found, pair(1))
    assert list((tmp_path / "cache").iterdir()) == []


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSJAX_CACHE", "/of/environment")
    assert cache_root("/asked/for") == Path("/asked/for")
    assert cache_root(None) == Path("/of/environment")
    monkeypatch.delenv("PHYSJAX_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_root(None) == Path("/home/someone/.cache/physjax")


def test_fingerprint_sees_pixels_labels_order_and_split() -> None:
    train, test = pair(0)
    marks = {fingerprint(train, test), fingerprint(test, train)}
    pixel, labels = train.images.copy(), train.labels.copy()
    pixel[3, 4, 5, 1] ^= 1
    labels[2] += 1
    marks.add(fingerprint(Split(pixel, train.labels), test))
    marks.add(fingerprint(Split(train.images, labels), test))
    marks.add(fingerprint(Split(train.images[::-1], train.labels[::-1]), test))
    assert len(marks) == 5
    assert fingerprint(train, test) == fingerprint(*pair(0))
