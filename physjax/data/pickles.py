"""The Python version of CIFAR: pickles of NumPy arrays, read without running anything in them.

A pickle is a program: it may name any function and call it. Here the three names that an array
needs are all read as a record of what was said about it, and every other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax.data.types import DataError

_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _Recorded:
    """What a pickle says of an array or its type: arguments, then a state."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


# The one written in Python: the one in C makes room for as many values as a file says it will name,
# up to tens of GiB for a file of a few bytes.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> type[_Recorded]:
        """The record for what makes an array; nothing else can be had."""
        if (module, name) in _NAMES:
            return _Recorded
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")


def read_pickle(data: bytes, where: str) -> dict[str, Any]:
    """A pickled dictionary of lists, bytes and uint8 arrays, as Python 2 wrote CIFAR.

    Args:
      data: the content of the file.
      where: names it in messages.

    Returns:
      The dictionary; keys as text, arrays as NumPy arrays, text as bytes.

    Raises:
      DataError: damage, or a pickle of anything else; nothing of it has been run.
    """
    try:
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}, not a dictionary")
        return {_text(key): _value(value) for key, value in content.items()}
    # A pickle cut off or changed anywhere leads to whatever its instructions then lead to.
    except Exception as error:
        raise DataError(
            f"{where} is not a batch of CIFAR ({type(error).__name__}: {error})"
        ) from error


def _text(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("ascii")
    if isinstance(key, str):
        return key
    raise TypeError(f"a key is a {type(key).__name__}")


def _value(value: object) -> object:
    return _array(value) if isinstance(value, _Recorded) else value


def _array(record: _Recorded) -> npt.NDArray[np.uint8]:
    """From NumPy's state of an array: version, shape, type, whether by columns, bytes."""
    if not isinstance(record.state, tuple) or len(record.state) != 5:
        raise TypeError("an array has no state")
    _, shape, dtype, by_columns, content = record.state
    if not isinstance(dtype, _Recorded) or dtype.arguments[:1] not in ((b"u1",), ("u1",)):
        raise TypeError("an array is not uint8")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise TypeError(f"an array has the shape {shape!r}")
    if not isinstance(content, bytes) or len(content) != math.prod(shape):
        raise ValueError(f"an array {shape} does not hold as many bytes")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")
