"""Preparing from published files: the result is TFDS's own data set, or nothing is left behind."""

from __future__ import annotations

import dataclasses
import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.core import hashing

from helpers import published
from physjax.config import DataConfig
from physjax.data import DataError, load, prepare
from physjax.data.archives import read_archives
from physjax.data.preparing import prepare_spec
from physjax.data.tfds_folder import read_prepared

NAMES = ["cifar10", "cifar100", "svhn_cropped", "mnist", "fashion_mnist"]


def by_content(images: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
    """Examples in an order of their own: TFDS shuffles when it writes."""
    return sorted(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


def to_rgb32(images: np.ndarray) -> np.ndarray:
    """By hand: two zero pixels on each side of 28x28, grey in all three channels."""
    if images.shape[1:] == (32, 32, 3):
        return images
    result = np.zeros((len(images), 32, 32, 3), np.uint8)
    result[:, 2:30, 2:30, :] = images
    return result


@pytest.mark.parametrize("name", NAMES)
def test_what_is_prepared_is_tfds_own_data_set(name: str, tmp_path: Path) -> None:
    spec, archives, train, test = published.published_files(name, tmp_path / "archives")
    home = tmp_path / "tfds"
    folder = prepare_spec(spec, str(home), archives)
    assert folder == home / name / spec.version
    assert [path.name for path in home.iterdir()] == [name]

    source = tfds.data_source(name, split="train", data_dir=home, download=False)
    builder = tfds.builder(name, data_dir=home)
    assert (builder.name, str(builder.version)) == (name, spec.version)
    assert builder.info.splits["train"].num_examples == published.TRAIN
    assert builder.info.splits["test"].num_examples == published.TEST
    stored = [(example["image"], example["label"]) for example in source]
    assert by_content(*map(np.array, zip(*stored, strict=True))) == by_content(*train)

    for split, (images, labels) in zip(read_prepared(spec, folder), (train, test), strict=True):
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        assert by_content(split.images, split.labels) == by_content(to_rgb32(images), labels)


def test_examples_stand_where_tfds_puts_them(tmp_path: Path) -> None:
    """TFDS sorts by a hash of the builder's keys, which are the numbers of the examples."""
    spec, archives, train, _ = published.published_files("mnist", tmp_path / "archives")
    folder = prepare_spec(spec, str(tmp_path / "tfds"), archives)
    hasher = hashing.Hasher("train")
    order = sorted(range(published.TRAIN), key=hasher.hash_key)
    np.testing.assert_array_equal(read_prepared(spec, folder)[0].images, to_rgb32(train[0])[order])


def test_cifar_features_beyond_image_and_label(tmp_path: Path) -> None:
    spec, archives, _, _ = published.published_files("cifar100", tmp_path / "archives")
    prepare_spec(spec, str(tmp_path / "tfds"), archives)
    source = tfds.data_source("cifar100", split="test", data_dir=tmp_path / "tfds", download=False)
    assert source.dataset_info.features["label"].names == list(spec.class_names)
    assert source.dataset_info.features["coarse_label"].names == published.COARSE_NAMES
    assert all(example["coarse_label"] == example["label"] // 5 for example in source)
    identities = {example["id"].decode() for example in source}
    assert identities == {f"test_{i:05d}" for i in range(published.TEST)}


@pytest.mark.parametrize("name", ["fashion_mnist", "svhn_cropped"])
def test_a_folder_of_files_does_and_so_do_unpacked_ones(name: str, tmp_path: Path) -> None:
    spec, archives, train, _ = published.published_files(name, tmp_path / "archives")
    for path in archives:
        if path.suffix == ".gz":
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    # Whether an unpacked .gz is the published one cannot be said.
    unpacked = name == "fashion_mnist"
    data, verified = read_archives(spec, [tmp_path / "archives"], unverified=unpacked)
    assert verified == (not unpacked)
    np.testing.assert_array_equal(data.train.images, train[0])
    np.testing.assert_array_equal(data.train.labels["label"], train[1])


def refused(
    spec: Any, archives: list[Path], home: Path, message: str, unverified: bool = True
) -> None:
    """The archive is refused with its path in the message, and nothing is left behind."""
    home.mkdir(exist_ok=True)
    with pytest.raises(DataError, match=message) as caught:
        prepare_spec(spec, str(home), archives, unverified)
    assert str(archives[0].parent) in str(caught.value)
    assert list(home.iterdir()) == []


@settings(derandomize=True, deadline=None, max_examples=12)
@given(fraction=st.floats(0, 0.999))
@pytest.mark.parametrize("name", ["cifar10", "mnist", "svhn_cropped"])
def test_a_truncated_archive_is_refused(
    name: str, fraction: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("truncated")
    spec, archives, _, _ = published.published_files(name, base / "archives")
    whole = archives[0].read_bytes()
    archives[0].write_bytes(whole[: int(len(whole) * fraction)])
    refused(spec, archives, base / "tfds", str(archives[0].name))


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_a_wrong_checksum_is_noticed(name: str, tmp_path: Path) -> None:
    """The last eight bytes of a gzip file are the CRC and the length of what it holds."""
    spec, archives, _, _ = published.published_files(name, tmp_path / "archives")
    data = bytearray(archives[0].read_bytes())
    data[-7] ^= 0xFF
    archives[0].write_bytes(data)
    refused(spec, archives, tmp_path / "tfds", "not a whole")


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("cifar10", "cifar100", "is not cifar-10-binary.tar.gz: it lacks cifar-10-batches-bin/"),
        ("cifar100", "cifar10", "is not cifar-100-binary.tar.gz"),
        ("mnist", "cifar10", "needs train-images-idx3-ubyte.gz"),
        ("svhn_cropped", "mnist", "needs train_32x32.mat"),
    ],
)
def test_the_archive_of_another_data_set_is_refused(
    name: str, other: str, message: str, tmp_path: Path
) -> None:
    _, archives, _, _ = published.published_files(other, tmp_path / "archives")
    refused(published.small(name), archives, tmp_path / "tfds", message)


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_examples_is_refused(name: str, tmp_path: Path) -> None:
    spec, archives, _, _ = published.published_files(name, tmp_path / "archives")
    more = dataclasses.replace(spec, test_examples=21)
    refused(
        more, archives, tmp_path / "tfds", r"20 images and 20 labels, where .* has 21|3, 20\), not"
    )


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    spec = published.small("mnist")
    images, labels = published.examples(spec, published.TRAIN, 0)
    labels[3] = 10
    test = published.examples(spec, published.TEST, 1)
    archives = published.write(spec, tmp_path / "archives", (images, labels), test)
    refused(spec, archives, tmp_path / "tfds", "labels from 0 to 10")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archives" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    path.write_text("<html>not found</html>")
    refused(published.small("cifar10"), [path], tmp_path / "tfds", "not a whole tar file")
    path.unlink()
    refused(published.small("cifar10"), [path], tmp_path / "tfds", "there is no archive")


def test_what_is_prepared_already_is_left_as_it_is(small_cifar10: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_cifar10.rglob("*")}
    folder = prepare("cifar10", str(small_cifar10), ["no such file"])
    assert folder == small_cifar10 / "cifar10" / "3.0.2"
    assert {path: path.stat().st_mtime_ns for path in small_cifar10.rglob("*")} == before


@pytest.mark.parametrize("name", ["digits", "imagenet"])
def test_what_cannot_be_prepared(name: str) -> None:
    with pytest.raises(DataError, match=f"'{name}' cannot be prepared; those that can: cifar10,"):
        prepare(name)


def test_command_line_reports_a_wrong_archive(tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"\x1f\x8b nonsense")
    script = Path(__file__).resolve().parents[2] / "experiments" / "prepare.py"
    command = [sys.executable, str(script), "--archive", str(archive), "--data-dir"]
    result = subprocess.run([*command, str(tmp_path / "tfds")], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {archive} is not the published cifar-10-binary.tar.gz")
    assert "11 bytes, not 170,052,171 or 170,498,071. With --unverified it is" in result.stderr
    command = [*command, str(tmp_path / "tfds"), "--unverified"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {archive} is not a whole tar file")
    assert list((tmp_path / "tfds").iterdir()) == []


@pytest.mark.slow
def test_fashion_mnist_for_real(tmp_path: Path) -> None:
    """From the original files, which the Debian package dataset-fashion-mnist installs."""
    files = Path("/usr/share/datasets/fashion-mnist")
    if not files.is_dir():
        pytest.skip(f"no {files}; apt-get install dataset-fashion-mnist brings it")
    # Debian has packed them anew.
    prepare("fashion_mnist", str(tmp_path / "tfds"), [files], unverified=True)
    config = DataConfig("fashion_mnist", str(tmp_path / "tfds"), str(tmp_path / "cache"))
    dataset = load(config)
    assert (dataset.info.title, dataset.info.notice) == ("Fashion-MNIST", "")
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [1000] * 10)
    pixels = dataset.train.images / 255
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), dataset.info.mean, atol=1e-4)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), dataset.info.std, atol=1e-4)
