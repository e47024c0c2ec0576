"""Reading the published files of the data sets with NumPy, every byte accounted for."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from physjax.data.table import DatasetSpec
from physjax.data.types import DataError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RawSplit:
    """Images as published, [N, H, W, C], and their labels [N] by feature name."""

    images: Images
    labels: dict[str, Labels]


@dataclass(frozen=True)
class RawData:
    """Both splits, and class names by feature name where the files carry them."""

    train: RawSplit
    test: RawSplit
    names: dict[str, list[str]] = field(default_factory=dict)


def read_archives(spec: DatasetSpec, paths: Sequence[Path]) -> RawData:
    """Read the published files of a data set.

    Args:
      spec: the data set.
      paths: its files, or folders that hold them.

    Raises:
      DataError: a file is missing, truncated, damaged, or of another data set.
    """
    readers = {"cifar": _read_cifar, "idx": _read_idx, "svhn": _read_svhn}
    if spec.layout == "embedded":
        raise DataError(f"{spec.title} is embedded: there is nothing to prepare")
    data = readers[spec.layout](spec, _locate(spec, paths))
    for split, count in ((data.train, spec.train_examples), (data.test, spec.test_examples)):
        labels = split.labels["label"]
        if len(split.images) != count or len(labels) != count:
            raise DataError(
                f"{_listed(paths)}: {len(split.images)} images and {len(labels)} labels, where "
                f"{spec.title} has {count}"
            )
        if not 0 <= labels.min() <= labels.max() < spec.num_classes:
            raise DataError(
                f"{_listed(paths)}: labels from {labels.min()} to {labels.max()}, where "
                f"{spec.title} has {spec.num_classes} classes from 0"
            )
    return data


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _locate(spec: DatasetSpec, paths: Sequence[Path]) -> list[Path]:
    """The file of each archive in the table, in its order; unpacked .gz files count too."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"there is no archive {path}")
        files += sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    if len(spec.archives) == len(files) == 1:
        return files
    by_name = {file.name.removesuffix(".gz"): file for file in files}
    wanted = [archive.name.removesuffix(".gz") for archive in spec.archives]
    missing = [
        archive.name for archive in spec.archives if archive.name.removesuffix(".gz") not in by_name
    ]
    if missing:
        raise DataError(f"{_listed(paths)}: {spec.title} needs {', '.join(missing)} too")
    return [by_name[name] for name in wanted]


def _read_cifar(spec: DatasetSpec, files: list[Path]) -> RawData:
    """The binary version: a record is one label (CIFAR-100: coarse, fine), then 3x32x32 bytes."""
    if spec.name == "cifar10":
        folder, train, test = (
            "cifar-10-batches-bin",
            [f"data_batch_{i}.bin" for i in range(1, 6)],
            ["test_batch.bin"],
        )
        labels = {"label": "batches.meta.txt"}
    else:
        folder, train, test = "cifar-100-binary", ["train.bin"], ["test.bin"]
        labels = {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"}
    members = _untar(files[0], folder, [*train, *test, *labels.values()], spec)
    names = {key: members[name].decode().split() for key, name in labels.items()}
    if len(names["label"]) != spec.num_classes:
        raise DataError(
            f"{files[0]}: {labels['label']} names {len(names['label'])} classes, "
            f"not {spec.num_classes}"
        )
    keys = list(labels)

    def split(parts: list[str]) -> RawSplit:
        data = b"".join(members[part] for part in parts)
        record = len(keys) + 3072
        if len(data) % record:
            raise DataError(
                f"{files[0]}: {', '.join(parts)} hold {len(data)} bytes, no multiple of {record}"
            )
        table = np.frombuffer(data, np.uint8).reshape(-1, record)
        images = table[:, len(keys) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return RawSplit(images, {key: table[:, i].astype(np.int64) for i, key in enumerate(keys)})

    return RawData(split(train), split(test), names)


def _untar(path: Path, folder: str, names: Sequence[str], spec: DatasetSpec) -> dict[str, bytes]:
    """The named members of a tar file, which is read to its end so that truncation shows."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                parent, _, name = member.name.removeprefix("./").rpartition("/")
                if parent != folder or name not in names:
                    continue
                content = tar.extractfile(member)
                if content is not None:
                    found[name] = content.read()
            # What follows the last member holds the checksum of a compressed file.
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path} is not a whole tar file ({type(error).__name__}: {error}); the published "
            f"{spec.archives[0].name} has {spec.archives[0].size:,} bytes, this file "
            f"{path.stat().st_size:,}"
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(
            f"{path} is not {spec.archives[0].name}: it lacks {folder}/{', '.join(missing)}"
        )
    return found


def _read_idx(spec: DatasetSpec, files: list[Path]) -> RawData:
    """Four files of Y. LeCun's IDX format (yann.lecun.com/exdb/mnist)."""
    train_images, train_labels, test_images, test_labels = (_read_idx_file(file) for file in files)
    for file, images in ((files[0], train_images), (files[2], test_images)):
        if images.shape[1:] != spec.native_shape[:2]:
            raise DataError(f"{file} holds an array {images.shape}, not images of 28x28 pixels")
    for file, labels in ((files[1], train_labels), (files[3], test_labels)):
        if labels.ndim != 1:
            raise DataError(f"{file} holds an array {labels.shape}, not labels")
    return RawData(
        RawSplit(train_images[..., None], {"label": train_labels.astype(np.int64)}),
        RawSplit(test_images[..., None], {"label": test_labels.astype(np.int64)}),
    )


def _read_idx_file(path: Path) -> Images:
    """One IDX file of bytes, gzipped or not: 0, 0, type 8, dimensions, sizes, values."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} is not a whole gzip file ({error})") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DataError(f"{path} is not an IDX file of bytes: it starts with {data[:4].hex(' ')}")
    dimensions = data[3]
    header = 4 + 4 * dimensions
    shape = struct.unpack_from(f">{dimensions}I", data, 4) if len(data) >= header else ()
    expected = header + int(np.prod(shape))
    if not shape or len(data) != expected:
        raise DataError(f"{path} has {len(data)} bytes, but its header {shape} means {expected}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _read_svhn(spec: DatasetSpec, files: list[Path]) -> RawData:
    """Two MATLAB files: X [32, 32, 3, N], y [N, 1] in 1..10, where 10 stands for the digit 0."""
    from scipy.io import loadmat

    def split(path: Path) -> RawSplit:
        try:
            content = loadmat(str(path), appendmat=False)
            images, labels = content["X"], content["y"]
        # SciPy raises whatever a damaged field leads to: TypeError, zlib.error, MatReadError, ...
        except Exception as error:
            raise DataError(
                f"{path} is not a whole MATLAB file of X and y ({type(error).__name__}: {error})"
            ) from error
        if images.ndim != 4 or images.shape[:3] != (32, 32, 3) or images.dtype != np.uint8:
            raise DataError(f"{path}: X is {images.dtype} {images.shape}, not uint8 (32, 32, 3, N)")
        digits = labels.reshape(-1).astype(np.int64)
        if digits.size and not 1 <= digits.min() <= digits.max() <= 10:
            raise DataError(f"{path}: y goes from {digits.min()} to {digits.max()}, not 1 to 10")
        return RawSplit(images.transpose(3, 0, 1, 2), {"label": digits % 10})

    return RawData(split(files[0]), split(files[1]))
