"""What a run must know of one's own images before it begins, whether they are streamed or not.

Up to :data:`MANY` images all are looked at: the fingerprint is that of their pixels, and mean and
deviation are exact. Of more images the fingerprint is that of their files, and the statistics are
those of a part of the training images. What was found is remembered until a file changes.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from physjax import files
from physjax.data.images import shown
from physjax.data.lazy import Images, Pixels
from physjax.data.pixels import channel_counts, statistics_of
from physjax.data.spec import Channels, Labels
from physjax.data.stream import in_order
from physjax.data.types import DataError, Split
from physjax.errors import UserError
from physjax.runtime import cache_root

MANY = 200_000
"""From more images than this on the facts are those of files, and of a part of the images."""
SAMPLE = 10_000
"""So many training images, evenly spaced, that part has."""
_AT_ONCE = 64


@dataclass(frozen=True)
class Facts:
    """What a record holds of images."""

    fingerprint: str
    """SHA-256 (hex): of pixels and labels (`physjax.data.types.fingerprint`), or of files."""
    mean: Channels
    """Of each channel of the training images, pixels in [0, 1]."""
    std: Channels
    grey: bool
    """Whether the three channels of every training image are the same."""


def of_arrays(fingerprint: str, train: Images, workers: int = 0) -> Facts:
    """The facts of images whose fingerprint is known."""
    seen = _Seen()
    for batch in _batches(train, workers):
        seen.add(batch)
    return seen.facts(fingerprint)


def of_images(train: Split, test: Split, workers: int = 0) -> Facts:
    """The facts of all images, of which a few at a time are in memory.

    Raises DataError for an image that cannot be read.
    """
    digest, seen = hashlib.sha256(), _Seen()
    for split in (train, test):
        for batch in _batches(split.images, workers):
            digest.update(np.ascontiguousarray(batch).data)
            if split is train:
                seen.add(batch)
        digest.update(np.ascontiguousarray(split.labels, dtype="<i4").data)
    return seen.facts(digest.hexdigest())


def of_files(root: Path, sources: Sequence[Path], train: Images, workers: int = 0) -> Facts:
    """The facts of many images by the files that hold them, and a part of the training images.

    The fingerprint is over each file's path below `root`, its size, and the SHA-256 of what is in
    it: all are read, none is decoded.

    Raises DataError for a file or an image that cannot be read.
    """
    digest = hashlib.sha256()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(sources), 1024):
            part = sources[start : start + 1024]
            for path, (size, content) in zip(part, pool.map(_content, part), strict=True):
                name = os.fsencode(path.relative_to(root))
                digest.update(b"%d %s %d %s\n" % (len(name), name, size, content.encode()))
    rows = np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).astype(np.int64)
    return of_arrays(digest.hexdigest(), train.take(rows, axis=0), workers)


def _content(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    try:
        return path.stat().st_size, files.file_sha256(path)
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}") from error


def _batches(images: Images, workers: int) -> Iterator[Pixels]:
    for number, batch in enumerate(in_order(images, _AT_ONCE, workers=workers)):
        yield batch[: len(images) - number * _AT_ONCE]


class _Seen:
    """Sums over the training images so far."""

    def __init__(self) -> None:
        self._counts: npt.NDArray[np.int64] = np.zeros((3, 256), np.int64)
        self._grey = True

    def add(self, images: Pixels) -> None:
        self._counts += channel_counts(images)
        self._grey &= all(np.array_equal(images[..., 0], images[..., c]) for c in (1, 2))

    def facts(self, fingerprint: str) -> Facts:
        return Facts(fingerprint, *statistics_of(self._counts), self._grey)


Known = tuple[Facts, Labels, Labels]
"""Facts, and the labels of training and test images."""


def remembered(name: str, wanted: str, cache_dir: str | None, find: Callable[[], Known]) -> Known:
    """What `find` gives, or gave when the images were the same.

    Args:
      name: of the file in the cache, without its ending.
      wanted: says what the images come from (`physjax.data.cache.identity_of`).
      cache_dir: see `physjax.runtime.cache_root`.
      find: called when the cache does not have it.

    Warns (RuntimeWarning) where it cannot be remembered.
    """
    mark = hashlib.sha256(wanted.encode()).hexdigest()
    try:
        path = cache_root(cache_dir) / f"{name}.facts"
        known = _read(path, mark)
    except (UserError, OSError, ValueError, KeyError, EOFError):  # not there, or damaged
        known = None
    if known is not None:
        return known
    known = find()
    try:
        _write(cache_root(cache_dir) / f"{name}.facts", mark, known)
    except (UserError, OSError, ValueError) as error:
        warnings.warn(
            f"what was found of the images cannot be kept ({error}): they are looked through again "
            "at every start; choose another folder with --cache-dir or PHYSJAX_CACHE",
            RuntimeWarning,
            stacklevel=3,
        )
    return known


def _write(path: Path, mark: str, known: Known) -> None:
    facts, train, test = known
    content = io.BytesIO()
    np.savez(
        content,
        fingerprint=facts.fingerprint,
        mean=facts.mean,
        std=facts.std,
        grey=facts.grey,
        train=train,
        test=test,
    )
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    with files.atomic_file(path) as file:
        file.write(f"{mark} {digest}\n".encode())
        file.write(content.getvalue())


def _read(path: Path, mark: str) -> Known | None:
    """What is in a file; None where it is of other images, or damaged."""
    with path.open("rb") as file:
        first, content = file.readline(200).decode().split(), file.read()
    if first != [mark, hashlib.sha256(content).hexdigest()]:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        mean, std = (tuple(float(x) for x in arrays[key]) for key in ("mean", "std"))
        facts = Facts(
            str(arrays["fingerprint"]),
            (mean[0], mean[1], mean[2]),
            (std[0], std[1], std[2]),
            bool(arrays["grey"]),
        )
        return facts, arrays["train"], arrays["test"]
