"""Which image files are meant by paths, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from physjax.data.images import ImageError, shown

_NOT_MEANT = frozenset(("thumbs.db", "desktop.ini"))
"""What file managers leave in folders of images, beside names that begin with a dot."""


class Paths:
    """Paths of many files below a folder, in a small part of the memory of a list of them.

    Args:
      root: the folder.
      paths: below it.
    """

    def __init__(self, root: Path, paths: Iterable[Path]) -> None:
        self._root, start = os.fsencode(root), len(os.fsencode(root)) + 1
        names = [os.fsencode(path)[start:] for path in paths]
        self._names = b"".join(names)
        self._ends = np.cumsum([0, *map(len, names)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Path:
        begin, end = self._ends[index : index + 2]
        return Path(os.fsdecode(os.path.join(self._root, self._names[begin:end])))


def find_images(words: Iterable[str | Path]) -> Iterator[Path | ImageError]:
    """The files that `words` name, in their order; in place of what is not there, an error.

    Args:
      words: files; folders, which are searched to their depths, sorted; patterns like `*.png` or
        `**/*.jpg`.
    """
    for word in words:
        path = Path(word)
        if _exists(path):
            yield from _inside(path)
            continue
        found = sorted(glob.glob(str(word), recursive=True)) if glob.has_magic(str(word)) else []
        for name in found:
            yield from _inside(Path(name))
        if not found:
            what = "no file matches it" if glob.has_magic(str(word)) else "there is no such file"
            yield ImageError(f"{shown(word)}: {what}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or a zero in it
        return False


def _inside(path: Path) -> Iterator[Path | ImageError]:
    if not path.is_dir():
        yield path
        return
    files = list(walk(path))
    yield from files
    if not files:
        yield ImageError(f"{shown(path)}: there is no file in this folder")


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, sorted; hidden ones, and what file managers leave, apart."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in _NOT_MEANT:
                yield Path(root, name)
