"""The cache of decoded images: one file for each prepared folder, read in a fraction of a second.

The file carries the identity of what it was decoded from (paths, sizes and times of change of all
source files); another identity, or damage, means that it is decoded anew and replaced.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from physjax import files
from physjax.data.types import Split, fingerprint
from physjax.runtime import cache_root

FORMAT = 1
"""Raise it when decoding gives other pixels than before."""

Pair = tuple[Split, Split]


def identity(folder: Path) -> str:
    """Says whether a prepared folder is the one that was decoded: names, sizes, mtimes."""
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    return json.dumps([FORMAT, str(folder.resolve()), facts])


def cached(folder: Path, cache_dir: str | None, decode: Callable[[Path], Pair]) -> tuple[Pair, str]:
    """The decoded splits of a prepared folder and their fingerprint, from the cache if it has them.

    Args:
      folder: prepared data, e.g. `.../cifar10/3.0.2`.
      cache_dir: see `physjax.runtime.cache_root`.
      decode: reads the folder; called when the cache does not have it.

    Warns (RuntimeWarning) of a damaged cache file, which is replaced, and of a cache that cannot be
    written; neither stops the run.
    """
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    path = cache_root(cache_dir) / f"{folder.parent.name}-{folder.name}-{key}.npz"
    wanted = identity(folder)
    found = _read(path, wanted)
    if found is not None:
        return found
    pair = decode(folder)
    mark = fingerprint(*pair)
    try:
        _write(path, wanted, pair, mark)
    except files.FileError as error:
        warnings.warn(
            f"decoded images cannot be cached in {path.parent} ({error}): they are decoded again "
            "at every start; choose another folder with --cache-dir or PHYSJAX_CACHE",
            RuntimeWarning,
            stacklevel=2,
        )
    return pair, mark


def _read(path: Path, wanted: str) -> tuple[Pair, str] | None:
    if not path.is_file():
        return None
    try:
        # Members of a zip file carry a CRC that is checked on reading: damage does not go unseen.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["identity"]) != wanted:
                return None
            train = Split(arrays["train_images"], arrays["train_labels"])
            test = Split(arrays["test_images"], arrays["test_labels"])
            return (train, test), str(arrays["fingerprint"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(
            f"the cache file {path} is damaged ({error}) and is made anew",
            RuntimeWarning,
            stacklevel=3,
        )
        return None


def _write(path: Path, wanted: str, pair: Pair, mark: str) -> None:
    train, test = pair
    with files.atomic_file(path) as file:
        np.savez(
            file,
            identity=np.array(wanted),
            fingerprint=np.array(mark),
            train_images=train.images,
            train_labels=train.labels,
            test_images=test.images,
            test_labels=test.labels,
        )
    # Of processes that were killed; others may be writing here now.
    files.remove_leftovers(path.parent, seconds=3600)
