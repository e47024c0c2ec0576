"""Some of many cases that are alike in every run of the tests, all of them with --exhaustive."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], *always: Any) -> list[Any]:
    """`cases` to parametrise a test with; those not among `always` have the mark `exhaustive`.

    A case is named by itself, or by its first element.
    """
    found, kept = list(cases), set(always)
    names = [_name(case) for case in found]
    missing = kept - set(names)
    assert not missing, f"no such case: {sorted(missing)}"
    return [
        pytest.param(*_values(case), marks=() if name in kept else pytest.mark.exhaustive)
        for case, name in zip(found, names, strict=True)
    ]


def _name(case: Any) -> Any:
    return case[0] if isinstance(case, tuple) else case


def _values(case: Any) -> Collection[Any]:
    return case if isinstance(case, tuple) else (case,)
