"""Reading the folder of a known data set that TensorFlow Datasets prepared, without TensorFlow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from physjax.data.pixels import check_split, to_rgb
from physjax.data.raw import check_names
from physjax.data.shards import FORMATS, Shard, read_shard
from physjax.data.spec import DatasetSpec
from physjax.data.tfds_layout import data_folder, read_json, read_text, shards_of, versions
from physjax.data.types import DataError, Split


@dataclass(frozen=True)
class Layout:
    """What dataset_info.json says of a folder."""

    file_format: str
    train: tuple[Shard, ...]
    test: tuple[Shard, ...]


def find_prepared(spec: DatasetSpec, data_dir: str | None) -> Path | None:
    """The folder of the prepared data set, or None if nothing is prepared there.

    Raises:
      DataError: a version folder is there but empty, incomplete, of another version or format, or
        with another number of images than the data set has.
    """
    home = data_folder(data_dir) / spec.name
    folder = home / spec.version
    try:
        if folder.is_dir():
            read_layout(spec, folder)
            return folder
        names = [p.name for p in versions(home)]
    # ValueError: a zero in the name.
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder} cannot be read: {error}; --data-dir names another") from error
    if names:
        raise DataError(
            f"{home} holds version {', '.join(sorted(names))} of {spec.name}, but version "
            f"{spec.version} is needed: prepare it with physjax prepare --dataset "
            f"{spec.name} --data-dir {home.parent}"
        )
    return None


def read_layout(spec: DatasetSpec, folder: Path) -> Layout:
    """What a prepared folder says that it holds, checked against the table and the files there.

    Raises:
      DataError: names the file and what is wrong with it.
    """
    path = folder / "dataset_info.json"
    remedy = (
        f"move {folder} away and prepare it again with physjax prepare, or name another "
        "folder with --data-dir"
    )
    if not path.is_file():
        if not any(folder.iterdir()):
            raise DataError(f"{folder} is empty: delete it, or name another with --data-dir")
        raise DataError(f"{folder} is incomplete: it has no dataset_info.json; {remedy}")
    info = read_json(path, remedy)
    try:
        named = f"{info['name']}/{info['version']}"
        splits = {str(split["name"]): split for split in info["splits"]}
        file_format = str(info.get("fileFormat", "tfrecord"))
        if named != f"{spec.name}/{spec.version}":
            raise DataError(
                f"{path} says {named}, where {spec.name}/{spec.version} is expected; {remedy}"
            )
        if not {"train", "test"} <= set(splits):
            raise DataError(
                f"{path} names the splits {sorted(splits)}, not train and test; {remedy}"
            )
        if file_format not in FORMATS:
            raise DataError(
                f"{folder} is in the format {file_format}, of which nothing is wrong, but what can "
                f"be read is {' and '.join(FORMATS)}: prepare it with physjax prepare "
                "in another folder, and name that with --data-dir"
            )
        train, test = (
            shards_of(spec.name, folder, splits[name], file_format) for name in ("train", "test")
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read ({error!r}); {remedy}") from error
    for name, shards, count in (
        ("train", train, spec.train_examples),
        ("test", test, spec.test_examples),
    ):
        total = sum(shard.count for shard in shards)
        if total != count:
            raise DataError(
                f"{path} says {total:,} {name} images, but {spec.title} has {count:,}; {remedy}"
            )
        for shard in shards:
            if not shard.path.is_file():
                raise DataError(f"{shard.path} is missing; {remedy}")
    labels = folder / "label.labels.txt"
    if labels.is_file():
        names = read_text(labels, remedy).split("\n")
        check_names(spec, names[:-1] if names[-1] == "" else names, str(labels))
    return Layout(file_format, train, test)


def read_prepared(spec: DatasetSpec, folder: Path) -> tuple[Split, Split]:
    """Decode both splits of a prepared folder `.../<name>/<version>`.

    Returns:
      (train, test); images uint8 [N, 32, 32, 3], labels int32 [N], in the stored order.

    Raises:
      DataError: a record file is missing, damaged or does not hold what dataset_info.json says.
    """
    layout = read_layout(spec, folder)
    splits = []
    for name, shards in (("train", layout.train), ("test", layout.test)):
        parts = [_read_shard(spec, shard, layout.file_format, name) for shard in shards]
        split = Split(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )
        count = sum(shard.count for shard in shards)
        splits.append(check_split(split, count, spec.num_classes, f"the {name} images in {folder}"))
    return splits[0], splits[1]


def _read_shard(spec: DatasetSpec, shard: Shard, file_format: str, split: str) -> Split:
    # Here, not above: with a warm cache TFDS is not needed, and it is slow to import.
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        files: list[bytes] = []
        labels: list[int] = []
        for record in read_shard(shard.path, file_format, shard.count):
            features: Any = tf_example_pb2.Example.FromString(record).features.feature
            (image,) = features["image"].bytes_list.value
            (label,) = features["label"].int64_list.value
            if not 0 <= label < spec.num_classes:
                raise ValueError(f"a label is {label}, of {spec.num_classes} classes")
            files.append(image)
            labels.append(label)
        images = to_rgb(decode_pngs(files, spec.native_shape))
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # no permission, or a failing disk
            raise DataError(f"{shard.path} cannot be read: {error.strerror}") from error
        # Whatever else the readers raise (RuntimeError, DecodeError, ...) is a damaged file.
        raise DataError(
            f"the {split} images in {shard.path} cannot be read ({type(error).__name__}: {error}); "
            f"move {shard.path.parent} away and prepare it again with physjax prepare"
        ) from error
    return Split(images, np.asarray(labels, np.int32))


def decode_pngs(files: Sequence[bytes], shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Decode PNG files of one shape.

    Args:
      files: N whole PNG files.
      shape: (height, width, channels); channels 1 or 3.

    Returns:
      uint8 [N, height, width, channels].

    Raises:
      ValueError, OSError, SyntaxError: an image has another size, or is damaged.
    """
    # Not in threads: most of an image's 0.15 ms is Pillow's Python, which runs one at a time.
    images = np.empty((len(files), *shape), np.uint8)
    for index, data in enumerate(files):
        images[index] = _decode_png(data, shape)
    return images


def _decode_png(data: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    height, width, channels = shape
    # Not Image.open, which asks every plug-in whose file it is.
    with PngImageFile(io.BytesIO(data)) as image:
        # Before it is decoded: a small file may claim any size.
        if image.size != (width, height):
            raise ValueError(f"an image is {image.height}x{image.width}, not {height}x{width}")
        mode = "RGB" if channels == 3 else "L"
        pixels: Image.Image = image if image.mode == mode else image.convert(mode)
        return np.asarray(pixels).reshape(shape)
