"""Pickles of arrays: read without running anything, or refused."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers import published
from physjax.data import DataError
from physjax.data.pickles import read_pickle


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.path}",)


def test_pickles_run_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    hostile = [pickle.dumps({b"data": Malicious(marker)}, protocol) for protocol in range(6)] + [
        b"cbuiltins\neval\n(S'open(%r, \"w\")'\ntR." % str(marker).encode(),
        b"(S'touch %s'\nios\nsystem\n." % str(marker).encode(),
        b"\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x01x\x85R.",
        # Attributes of an allowed name, and the extension registry.
        b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__reduce__\x93.",
        b"\x80\x02\x82\x01.",
    ]
    pickle.loads(hostile[0])
    assert marker.exists(), "the test's own weapon is loaded"
    marker.unlink()
    for data in hostile:
        with pytest.raises(DataError, match="x is not a batch of CIFAR"):
            read_pickle(data, "x")
        assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "not a dictionary"),
        ({3: 1}, "a key is a int"),
        ({b"data": np.zeros((2, 3072), np.float32)}, "not uint8"),
        ({b"data": np.array([None, {}], object)}, "not uint8"),
    ],
)
def test_pickles_of_something_else(content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pickle(published.pickled(content), "x")


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_in_either_order(order: str) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    content = {b"data": np.array(values, order=order)}  # type: ignore[call-overload]
    np.testing.assert_array_equal(read_pickle(published.pickled(content), "x")["data"], values)


def test_a_pickle_takes_no_memory_that_it_does_not_fill() -> None:
    hostile = [
        b"\x80\x02Nr\xf0\xff\xff\xff.",  # a memo of four billion values
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",  # a terabyte of bytes
        b"T" + struct.pack("<i", 2**31 - 1) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x04\x96" + struct.pack("<Q", 1 << 36) + b".",
    ]
    tracemalloc.start()
    for data in hostile:
        with pytest.raises(DataError):
            read_pickle(data, "x")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
