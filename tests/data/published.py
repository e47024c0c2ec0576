"""Writes small files in the formats in which the data sets are published."""

from __future__ import annotations

import dataclasses
import gzip
import io
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

from physjax.data import DATASETS, DatasetSpec
from physjax.data.raw import file_sha256
from physjax.data.spec import Archive

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
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {"readme.html": b"<html>", **parts}.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return [path]


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
