"""How TensorFlow Datasets lays its folders out: `name/version`, or `name/config/version`.

Without TensorFlow, and without TFDS.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from physjax.data.shards import Shard
from physjax.data.types import DataError

LARGEST_INFO = 1 << 20
"""Bytes of a dataset_info.json; TFDS's have some thousands."""


def data_folder(data_dir: str | None) -> Path:
    """The TFDS folder asked for, else $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
      DataError: it starts with `~`, and there is no home.
    """
    path = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: {error} Name a folder with --data-dir") from error


def versions(home: Path) -> list[Path]:
    """The folders of versions in `home`, the newest last; not those that were never finished."""
    found = [p for p in home.glob("[0-9]*.[0-9]*.[0-9]*") if "incomplete" not in p.name]
    numbers = {p: [int(n) if n.isdigit() else -1 for n in p.name.split(".")] for p in found}
    return sorted(found, key=lambda p: numbers[p])


def find_version(name: str, data_dir: str | None) -> Path | None:
    """The folder of a prepared data set; None: there is nothing of that name.

    Args:
      name: `beans`, its newest version; `beans/0.1.0`; `cifar10_corrupted/blur_1`, a config, which
        a data set that has only one need not name; `cifar10_corrupted/blur_1/1.0.0`.
      data_dir: see :func:`data_folder`.

    Raises:
      DataError: it has no such config or version, or several configs and none is named; the
        message lists those there are.
    """
    first, *rest = name.split("/")
    home = data_folder(data_dir) / first
    try:
        groups = {"": _whole(home), **configs(home)}
    # ValueError: a zero in the name.
    except (OSError, ValueError) as error:
        raise DataError(f"{home} cannot be read: {error}; --data-dir names another") from error
    if not any(groups.values()):
        return None
    wanted = home.joinpath(*rest)
    if any(wanted in group for group in groups.values()):
        return wanted
    if not rest and not groups[""] and len(groups) == 2:
        rest = [name for name in groups if name]
    named = groups.get("/".join(rest))
    if named:
        return named[-1]
    inside = groups.get(rest[0]) if rest else None
    there = inside or [*groups[""], *(home / config for config in groups if config)]
    listed = ", ".join(str(path.relative_to(home.parent)) for path in there)
    problem = "is not there" if rest else "has several configs"
    raise DataError(f"{name} {problem} in {home.parent}; name one of {listed}")


def _whole(home: Path) -> list[Path]:
    return [path for path in versions(home) if (path / "dataset_info.json").is_file()]


def configs(home: Path) -> dict[str, list[Path]]:
    """By the names of the folders between name and version: their versions."""
    if not home.is_dir():
        return {}
    found = {path.name: _whole(path) for path in sorted(home.iterdir()) if path.is_dir()}
    return {name: paths for name, paths in found.items() if paths}


def shards_of(
    dataset: str, folder: Path, split: dict[str, Any], file_format: str
) -> tuple[Shard, ...]:
    """The files of a split by TFDS's template, e.g. cifar10-train.tfrecord-00000-of-00001."""
    counts = [int(count) for count in split["shardLengths"]]
    if min(counts) < 0:
        raise ValueError(f"shardLengths {counts}")
    template = str(split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}")
    shards = []
    for index, count in enumerate(counts):
        name = template
        for field, value in {
            "{DATASET}": dataset,
            "{SPLIT}": str(split["name"]),
            "{FILEFORMAT}": file_format,
            "{SHARD_X_OF_Y}": f"{index:05d}-of-{len(counts):05d}",
            "{SHARD_INDEX}": f"{index:05d}",
            "{NUM_SHARDS}": f"{len(counts):05d}",
        }.items():
            name = name.replace(field, value)
        if Path(name).name != name or "\0" in name:
            raise ValueError(f"filepathTemplate {template!r} names no file in the folder")
        shards.append(Shard(folder / name, count))
    return tuple(shards)


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a JSON file. Raises DataError, which ends with the remedy."""
    try:
        content = json.loads(read_text(path, remedy))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} cannot be read (it is a {type(content).__name__}); {remedy}")
    return content


def read_text(path: Path, remedy: str) -> str:
    """A small text file. Raises DataError, which ends with the remedy."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_INFO + 1)
        if len(data) > LARGEST_INFO:
            raise ValueError(f"it has more than {LARGEST_INFO:,} bytes")
        return data.decode()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); {remedy}") from error
