"""Reading prepared folders: pixels against Pillow and TFDS, and every kind of damage."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from helpers import published
from physjax.config import DataConfig
from physjax.data import DATASETS, DataError, load
from physjax.data.preparing import encode_png
from physjax.data.shards import read_shard
from physjax.data.tfds_folder import decode_pngs, find_prepared, read_prepared
from physjax.data.tfds_layout import data_folder

CIFAR10 = DATASETS["cifar10"]


def test_uncommon_pngs_are_decoded_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 2, (4, 6), dtype=np.uint8) * 255
    files = []
    for mode in ("L", "1", "P", "RGB"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, format="png")
        files.append(buffer.getvalue())
    for decoded in decode_pngs(files, (4, 6, 3)):
        np.testing.assert_array_equal(decoded, np.repeat(pixels[..., None], 3, axis=-1))


def test_a_png_of_another_size_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="an image is 5x6, not 6x5"):
        decode_pngs([encode_png(noise)], (6, 5, 3))
    with pytest.raises(OSError, match="truncated"):
        decode_pngs([encode_png(noise)[:-60]], (5, 6, 3))


def test_reading_is_what_tfds_reads(small_cifar10: Path) -> None:
    splits = read_prepared(DATASETS["cifar10"], small_cifar10 / "cifar10" / "3.0.2")
    for name, split in zip(("train", "test"), splits, strict=True):
        source = tfds.data_source("cifar10", split=name, data_dir=small_cifar10, download=False)
        np.testing.assert_array_equal(split.images, [example["image"] for example in source])
        np.testing.assert_array_equal(split.labels, [example["label"] for example in source])


def test_the_shared_cifar10(warm_cifar10: DataConfig) -> None:
    """Some of it against TFDS, whose own decoding of everything would take longer."""
    dataset = load(warm_cifar10)
    train, test = dataset.train, dataset.test
    np.testing.assert_array_equal(np.bincount(train.labels), [5000] * 10)
    np.testing.assert_array_equal(np.bincount(test.labels), [1000] * 10)
    source = tfds.data_source(
        "cifar10", split="test", data_dir=warm_cifar10.data_dir, download=False
    )
    for index in (0, 1, 2499, 2500, 9999):
        np.testing.assert_array_equal(test.images[index], source[index]["image"])
        assert test.labels[index] == source[index]["label"]
    pixels = train.images[::10] / 255
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), CIFAR10.mean, atol=0.005)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), CIFAR10.std, atol=0.005)


def test_where_data_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert data_folder("/elsewhere") == Path("/elsewhere")
    assert data_folder(None) == tmp_path
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", "/home/someone")
    assert data_folder(None) == Path("/home/someone/tensorflow_datasets")


def test_nothing_prepared_is_no_error(tmp_path: Path) -> None:
    assert find_prepared(CIFAR10, str(tmp_path / "absent")) is None
    (tmp_path / "cifar10" / "3.0.2.incompleteABC").mkdir(parents=True)
    assert find_prepared(CIFAR10, str(tmp_path)) is None


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match=f"{folder} is empty: delete it, or name another"):
        find_prepared(CIFAR10, str(tmp_path))


def test_a_wrong_version_is_named(small_cifar10: Path) -> None:
    home = small_cifar10 / "cifar10"
    (home / "3.0.2").rename(home / "3.0.0")
    with pytest.raises(DataError, match=f"{home} holds version 3.0.0 .* version 3.0.2 is needed"):
        find_prepared(DATASETS["cifar10"], str(small_cifar10))
    (home / "3.0.0").rename(home / "3.0.2")
    info = home / "3.0.2" / "dataset_info.json"
    info.write_text(info.read_text().replace('"version": "3.0.2"', '"version": "2.0.0"'))
    with pytest.raises(DataError, match=r"says cifar10/2.0.0, where cifar10/3.0.2 is expected"):
        find_prepared(DATASETS["cifar10"], str(small_cifar10))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "cifar10"}'])
def test_unreadable_info_is_named(small_cifar10: Path, text: str) -> None:
    path = small_cifar10 / "cifar10" / "3.0.2" / "dataset_info.json"
    path.write_text(text)
    with pytest.raises(DataError, match=f"{path} cannot be read"):
        find_prepared(DATASETS["cifar10"], str(small_cifar10))


def test_missing_info_or_split_is_named(small_cifar10: Path) -> None:
    folder = small_cifar10 / "cifar10" / "3.0.2"
    path = folder / "dataset_info.json"
    content = json.loads(path.read_text())
    content["splits"] = content["splits"][:1]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"{path} names the splits"):
        find_prepared(DATASETS["cifar10"], str(small_cifar10))
    path.unlink()
    with pytest.raises(DataError, match=f"{folder} is incomplete: it has no dataset_info.json"):
        find_prepared(DATASETS["cifar10"], str(small_cifar10))


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_record_file_is_named(small_cifar10: Path, split: str, damage: str) -> None:
    folder = small_cifar10 / "cifar10" / "3.0.2"
    (path,) = folder.glob(f"cifar10-{split}.array_record-*")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[30_000] ^= 0xFF
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[: {"empty": 0, "truncate": len(data) // 2}.get(damage)])
    message = f"{path} is missing" if damage == "remove" else f"images in {path} cannot be read"
    with pytest.raises(DataError, match=message):
        read_prepared(DATASETS["cifar10"], folder)


def test_fewer_records_than_the_info_says(small_cifar10: Path) -> None:
    folder = small_cifar10 / "cifar10" / "3.0.2"
    (train,), (test,) = (folder.glob(f"cifar10-{split}.array*") for split in ("train", "test"))
    shutil.copy(test, train)
    with pytest.raises(DataError, match=f"{train} cannot be read .*has 20 records, not 60"):
        read_prepared(DATASETS["cifar10"], folder)


def test_labels_out_of_range_are_refused(small_cifar10: Path) -> None:
    folder = small_cifar10 / "cifar10" / "3.0.2"
    (folder / "label.labels.txt").unlink()
    nine = dataclasses.replace(published.small("cifar10"), class_names=CIFAR10.class_names[:9])
    with pytest.raises(DataError, match="a label is 9, of 9 classes"):
        read_prepared(nine, folder)


def edit(folder: Path, **changes: object) -> Path:
    """Change fields of dataset_info.json."""
    path = folder / "dataset_info.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def test_numbers_of_images_are_those_of_the_data_set(small_cifar10: Path) -> None:
    """60 + 20 sound images are no CIFAR-10, and what the table says is what must be there."""
    folder = small_cifar10 / "cifar10" / "3.0.2"
    message = f"{folder}/dataset_info.json says 60 train images, but CIFAR-10 has 50,000"
    for call in (find_prepared, read_prepared):
        with pytest.raises(DataError, match=message):
            call(CIFAR10, str(small_cifar10) if call is find_prepared else folder)  # type: ignore


def test_classes_in_another_order_are_refused(small_cifar10: Path) -> None:
    folder = small_cifar10 / "cifar10" / "3.0.2"
    path = folder / "label.labels.txt"
    names = path.read_text(encoding="utf-8").split()
    path.write_text("\n".join(names[::-1]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"{path} calls class 0 'truck', not 'airplane'"):
        find_prepared(DATASETS["cifar10"], str(small_cifar10))


@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_in_tfds_default_format_is_read(small_cifar10: Path, shards: int) -> None:
    config = DataConfig("cifar10", str(small_cifar10))
    expected = load(config)
    folder = small_cifar10 / "cifar10" / "3.0.2"
    published.to_tfrecord(folder, shards)
    assert len(list(folder.glob("*.tfrecord-*"))) == 2 * shards
    found = load(config)
    np.testing.assert_array_equal(found.train.images, expected.train.images)
    np.testing.assert_array_equal(found.test.labels, expected.test.labels)
    assert found.info == expected.info
    if shards == 1:  # which is also what is meant where nothing is said
        path = folder / "dataset_info.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["fileFormat"]
        path.write_text(json.dumps(content), encoding="utf-8")
        assert load(config).info == expected.info


def test_damage_anywhere_in_a_tfrecord_file_is_found(small_cifar10: Path, tmp_path: Path) -> None:
    folder = small_cifar10 / "cifar10" / "3.0.2"
    published.to_tfrecord(folder)
    (path,) = folder.glob("cifar10-test.tfrecord-*")
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    rng = np.random.default_rng(0)
    places = [*range(14), 12 + length, 16 + length, *rng.integers(0, len(whole), 50)]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"record \d+ is damaged"):
            read_shard(path, "tfrecord", 20)
    for data in (whole[:-1], whole[:-length], whole[:5], whole + whole[:5], whole + whole, b""):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"damaged|does not end|0 records"):
            read_shard(path, "tfrecord", 20)
    with pytest.raises(DataError, match=f"the test images in {path} cannot be read"):
        read_prepared(DATASETS["cifar10"], folder)


@pytest.mark.parametrize("file_format", ["parquet", "riegeli"])
def test_other_formats_are_named_and_not_condemned(small_cifar10: Path, file_format: str) -> None:
    edit(small_cifar10 / "cifar10" / "3.0.2", fileFormat=file_format)
    with pytest.raises(DataError, match=f"format {file_format}, of which nothing is wrong") as told:
        find_prepared(DATASETS["cifar10"], str(small_cifar10))
    assert "delete" not in str(told.value)
    assert "move" not in str(told.value)


@pytest.mark.parametrize("template", ["../{SPLIT}", "/etc/passwd", "a/b", "", "{SPLIT}\0"])
def test_files_outside_the_folder_are_not_read(small_cifar10: Path, template: str) -> None:
    folder = small_cifar10 / "cifar10" / "3.0.2"
    content = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    for split in content["splits"]:
        split["filepathTemplate"] = template
    path = edit(folder, splits=content["splits"])
    if template:
        with pytest.raises(DataError, match=f"{path} cannot be read .*names no file"):
            find_prepared(DATASETS["cifar10"], str(small_cifar10))
    else:  # what older versions of TFDS leave out
        assert find_prepared(DATASETS["cifar10"], str(small_cifar10)) == folder


def test_folders_that_cannot_be_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    for odd in ("x" * 5000, "/dev/null", "a\0b"):
        try:
            assert find_prepared(CIFAR10, odd) is None
        except DataError as error:
            assert "--data-dir" in str(error)  # noqa: PT017
    with pytest.raises(DataError, match="--data-dir"):
        find_prepared(CIFAR10, "~nobody-of-this-name/data")
