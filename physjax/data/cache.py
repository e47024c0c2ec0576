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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import numpy as np

from physjax import files
from physjax.data.pixels import SIDE
from physjax.data.types import Split, fingerprint
from physjax.runtime import cache_root

FORMAT = 2
"""Raise it when decoding gives other pixels than before, or the file another form."""

_LABEL = 4
_LONGEST_HEADER = 1 << 20

Pair = tuple[Split, Split]


def identity(folder: Path, counts: tuple[int, int]) -> str:
    """Says whether a prepared folder is the one that was decoded: names, sizes, mtimes, images."""
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    return identity_of(folder, sources, counts)


def identity_of(root: Path, sources: Iterable[Path], *facts: object) -> str:
    """Says whether files below `root` are those that were decoded, and in the same way."""
    states = [(str(path.relative_to(root)), path.stat()) for path in sources]
    listed = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    return json.dumps([FORMAT, str(root.resolve()), listed, *facts])


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
    return cached_as(
        f"{folder.parent.name}-{folder.name}-{path_hash(folder)}",
        identity(folder, counts),
        counts,
        cache_dir,
        lambda: decode(folder),
    )


def path_hash(path: Path) -> str:
    """Twelve letters that tell a file or folder from others of its name."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]


def cached_as(
    name: str,
    wanted: str,
    counts: tuple[int, int],
    cache_dir: str | None,
    decode: Callable[[], Pair],
    side: int = SIDE,
) -> tuple[Pair, str]:
    """As :func:`cached`, of images from anywhere.

    Args:
      name: of the file in the cache, without its ending.
      wanted: says what they are decoded from (:func:`identity_of`).
      counts: how many training and test images there are.
      cache_dir: see `physjax.runtime.cache_root`.
      decode: called when the cache does not have them.
      side: of the images, in pixels.
    """
    try:
        path = cache_root(cache_dir) / f"{name}.images"
    except RuntimeError as error:  # "~" of a user without a home
        pair = decode()
        _not_cached(f"no folder for them: {error}")
        return pair, fingerprint(*pair)
    known = _read(path, wanted, counts, side)
    if known is not None:
        return known
    pair = decode()
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
        stacklevel=4,
    )


def _read(path: Path, wanted: str, counts: tuple[int, int], side: int) -> tuple[Pair, str] | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return _checked(file, path.stat().st_size, wanted, counts, side)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        warnings.warn(
            f"the cache file {path} is damaged ({error}) and is made anew",
            RuntimeWarning,
            stacklevel=4,
        )
        return None


def _checked(
    file: IO[bytes], size: int, wanted: str, counts: tuple[int, int], side: int
) -> tuple[Pair, str] | None:
    """The content if it is whole; None if it is of something else."""
    line = file.readline(_LONGEST_HEADER)
    header = json.loads(line)
    if header["identity"] != wanted:
        return None
    promised = header["fingerprint"]
    expected = len(line) + sum(counts) * (3 * side * side + _LABEL)
    if size != expected:
        raise ValueError(f"it has {size:,} bytes, not {expected:,}")
    train, test = (_read_split(file, count, side) for count in counts)
    actual = fingerprint(train, test)
    if actual != promised:
        raise ValueError(f"its images have the fingerprint {actual[:8]}, not {str(promised)[:8]}")
    return (train, test), actual


def _read_split(file: IO[bytes], count: int, side: int) -> Split:
    images = np.fromfile(file, np.uint8, 3 * count * side**2).reshape(count, side, side, 3)
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
