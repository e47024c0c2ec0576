"""How a trained network came to rest, as it stands in its run's folder: relaxation.npz."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax.records.arrays import read_arrays, write_arrays
from physjax.records.run import RecordError

FILE = "relaxation.npz"
_PLAIN = ("energy", "residual", "image")
_STATES = ("free", "settled")
_REMEDY = "`physjax evaluate --relaxation` makes it anew"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Relaxation:
    """Energy and residuals by round, and the states of one image."""

    step: int
    """Of the parameters that were looked at."""
    rule: str
    """How the network was driven: the learning rule's name."""
    examples: int
    """Images that settled side by side."""
    layers: tuple[str, ...]
    """Names, the logits last."""
    energy: Floats
    """[rounds + 1, layers]: at the start and after each round, mean over states and images."""
    residual: Floats
    """[rounds + 1, layers]: norm of dE/dh_k, root mean square over states and images; 0 of the
    logits, which are driven."""
    image: npt.NDArray[np.uint8]
    """[H, W, 3]: the first image."""
    label: int
    """Its class."""
    free: tuple[Floats, ...]
    """Of each layer the first image's state in the forward pass: [h, w, channels] of those channels
    that move the most, or [units]."""
    settled: tuple[Floats, ...]
    """The same at rest, with the output driven."""


def write_relaxation(run: Path, found: Relaxation) -> Path:
    """Write `found` into the folder of a run; the file."""
    arrays: dict[str, Any] = {name: getattr(found, name) for name in _PLAIN}
    for name in _STATES:
        arrays |= {f"{name}/{k}": value for k, value in enumerate(getattr(found, name))}
    arrays |= {name: getattr(found, name) for name in ("step", "rule", "examples", "label")}
    arrays["layers"] = np.array(found.layers)
    return write_arrays(run / FILE, arrays)


def read_relaxation(run: Path) -> Relaxation | None:
    """What was found of the run in that folder; None where nobody has looked.

    Raises:
        RecordError: the file is damaged.
    """
    path = run / FILE
    found = read_arrays(path, _relaxation, _REMEDY)
    if found is None:
        return None
    shape = found.energy.shape
    if shape != found.residual.shape or len(shape) != 2 or shape[1] != len(found.layers):
        raise RecordError(f"{path} holds arrays that do not fit together; {_REMEDY}")
    return found


def _relaxation(arrays: Any) -> Relaxation:
    layers = tuple(map(str, arrays["layers"]))
    states = {name: tuple(arrays[f"{name}/{k}"] for k in range(len(layers))) for name in _STATES}
    return Relaxation(
        step=int(arrays["step"]),
        rule=str(arrays["rule"]),
        examples=int(arrays["examples"]),
        layers=layers,
        label=int(arrays["label"]),
        **{name: arrays[name] for name in _PLAIN},
        free=states["free"],
        settled=states["settled"],
    )
