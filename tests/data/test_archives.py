"""Published files: what is the original, what is taken for it on demand only, what is not."""

from __future__ import annotations

import dataclasses
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from helpers import published
from helpers.hostile import parts, refused
from physjax.config import DataConfig
from physjax.data import DATASETS, DataError, cifar, load
from physjax.data.archives import read_archives
from physjax.data.preparing import prepare_spec

CIFARS = ["cifar10", "cifar100"]


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
