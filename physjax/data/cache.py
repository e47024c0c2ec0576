"""The cache of decoded images: one file for each prepared folder, read in a fraction of a second.

A line of JSON says what was decoded (paths, sizes, times of change of all source files, numbers of
images) and what its fingerprint is; then come the bytes that it is the fingerprint of. What was
read is counted and hashed before it is used: another identity, or damage anywhere, means that it
is decoded anew and replaced.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from physjax import files
from physjax.data.arrays import SIDE
from physjax.data.types import Split, fingerprint
from physjax.runtime import cache_root

FORMAT = 2
"""Raise it when decoding gives other pixels than before, or the file another form."""

_IMAGE = SIDE * SIDE * 3
_LABEL = 4
_LONGEST_HEADER = 1 << 20

Pair = tuple[Split, Split]


def identity(folder: Path, counts: tuple[int, int]) -> str:
    """Says whether a prepared folder is the one that was decoded: names, sizes, mtimes, images."""
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    return json.dumps([FORMAT, str(folder.resolve()), facts, counts])


def cached(
    folder: Path,
    counts: tuple[int, int],
    cache_dir: str | None,
    decode: Callable[[Path], Pair],
) -> tuple[Pair, str]:
    """The decoded splits of a prepared folder and their fingerprint, from the cache if it has them.

    Args:
      folder: prepared data, e.g. `.../cifar10/3.0.2`.
      counts: how many training and test images it has.
      cache_dir: see `physjax.runtime.cache_root`.
      decode: reads the folder; called when the cache does not have it.

    Returns:
      (train, test) and the fingerprint of just these arrays.

    Warns (RuntimeWarning) of a damaged cache file, which is replaced, and of a cache that cannot be
    written; neither stops the run.
    """
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    name = f"{folder.parent.name}-{folder.name}-{key}.images"
    try:
        path = cache_root(cache_dir) / name
    except RuntimeError as error:  # "~" of a user without a home
        pair = decode(folder)
        _not_cached(f"no folder for them: {error}")
        return pair, fingerprint(*pair)
    wanted = identity(folder, counts)
    cached = _read(path, wanted, counts)
    if cached is not None:
        return cached
    pair = decode(folder)
    mark = fingerprint(*pair)
    try:
        _write(path, wanted, pair, mark)
    # ValueError: a zero in the path.
    except (files.FileError, OSError, ValueError) as error:
        _not_cached(f"in {path.parent} ({error})")
    return pair, mark


def _not_cached(why: str) -> None:
    warnings.warn(
        f"decoded images cannot be cached {why}: they are decoded again at every start; choose "
        "another folder with --cache-dir or PHYSJAX_CACHE",
        RuntimeWarning,
        stacklevel=3,
    )


def _read(path: Path, wanted: str, counts: tuple[int, int]) -> tuple[Pair, str] | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return _checked(file, path.stat().st_size, wanted, counts)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        warnings.warn(
            f"the cache file {path} is damaged ({error}) and is made anew",
            RuntimeWarning,
            stacklevel=3,
        )
        return None


def _checked(
    file: IO[bytes], size: int, wanted: str, counts: tuple[int, int]
) -> tuple[Pair, str] | None:
    """The content if it is whole; None if it is of something else."""
    line = file.readline(_LONGEST_HEADER)
    header = json.loads(line)
    if header["identity"] != wanted:
        return None
    promised = header["fingerprint"]
    expected = len(line) + sum(counts) * (_IMAGE + _LABEL)
    if size != expected:
        raise ValueError(f"it has {size:,} bytes, not {expected:,}")
    train, test = (_read_split(file, count) for count in counts)
    actual = fingerprint(train, test)
    if actual != promised:
        raise ValueError(f"its images have the fingerprint {actual[:8]}, not {str(promised)[:8]}")
    return (train, test), actual


def _read_split(file: IO[bytes], count: int) -> Split:
    images = np.fromfile(file, np.uint8, count * _IMAGE).reshape(count, SIDE, SIDE, 3)
    return Split(images, np.fromfile(file, "<i4", count).astype(np.int32, copy=False))


def _write(path: Path, wanted: str, pair: Pair, mark: str) -> None:
    header = {"identity": wanted, "fingerprint": mark}
    with files.atomic_file(path) as file:
        file.write(json.dumps(header).encode() + b"\n")
        for split in pair:
            file.write(np.ascontiguousarray(split.images).data)
            file.write(np.ascontiguousarray(split.labels, dtype="<i4").data)
    # Of processes that were killed; others may be writing here now.
    files.remove_leftovers(path.parent, seconds=3600)
