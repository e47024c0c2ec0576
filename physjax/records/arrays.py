"""Files of arrays in a run's folder: written whole or not at all, and read back with care."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from physjax.files import atomic_write
from physjax.records.run import RecordError

T = TypeVar("T")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Write arrays, by their names, into an .npz file; the file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    atomic_write(path, buffer.getvalue())
    return path


def read_arrays(path: Path, make: Callable[[Any], T], remedy: str) -> T | None:
    """What `make` makes of the arrays in a file, by their names; None where there is no file.

    Raises:
        RecordError: the file is damaged, or has not what `make` asks for; the message ends with
            `remedy`.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return make(arrays)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path} is damaged ({error}); {remedy}") from error
