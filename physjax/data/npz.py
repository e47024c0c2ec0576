"""One's own images as arrays in a file of NumPy, `.npz`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax.config import DataConfig
from physjax.data.arrays import checked_images, checked_names
from physjax.data.images import resize, shown
from physjax.data.pixels import to_rgb
from physjax.data.spec import OwnImages, own_spec
from physjax.data.split import split_off
from physjax.data.types import DataError, Split

_SPLIT = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
_WHOLE = (("images", "labels"), ("x", "y"))
TEST_FRACTION = 0.2
"""Of each class, where the file has no test images."""


def find_npz(config: DataConfig) -> OwnImages:
    """The arrays in the file `config.data_dir`.

    Raises:
      DataError: there is no such file, it is damaged, or its arrays are not what is needed.
    """
    if config.data_dir is None:
        raise DataError("--dataset npz needs --data-dir, the file: --data-dir images.npz")
    path = Path(config.data_dir)
    with contextlib.suppress(RuntimeError):  # "~" of a user without a home
        path = path.expanduser()
    if not path.is_file():
        raise DataError(f"{shown(path)} is no file; --data-dir names the .npz file")
    with _opened(path) as arrays:
        return _found(path, arrays)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The arrays in a file. Raises DataError for whatever goes wrong while inside."""
    try:
        # Not by its path: NumPy leaves a damaged file open.
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise DataError(f"{shown(path)} holds one array, and not several by their names")
            with arrays:
                yield arrays
    except DataError:
        raise
    # What damaged files make NumPy and zipfile raise: BadZipFile, ValueError, KeyError, EOFError...
    except (Exception, MemoryError) as error:
        what = f"{type(error).__name__}: {error}"
        raise DataError(f"{shown(path)} cannot be read ({what})") from error


def _found(path: Path, arrays: Any) -> OwnImages:
    keys: tuple[str, ...] = next(
        (names for names in (*_SPLIT, *_WHOLE) if all(name in arrays for name in names)), ()
    )
    if not keys:
        wanted = " or ".join(", ".join(names) for names in (*_SPLIT, *_WHOLE))
        raise DataError(
            f"{shown(path)} has the arrays {', '.join(arrays.files) or 'of no name'}; needed are "
            f"{wanted}"
        )
    raw = [_flat(arrays[key], key) for key in keys[1::2]]
    names, labels = _numbered(raw, arrays.get("class_names"))
    indices: tuple[npt.NDArray[np.intp], ...] | None = None
    remark = ""
    if len(keys) == 2:
        few = np.flatnonzero(np.bincount(labels[0]) < 2)
        if few.size:
            raise DataError(
                f"{keys[1]}: class {names[few[0]]} has one image, and there are no test images: "
                "two of each class are needed at least"
            )
        indices = split_off(labels[0], TEST_FRACTION)
        labels = [labels[0][chosen] for chosen in indices]
        remark = (
            f"{shown(path)} has no test images: {len(labels[1])} images, a fifth of each class, "
            "always the same ones, are the test set"
        )
    return OwnImages(
        title=shown(path.stem)[:80],
        class_names=names,
        source=path,
        counts=(len(labels[0]), len(labels[1])),
        files=(path,),
        read=partial(_read, path, keys[::2], [len(r) for r in raw], labels, indices),
        remark=remark,
    )


def _flat(labels: npt.NDArray[Any], key: str) -> npt.NDArray[Any]:
    """[N] of labels [N] or [N, 1]: whole numbers or texts."""
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or not len(flat) or flat.dtype.kind not in "iuU":
        raise DataError(
            f"{key} are {labels.dtype} {list(labels.shape)}, but must be whole numbers or texts [N]"
        )
    return flat


def _numbered(
    raw: list[npt.NDArray[Any]], class_names: npt.NDArray[Any] | None
) -> tuple[tuple[str, ...], list[npt.NDArray[np.int32]]]:
    """Class names, and labels as numbers from 0: those of the file where it names the classes."""
    values = np.unique(raw[0])
    if class_names is not None and raw[0].dtype.kind != "U":
        names = checked_names([str(name) for name in class_names.ravel()])
        values = np.arange(len(names))
    else:
        names = checked_names([str(value) for value in values])
    for labels in raw:
        unknown = ~np.isin(labels, values)
        if unknown.any():
            raise DataError(
                f"a label is {labels[unknown][0]}, of which there is no class; there are "
                f"{', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
            )
    return names, [np.searchsorted(values, labels).astype(np.int32) for labels in raw]


def _read(
    path: Path,
    keys: tuple[str, ...],
    counts: list[int],
    labels: list[npt.NDArray[np.int32]],
    indices: tuple[npt.NDArray[np.intp], ...] | None,
    side: int,
) -> tuple[Split, Split]:
    """Training and test images; `indices`: those of the one array."""
    found = []
    with _opened(path) as arrays:
        for key, count in zip(keys, counts, strict=True):
            images = checked_images(arrays[key], f"{shown(path)}: {key}")
            if len(images) != count:
                raise DataError(f"{shown(path)}: {key} are {len(images)}, their labels {count}")
            found.append(to_rgb(resize(images, side, side), side))
    if indices is not None:
        found = [found[0][chosen] for chosen in indices]
    return Split(found[0], labels[0]), Split(found[1], labels[1])


NPZ = own_spec("npz", "a file of arrays", find_npz)
