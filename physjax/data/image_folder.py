"""One's own images as files in folders, one for each class.

DIR/train/<class>/*  and  DIR/test/<class>/*     (or `val`, `valid`, `validation` for `test`)
DIR/<class>/*                                     a fifth of each class is split off as test set
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from physjax.config import DataConfig
from physjax.data.decoding import decode_all
from physjax.data.image_files import Paths, walk
from physjax.data.images import SUFFIXES, decode_file, shown
from physjax.data.lazy import LazyImages
from physjax.data.spec import OwnImages, own_spec
from physjax.data.split import split_off
from physjax.data.types import DataError, Split

TEST_NAMES = ("test", "val", "valid", "validation")
TEST_FRACTION = 0.2
"""Of each class, where there is no folder of test images."""

Labels = npt.NDArray[np.int32]
Files = list[Path]


def find_folder(config: DataConfig) -> OwnImages:
    """The images in `config.data_dir`.

    Raises:
      DataError: there is no such folder, or it is not laid out in one of the two ways.
    """
    if config.data_dir is None:
        raise DataError("--dataset folder needs --data-dir: DIR/train/<class>/*, or DIR/<class>/*")
    try:
        root = Path(config.data_dir).expanduser()
        if not root.is_dir():
            raise DataError(f"{shown(root)} is no folder; --data-dir names the one of the images")
        return _found(root)
    except (OSError, RuntimeError) as error:  # no permission; "~" of a user without a home
        raise DataError(f"{shown(config.data_dir)} cannot be read: {error}") from error


def _found(root: Path) -> OwnImages:
    remark, test_names = "", [name for name in TEST_NAMES if (root / name).is_dir()]
    whole = root / "train" if (root / "train").is_dir() else root
    names, train, train_labels = _classes(whole)
    if whole != root and test_names:
        test, test_labels = _of_test(root / test_names[0], whole, names)
        if len(test_names) > 1:
            remark = (
                f"the test images are those in {shown(root / test_names[0])}; "
                f"{', '.join(test_names[1:])} is not looked at"
            )
    else:
        few = [name for name, n in zip(names, np.bincount(train_labels), strict=True) if n < 2]
        if few:
            raise DataError(
                f"{shown(whole / few[0])} has one image, and there is no folder of test images: "
                "two of each class are needed at least"
            )
        stays, aside = split_off(train_labels, TEST_FRACTION)
        test, test_labels = [train[i] for i in aside], train_labels[aside]
        train, train_labels = [train[i] for i in stays], train_labels[stays]
        remark = (
            f"{shown(root)} has no folder of test images: {len(test)} images, a fifth of each "
            "class, always the same ones, are the test set"
        )
    return OwnImages(
        title=shown(root.resolve().name)[:80] or "images",
        class_names=names,
        source=root,
        counts=(len(train), len(test)),
        files=(*train, *test),
        read=lambda side: (_read(train, train_labels, side), _read(test, test_labels, side)),
        lazy=lambda side: (_lazy(root, train, side), _lazy(root, test, side)),
        labels=lambda: (train_labels, test_labels),
        remark=remark,
    )


def _read(files: Files, labels: Labels, side: int) -> Split:
    one = partial(decode_file, native=(side, side, 3), side=side)
    return Split(decode_all([partial(one, path) for path in files], side), labels)


@dataclass(frozen=True)
class _FileReader:
    paths: Paths
    side: int

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return decode_file(self.paths[index], (self.side, self.side, 3), self.side)


def _lazy(root: Path, files: Files, side: int) -> LazyImages:
    return LazyImages(_FileReader(Paths(root, files), side), side)


def _classes(folder: Path) -> tuple[tuple[str, ...], Files, Labels]:
    """Class names, image files and labels; classes by name, as the files in them."""
    homes = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    if len(homes) < 2:
        raise DataError(
            f"{shown(folder)} has {len(homes) or 'no'} folder{'' if len(homes) == 1 else 's'} of "
            "images: one for each class is needed, two at least, as in DIR/train/cat/1.jpg or "
            "DIR/cat/1.jpg"
        )
    names = tuple(home.name for home in homes)
    for name in names:
        if not name.isprintable() or name.encode("utf-8", "ignore").decode() != name:
            raise DataError(f"{shown(folder / name)}: a class needs a printable name in UTF-8")
    by_class = [_images(home) for home in homes]
    for home, files in zip(homes, by_class, strict=True):
        if not files:
            raise DataError(
                f"{shown(home)} holds no image; remove the folder, or put images into it (files "
                f"that end in {', '.join(sorted(SUFFIXES))})"
            )
    labels = np.repeat(np.arange(len(names)), [len(files) for files in by_class])
    return names, list(itertools.chain.from_iterable(by_class)), labels.astype(np.int32)


def _images(folder: Path) -> Files:
    return [path for path in walk(folder) if path.suffix.lower() in SUFFIXES]


def _of_test(folder: Path, train: Path, names: tuple[str, ...]) -> tuple[Files, Labels]:
    homes = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    files: Files = []
    labels: list[int] = []
    for home in homes:
        found = _images(home)
        if found and home.name not in names:
            raise DataError(
                f"{shown(home)} is a class that {shown(train)} does not have; its classes are "
                f"{', '.join(map(shown, names))}"
            )
        files += found
        labels += [names.index(home.name)] * len(found) if found else []
    if not files:
        raise DataError(f"{shown(folder)} holds no image below a folder of a class")
    return files, np.asarray(labels, np.int32)


FOLDER = own_spec("folder", "a folder of images", find_folder)
