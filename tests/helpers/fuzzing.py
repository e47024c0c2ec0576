"""Seeded damage to files, and a bound on the memory that reading them takes."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def examples(count: int) -> Any:
    return settings(
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=count,
        suppress_health_check=list(HealthCheck),
    )


Change = tuple[str, float, int]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "ones", "zeros", "page", "cut", "double", "insert", "number"]),
        # Headers decide most; half of all changes fall into the first 2 %.
        st.one_of(st.floats(0, 0.02), st.floats(0, 1)),
        st.integers(0, 2**32 - 1),
    ),
    min_size=1,
    max_size=4,
)
"""What is done to a file: a kind of damage, where (as a fraction of the file) and with what."""


def damage(data: bytes, changes: list[Change]) -> bytes:
    for kind, fraction, value in changes:
        at = int(fraction * max(len(data) - 1, 0))
        size = 1 + value % 8
        page = 1 + value % 4096
        replaced = {
            "flip": (bytes([(data[at] if data else 0) ^ 1 << value % 8]), 1),
            "ones": (b"\xff" * size, size),
            "zeros": (bytes(size), size),
            "page": (bytes(page), page),
            "cut": (b"", len(data)),
            "double": (data[at : at + page] * 2, page),
            "insert": (struct.pack("<I", value), 0),
            "number": (struct.pack("<I" if value % 2 else ">I", value), 4),
        }[kind]
        data = data[:at] + replaced[0] + data[at + replaced[1] :]
    return data


@contextlib.contextmanager
def bounded(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
