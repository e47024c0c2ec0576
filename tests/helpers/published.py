"""Writes small files in the formats in which the data sets are published."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.io import savemat

from physjax.data import DATASETS, DatasetSpec
from physjax.data.spec import Archive
from physjax.files import file_sha256

TRAIN, TEST = 60, 20
COARSE_NAMES = [f"group_{i}" for i in range(20)]


def small(name: str) -> DatasetSpec:
    """The entry of the table, with few examples."""
    return dataclasses.replace(DATASETS[name], train_examples=TRAIN, test_examples=TEST)


def publish(spec: DatasetSpec, paths: Sequence[Path]) -> DatasetSpec:
    """The entry, as if these files were what its publisher offers."""
    by_name = {path.name: path for path in paths}

    def measured(archive: Archive) -> Archive:
        path = by_name.get(archive.name)
        if path is None:
            return archive
        return dataclasses.replace(archive, size=path.stat().st_size, sha256=file_sha256(path))

    return dataclasses.replace(
        spec,
        archives=tuple(map(measured, spec.archives)),
        alternatives=tuple(map(measured, spec.alternatives)),
    )


def examples(spec: DatasetSpec, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images [count, H, W, C] and labels that name every class in turn."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *spec.native_shape), dtype=np.uint8)
    return images, (np.arange(count) * 7 % spec.num_classes).astype(np.uint8)


def write(
    spec: DatasetSpec,
    folder: Path,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> list[Path]:
    """The published files of a data set, holding these images."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = {"cifar": _write_cifar, "idx": _write_idx, "svhn": _write_svhn}[spec.layout]
    return writer(spec, folder, train, test)


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 did, whose text they were."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, obj: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(obj)) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_bytes


def pickled(content: object) -> bytes:
    """As in the Python version of CIFAR: protocol 2, text as bytes, names of NumPy 1."""
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_python(
    spec: DatasetSpec,
    folder: Path,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> list[Path]:
    """The Python version of a CIFAR, holding these images."""

    def batch(images: np.ndarray, labels: np.ndarray) -> bytes:
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        numbers = [int(label) for label in labels]
        content: dict[bytes, object] = {b"batch_label": b"one", b"data": np.array(planes)}
        content[b"filenames"] = [b"a.png"] * len(images)
        if spec.name == "cifar100":
            content[b"fine_labels"] = numbers
            content[b"coarse_labels"] = [number // 5 for number in numbers]
        else:
            content[b"labels"] = numbers
        return pickled(content)

    names = [name.encode() for name in spec.class_names]
    if spec.name == "cifar10":
        top = "cifar-10-batches-py/"
        parts = {
            f"data_batch_{i + 1}": batch(*(np.array_split(part, 5)[i] for part in train))
            for i in range(5)
        }
        parts |= {"test_batch": batch(*test)}
        parts |= {"batches.meta": pickled({b"label_names": names, b"num_vis": 3072})}
    else:
        top = "cifar-100-python/"
        coarse = [name.encode() for name in COARSE_NAMES]
        parts = {"train": batch(*train), "test": batch(*test)}
        parts["meta"] = pickled({b"fine_label_names": names, b"coarse_label_names": coarse})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / spec.alternatives[0].name
    write_tar(path, {top + name: content for name, content in parts.items()})
    return [path]


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    """A gzipped tar file."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _write_cifar(spec, folder, train, test):  # type: ignore[no-untyped-def]
    def records(images: np.ndarray, labels: np.ndarray) -> bytes:
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        columns = [labels[:, None], planes]
        if spec.name == "cifar100":
            columns.insert(0, labels[:, None] // 5)
        return np.hstack(columns).astype(np.uint8).tobytes()

    if spec.name == "cifar10":
        top = "cifar-10-batches-bin/"
        parts = {
            f"data_batch_{i + 1}.bin": records(*(np.array_split(part, 5)[i] for part in train))
            for i in range(5)
        }
        parts |= {"test_batch.bin": records(*test)}
        parts |= {"batches.meta.txt": "\n".join([*spec.class_names, "", ""]).encode()}
    else:
        top = "cifar-100-binary/"
        parts = {"train.bin": records(*train), "test.bin": records(*test)}
        parts |= {"fine_label_names.txt": "\n".join([*spec.class_names, ""]).encode()}
        parts |= {"coarse_label_names.txt": "\n".join([*COARSE_NAMES, ""]).encode()}
    path = folder / spec.archives[0].name
    parts = {"readme.html": b"<html>", **parts}
    write_tar(path, {top + name: content for name, content in parts.items()})
    return [path]


def to_tfrecord(folder: Path, shards: int = 1) -> None:
    """Make a prepared folder one in TFDS's default format, as another library writes it."""
    from array_record.python.array_record_module import ArrayRecordReader
    from tensorboardX.record_writer import RecordWriter

    path = folder / "dataset_info.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    info["fileFormat"] = "tfrecord"
    for split in info["splits"]:
        (source,) = folder.glob(f"*-{split['name']}.array_record-*")
        reader = ArrayRecordReader(str(source), "")
        parts = np.array_split(np.arange(reader.num_records()), shards)
        split["shardLengths"] = [str(len(part)) for part in parts]
        stem = source.name.partition(".")[0]
        for index, part in enumerate(parts):
            name = f"{stem}.tfrecord-{index:05d}-of-{shards:05d}"
            writer = RecordWriter(str(folder / name))
            for record in reader.read(part.tolist()):
                writer.write(record)
            writer.close()
        reader.close()
        source.unlink()
    path.write_text(json.dumps(info), encoding="utf-8")


def _write_idx(spec, folder, train, test):  # type: ignore[no-untyped-def]
    paths = []
    for prefix, (images, labels) in (("train", train), ("t10k", test)):
        arrays = {"images-idx3": images[..., 0], "labels-idx1": labels}
        for suffix, array in arrays.items():
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            path = folder / f"{prefix}-{suffix}-ubyte.gz"
            path.write_bytes(gzip.compress(header + array.tobytes()))
            paths.append(path)
    return paths


def _write_svhn(spec, folder, train, test):  # type: ignore[no-untyped-def]
    paths = []
    for name, (images, labels) in (("train_32x32.mat", train), ("test_32x32.mat", test)):
        digits = np.where(labels == 0, 10, labels).astype(np.uint8)
        content = {"X": images.transpose(1, 2, 3, 0), "y": digits[:, None]}
        savemat(folder / name, content, do_compression=True)
        paths.append(folder / name)
    return paths


def published_files(
    name: str, folder: Path
) -> tuple[DatasetSpec, list[Path], tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """A small data set as published, as the table would describe it, and its images."""
    spec = small(name)
    train, test = examples(spec, TRAIN, 0), examples(spec, TEST, 1)
    archives = write(spec, folder, train, test)
    return publish(spec, archives), archives, train, test
