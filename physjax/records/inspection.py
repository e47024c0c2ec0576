"""What a look into a trained network leaves in its run's folder: inspection.npz."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax.records.arrays import read_arrays, write_arrays
from physjax.records.run import RecordError

FILE = "inspection.npz"
_OFFSET = "offset/"
_REMEDY = "remove it: `physjax report` makes it anew"


@dataclass(frozen=True)
class Inspection:
    """Arrays that show what a trained network does."""

    step: int
    """Of the parameters that were looked at."""
    law: str
    """How the force depends on what the layer computes: constant, linear or general; none."""
    mistakes: npt.NDArray[np.uint8]
    """[M, H, W, 3]: the test images that the network is surest of, and wrong."""
    index: npt.NDArray[np.int64]
    """[M]: their places in the test set."""
    label: npt.NDArray[np.int64]
    """[M]: their classes."""
    predicted: npt.NDArray[np.int64]
    """[M]: the classes that the network gives them."""
    probability: npt.NDArray[np.float64]
    """[M]: with which probability, in falling order."""
    filters: npt.NDArray[np.float32]
    """[kh, kw, 3, C]: the first layer's kernels as they were trained."""
    folded_filters: npt.NDArray[np.float32]
    """[kh, kw, 3, C]: with the force in them; equal to `filters` where the law is not linear."""
    offsets: dict[str, npt.NDArray[np.float32]]
    """By layer, [C]: the force on each channel, where it does not depend on the image."""


def write_inspection(run: Path, found: Inspection) -> Path:
    """Write `found` into the folder of a run; the file."""
    arrays = {
        f.name: np.asarray(getattr(found, f.name)) for f in fields(found) if f.name != "offsets"
    }
    arrays |= {f"{_OFFSET}{name}": value for name, value in found.offsets.items()}
    return write_arrays(run / FILE, arrays)


def read_inspection(run: Path) -> Inspection | None:
    """What was found in the run of that folder; None where nobody has looked.

    Raises:
        RecordError: the file is damaged.
    """
    path = run / FILE
    found = read_arrays(path, _inspection, _REMEDY)
    if found is not None:
        _check(path, found)
    return found


def _inspection(arrays: Any) -> Inspection:
    names = [f.name for f in fields(Inspection) if f.name not in ("step", "law", "offsets")]
    offsets = {
        name.removeprefix(_OFFSET): arrays[name]
        for name in arrays.files
        if name.startswith(_OFFSET)
    }
    return Inspection(
        step=int(arrays["step"]),
        law=str(arrays["law"]),
        offsets=offsets,
        **{name: arrays[name] for name in names},
    )


def _check(path: Path, found: Inspection) -> None:
    count = len(found.mistakes)
    flat = (found.index, found.label, found.predicted, found.probability)
    fits = (
        found.mistakes.ndim == 4
        and found.mistakes.shape[-1] == 3
        and found.mistakes.dtype == np.uint8
        and all(array.shape == (count,) for array in flat)
        and found.filters.ndim == 4
        and found.filters.shape == found.folded_filters.shape
        and all(array.ndim == 1 for array in found.offsets.values())
    )
    if not fits:
        raise RecordError(f"{path} holds arrays that do not fit together; {_REMEDY}")
