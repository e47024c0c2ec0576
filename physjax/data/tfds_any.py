"""Any image-classification data set that TensorFlow Datasets prepared, by its name.

`beans`, or with a config `cifar10_corrupted/brightness_1`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax.config import DataConfig
from physjax.data.decoding import decode_all
from physjax.data.images import ImageError, decode_image
from physjax.data.lazy import LazyImages
from physjax.data.pixels import to_rgb
from physjax.data.shards import FORMATS, Records, Shard, damage, read_shard
from physjax.data.spec import DatasetSpec, Labels, OwnImages, own_spec
from physjax.data.split import split_off
from physjax.data.tfds_layout import find_version, read_json, read_text, shards_of
from physjax.data.types import DataError, Split

TEST_NAMES = ("test", "validation", "val")
TEST_FRACTION = 0.2
"""Of each class, where the data set has no test images."""


@dataclass(frozen=True)
class _Layout:
    """What the files in a folder say of an image-classification data set."""

    image: str
    """The feature's name."""
    label: str
    classes: tuple[str, ...]
    splits: dict[str, tuple[Shard, ...]]
    file_format: str


def tfds_spec(name: str, data_dir: str | None) -> DatasetSpec | None:
    """An entry for the data set of that name in the TFDS folder; None: there is none.

    Raises:
      DataError: as :func:`physjax.data.tfds_layout.find_version`.
    """
    there = find_version(name, data_dir) is not None
    return own_spec(name, name, partial(find_tfds, name)) if there else None


def find_tfds(name: str, config: DataConfig) -> OwnImages:
    """The prepared data set `name`, its newest version where it names none.

    Raises:
      DataError: it is damaged, or is none of images with one label each.
    """
    folder = find_version(name, config.data_dir)
    if folder is None:
        raise DataError(f"{name} has been removed meanwhile")
    layout = _layout(name, folder)
    train_name = _train_name(name, layout)
    test_name = next(
        (split for split in TEST_NAMES if split in layout.splits and split != train_name), ""
    )
    chosen: tuple[npt.NDArray[np.intp], ...] | None = None
    if not test_name:
        chosen = split_off(_labels(layout, train_name), TEST_FRACTION)
        counts = len(chosen[0]), len(chosen[1])
        lacks = "no test images" if train_name == "train" else f"the split {train_name} alone"
        remark = (
            f"{name} has {lacks}: {counts[1]} images, a fifth of each class, always the "
            "same ones, are the test set"
        )
    else:
        counts = _count(layout, train_name), _count(layout, test_name)
        remark = "" if test_name == "test" else f"the test images are the split {test_name}"

    def read(side: int) -> tuple[Split, Split]:
        train = _split(layout, train_name, side)
        if chosen is None:
            return train, _split(layout, test_name, side)
        stays, aside = (Split(train.images[part], train.labels[part]) for part in chosen)
        return stays, aside

    def lazy(side: int) -> tuple[LazyImages, LazyImages]:
        train = _lazy(layout, train_name, side)
        if chosen is None:
            return train, _lazy(layout, test_name, side)
        return train.take(chosen[0]), train.take(chosen[1])

    def labels() -> tuple[Labels, Labels]:
        train = _labels(layout, train_name)
        if chosen is None:
            return train, _labels(layout, test_name)
        return train[chosen[0]], train[chosen[1]]

    return OwnImages(
        title=name,
        class_names=layout.classes,
        source=folder,
        counts=counts,
        files=tuple(sorted(path for path in folder.iterdir() if path.is_file())),
        read=read,
        lazy=lazy,
        labels=labels,
        remark=remark,
        version=folder.name,
    )


@dataclass(frozen=True)
class TfdsSplit:
    """One split of a prepared data set, and no other; it is decoded when it is read."""

    classes: tuple[str, ...]
    examples: int
    read: Callable[[int], Split]
    """Decodes the images, each resized to that side in pixels."""


def tfds_test_split(name: str, folder: Path) -> TfdsSplit:
    """The split `test` of the prepared data set `name` in the folder of a version.

    Raises:
      DataError: it is damaged, has no such split, or is none of images with one label each.
    """
    layout = _layout(name, folder)
    if "test" not in layout.splits:
        raise DataError(f"{folder} has the splits {', '.join(layout.splits)}, and no test")
    return TfdsSplit(layout.classes, _count(layout, "test"), partial(_split, layout, "test"))


