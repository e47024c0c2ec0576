"""From a config to images: what `auto` means, what is refused, what records are told."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from physjax.config import ConfigError, DataConfig
from physjax.data import DATASETS, DataError, Dataset, Split, load, loading, resolve
from physjax.data.tfds_folder import read_prepared

JPEG_COPY = "CIFAR-10 (JPEG-75 copy)"
JPEG_COPY_FINGERPRINT = "0da1a56e33c30845dc18e49ad82a1bcb58331a28dc5b6633e175c307c85f3e8b"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "unreachable_reason", lambda url: "the host is away")


@pytest.fixture
def untouched_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> str:
        raise AssertionError(f"asked {url}")

    monkeypatch.setattr(loading, "unreachable_reason", fail)


def assert_same(one: Dataset, other: Dataset) -> None:
    for name in ("train", "test"):
        left, right = getattr(one, name), getattr(other, name)
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(left.labels, right.labels)
    assert one.info == other.info


@pytest.mark.usefixtures("untouched_network")
@pytest.mark.parametrize("name", ["auto", "cifar10"])
def test_prepared_data_is_taken_without_asking_anybody(name: str, small_cifar10: Path) -> None:
    config = DataConfig(name, data_dir=str(small_cifar10))
    assert resolve(config) == "cifar10"
    dataset = load(config)
    folder = small_cifar10 / "cifar10" / "3.0.2"
    by_hand = read_prepared(DATASETS["cifar10"], folder)
    np.testing.assert_array_equal(dataset.train.images, by_hand[0].images)
    info = dataset.info
    assert (info.name, info.title, info.notice) == ("cifar10", "CIFAR-10", "")
    assert (info.source, info.version) == (str(folder.resolve()), "3.0.2")
    assert info.class_names == DATASETS["cifar10"].class_names
    assert (info.mean, info.std) == (DATASETS["cifar10"].mean, DATASETS["cifar10"].std)
    assert len(info.fingerprint) == 64
    assert dataset.validation is None
    assert_same(load(config), dataset)


@pytest.mark.usefixtures("untouched_network")
def test_environment_names_the_folder(small_cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(small_cifar10))
    assert_same(load(DataConfig()), load(DataConfig("cifar10", str(small_cifar10))))


@pytest.mark.usefixtures("offline")
def test_auto_falls_back_to_digits_and_says_so(tmp_path: Path) -> None:
    config = DataConfig(data_dir=str(tmp_path))
    assert resolve(config) == "digits"
    info = load(config).info
    assert info.name == "digits"
    assert info.title == "scikit-learn digits (CIFAR-10 not at hand)"
    assert "CIFAR-10 IS NOT AT HAND" in info.notice
    assert "the host is away" in info.notice
    assert str(tmp_path) in info.notice
    assert "\n" not in info.notice


@pytest.mark.usefixtures("untouched_network")
def test_digits_asked_for_are_no_stand_in() -> None:
    info = load(DataConfig("digits")).info
    assert (info.title, info.notice) == ("scikit-learn digits", "")
    assert info.num_classes == 10
    assert not info.mirror


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn_cropped", "mnist"])
def test_an_explicit_name_never_falls_back(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(DataConfig(name, data_dir=str(tmp_path)))
    message = str(caught.value)
    assert f"not prepared in {tmp_path}" in message
    assert "the host is away" in message
    assert "--data-dir" in message
    assert f"physjax prepare --dataset {name} --data-dir {tmp_path} --archive" in message
    assert all(archive.name in message for archive in DATASETS[name].archives)
    assert "--dataset digits" in message
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_answers_is_downloaded_from(
    tmp_path: Path, small_cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` prepares where it can; if that fails after all, it takes the digits."""
    monkeypatch.setattr(loading, "unreachable_reason", lambda url: None)
    prepared = small_cifar10 / "cifar10" / "3.0.2"
    monkeypatch.setattr(loading, "prepare", lambda name, data_dir: prepared)
    config = DataConfig(data_dir=str(tmp_path))
    assert resolve(config) == "cifar10"
    assert load(config).info.source == str(prepared.resolve())

    def fail(name: str, data_dir: str | None) -> Path:
        raise DataError("the line broke")

    monkeypatch.setattr(loading, "prepare", fail)
    assert "the line broke" in load(config).info.notice
    with pytest.raises(DataError, match="the line broke"):
        load(DataConfig("cifar10", data_dir=str(tmp_path)))


