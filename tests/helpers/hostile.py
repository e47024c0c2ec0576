"""What the tests of archives share."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from helpers import published
from physjax.data import DataError, DatasetSpec
from physjax.data.archives import read_archives
from physjax.data.raw import unpacked_limit


def parts(spec: DatasetSpec) -> tuple[Any, Any]:
    return published.examples(spec, published.TRAIN, 0), published.examples(spec, published.TEST, 1)


def refused(spec: DatasetSpec, paths: list[Path], message: str, unverified: bool = True) -> None:
    """Refused with these words, before the memory that a lie asks for has been taken."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            read_archives(spec, paths, unverified)
        assert tracemalloc.get_traced_memory()[1] < 4 * unpacked_limit(spec)
    finally:
        tracemalloc.stop()