def _train_name(name: str, layout: _Layout) -> str:
    """The split to train on: `train`, or the only one there is."""
    if "train" in layout.splits:
        return "train"
    if len(layout.splits) > 1:
        raise DataError(f"{name} has the splits {', '.join(layout.splits)}, and no train")
    return next(iter(layout.splits))


def _layout(name: str, folder: Path) -> _Layout:
    remedy = "prepare it again, or name another folder with --data-dir"
    info = read_json(folder / "dataset_info.json", remedy)
    try:
        features = read_json(folder / "features.json", remedy)["featuresDict"]["features"]
        images = [key for key, value in features.items() if "image" in value]
        labels = [key for key, value in features.items() if "classLabel" in value]
        pair = info.get("supervisedKeys", {}).get("tuple", {}).get("items", [])
        keys = [item["featureKey"] for item in pair]
        image = next((key for key in keys if key in images), images[0] if images else "")
        label = next((key for key in keys if key in labels), labels[0] if labels else "")
        if not image or not label:
            raise DataError(
                f"{name} in {folder} has the features {', '.join(features)}, and not an image and "
                "a class label: it is no data set of image classification"
            )
        count = int(features[label]["classLabel"]["numClasses"])
        file_format = str(info.get("fileFormat", "tfrecord"))
        if file_format not in FORMATS:
            raise DataError(f"{folder} is in the format {file_format}; {remedy}")
        splits = {
            str(split["name"]): shards_of(name.partition("/")[0], folder, split, file_format)
            for split in info["splits"]
        }
        if not splits:
            raise DataError(f"{name} in {folder} has no images")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder} cannot be read ({error!r}); {remedy}") from error
    named = folder / f"{label}.labels.txt"
    lines = read_text(named, remedy).splitlines() if named.is_file() else map(str, range(count))
    return _Layout(image, label, tuple(lines), splits, file_format)


def _records(layout: _Layout, split: str) -> Iterator[tuple[str, bytes]]:
    """(name for messages, record) of every example of a split; in memory are those of one file."""
    for shard in layout.splits[split]:
        with damage(f"{shard.path} cannot be read"):
            records = read_shard(shard.path, layout.file_format, shard.count)
        for index, record in enumerate(records):
            yield f"record {index} of {shard.path}", record


def _features(name: str, record: bytes) -> Any:
    """What an example holds, by name."""
    # Here, not above: with a warm cache TFDS is not needed, and it is slow to import.
    from tensorflow_datasets.proto import tf_example_pb2

    with damage(f"{name} cannot be read"):
        return tf_example_pb2.Example.FromString(record).features.feature


def _labels(layout: _Layout, split: str) -> Labels:
    labels = []
    for name, record in _records(layout, split):
        values = _features(name, record)[layout.label].int64_list.value
        if len(values) != 1 or not 0 <= values[0] < len(layout.classes):
            count = len(layout.classes)
            raise DataError(f"{name} has the label {list(values)}, of {count} classes")
        labels.append(values[0])
    return np.asarray(labels, np.int32)


def _count(layout: _Layout, split: str) -> int:
    return sum(shard.count for shard in layout.splits[split])


def _decode(name: str, record: bytes, feature: str, side: int) -> npt.NDArray[np.uint8]:
    """The image in an example, uint8 [side, side, 3]."""
    features = _features(name, record)
    try:
        (content,) = features[feature].bytes_list.value
        pixels = decode_image(io.BytesIO(content), (side, side, 3))
    except (Exception, MemoryError) as error:
        raise ImageError(f"{name}: the image is damaged ({error})") from error
    return to_rgb(pixels[None], side)[0]


def _split(layout: _Layout, split: str, side: int) -> Split:
    jobs = [partial(_decode, *named, layout.image, side) for named in _records(layout, split)]
    return Split(decode_all(jobs, side), _labels(layout, split))


@dataclass(frozen=True)
class _RecordReader:
    records: Records
    feature: str
    side: int

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        record = self.records.read(index)
        return _decode(self.records.name(index), record, self.feature, self.side)


def _lazy(layout: _Layout, split: str, side: int) -> LazyImages:
    records = Records(layout.splits[split], layout.file_format)
    return LazyImages(_RecordReader(records, layout.image, side), side)