@pytest.mark.usefixtures("untouched_network")
@pytest.mark.parametrize("name", ["auto", "cifar10"])
def test_broken_data_is_an_error_and_no_reason_to_fall_back(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    for call in (resolve, load) if name == "auto" else (load,):
        with pytest.raises(DataError, match=f"{folder} is empty"):
            call(DataConfig(name, data_dir=str(tmp_path)))


def test_an_embedded_entry_loads_its_own_images(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def images(count: int) -> Split:
        pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return Split(pixels, np.arange(count, dtype=np.int32) % 10)

    train, test = images(50), images(20)
    mine = dataclasses.replace(
        DATASETS["digits"],
        name="mine",
        title="Mine",
        train_examples=50,
        test_examples=20,
        load=lambda: (train, test),
    )
    monkeypatch.setitem(DATASETS, "mine", mine)
    found = load(DataConfig("mine"))
    np.testing.assert_array_equal(found.train.images, train.images)
    np.testing.assert_array_equal(found.test.labels, test.labels)
    assert (found.info.name, found.info.title, found.info.notice) == ("mine", "Mine", "")
    monkeypatch.setitem(DATASETS, "mine", dataclasses.replace(mine, test_examples=21))
    with pytest.raises(DataError, match=r"test images of Mine are uint8 \[20, .* not uint8 \[21,"):
        load(DataConfig("mine"))
    with pytest.raises(ValueError, match="digits: an embedded data set has a load function"):
        dataclasses.replace(DATASETS["digits"], load=None)


def test_a_built_in_data_set_keeps_its_name() -> None:
    other = dataclasses.replace(DATASETS["digits"], title="Mine")
    with pytest.raises(ConfigError, match="there is a data set 'digits' already"):
        DATASETS.add(other, replace=True)


def test_unknown_names_are_refused() -> None:
    for call in (resolve, load):
        with pytest.raises(DataError, match=r"no data set 'cifar'; there are cifar10,.*; or auto"):
            call(DataConfig("cifar"))


def test_subsets_come_from_what_is_not_held_out() -> None:
    dataset = load(DataConfig("digits", train_examples=200, holdout=0.25))
    assert dataset.validation is not None
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [20] * 10)
    held_out = {image.tobytes() for image in dataset.validation.images}
    assert not held_out & {image.tobytes() for image in dataset.train.images}
    whole = load(DataConfig("digits"))
    assert len(dataset.validation) == math.ceil(0.25 * len(whole.train))
    assert dataset.info == whole.info, "the fingerprint is that of the whole data set"
    full_holdout = load(DataConfig("digits", holdout=0.25)).validation
    assert full_holdout is not None
    np.testing.assert_array_equal(full_holdout.images, dataset.validation.images)


def test_the_shared_copy_is_named_and_decoded_once(
    warm_cifar10: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(warm_cifar10)
    if first.info.fingerprint != JPEG_COPY_FINGERPRINT:
        pytest.skip("the folder holds another CIFAR-10 than the JPEG-75 copy")
    assert first.info.title == JPEG_COPY
    monkeypatch.setattr(loading, "read_prepared", None)
    assert_same(load(warm_cifar10), first)


def test_table_is_consistent() -> None:
    for name, spec in DATASETS.items():
        assert spec.name == name
        if spec.layout == "own":
            assert spec.class_names == ()
            continue
        assert len(set(spec.class_names)) == spec.num_classes == (100 if name == "cifar100" else 10)
        assert spec.mirror == (name in ("cifar10", "cifar100", "fashion_mnist"))
        assert all(len(archive.sha256) == 64 for archive in spec.archives)
        assert bool(spec.archives) == (name != "digits")


def test_neither_jax_nor_tensorflow_nor_tfds_is_imported(small_cifar10: Path) -> None:
    """The sources need no JAX; TensorFlow is never needed, TFDS only before the cache is there."""
    code = """if True:
        import sys
        from physjax.config import DataConfig
        from dataclasses import replace
        from physjax.data import DATASETS, load
        few = {"train_examples": 60, "test_examples": 20}
        DATASETS["cifar10"] = replace(DATASETS["cifar10"], **few)
        config = DataConfig("cifar10", sys.argv[1], sys.argv[2])
        load(config)
        print(sorted({"jax", "tensorflow", "tensorflow_datasets"} & set(sys.modules)))
    """
    command = [sys.executable, "-c", code, str(small_cifar10), str(small_cifar10 / "cache")]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == ["['tensorflow_datasets']", "[]"]
