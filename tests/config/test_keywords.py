"""The settings that a law or rule has: read off its functions, checked, bound."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from physjax.config import ConfigError
from physjax.config.keywords import bind, checked, keywords

Positive = Annotated[float, Field(gt=0, le=9, description="how far")]


def _force(params: Any, y: Any, *, length: Positive = 2, kind: Literal["a", "b"] = "a") -> Any:
    return params, y, length, kind


def _start(channels: int, *, length: float, fill: bool = False) -> Any:
    return channels, length, fill


def test_keyword_only_arguments_are_the_settings() -> None:
    found = keywords(_force, _start)
    assert {name: k.default for name, k in found.items()} == {
        "length": 2.0,
        "kind": "a",
        "fill": False,
    }
    assert [str(keyword) for keyword in found.values()] == [
        "length (a number > 0, <= 9; default 2.0): how far",
        "kind (one of a, b; default 'a')",
        "fill (true or false; default False)",
    ]
    assert keywords(lambda params, y: y, len) == {}


def test_bound_functions_get_what_they_name_and_nothing_else() -> None:
    force, start = (bind(f, {"length": 3.0, "kind": "b"}) for f in (_force, _start))
    assert force(1, 2) == (1, 2, 3.0, "b")
    assert start(4) == (4, 3.0, False)
    assert bind(_force, {"fill": True}) is _force
    assert bind(force, {"length": 5.0})(1, 2) == (1, 2, 5.0, "b")
    # Equal and hashable, so that equal laws are one law.
    assert bind(_force, {"length": 3.0}) == bind(_force, {"length": 3.0})
    assert {bind(_force, {"length": 3.0}): 1}[bind(_force, {"length": 3.0})] == 1
    assert keywords(force)["length"].default == 3.0
    assert keywords(functools.partial(_force, length=4))["length"].default == 4.0


def test_values_are_converted_and_those_at_their_default_left_out() -> None:
    known = keywords(_force)
    made = checked(known, {"length": 3, "kind": "a"}, "law", "law 'x'")
    assert made == {"length": 3.0}
    assert type(made["length"]) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"lenght": 3.0},
            r"^law 'x' has no setting 'lenght'; .*: law\.length \(a number",
        ),
        ({"lenght": 3.0}, "did you mean 'length'"),
        ({"length": 0.0}, r"^law\.length is 0\.0; it must be greater than 0"),
        ({"length": "far"}, r"^law\.length is 'far'; it must be a number"),
        ({"kind": "c"}, r"^law\.kind is 'c'; it must be one of a, b"),
    ],
)
def test_a_value_that_cannot_be_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(keywords(_force), values, "law", "law 'x'")


def test_settings_that_cannot_be_declared_so_are_refused() -> None:
    def bare(y: Any, *, length: float) -> Any: ...

    def other(y: Any, *, length: float = 1.0) -> Any: ...

    def taken(y: Any, *, own: float = 1.0) -> Any: ...

    with pytest.raises(ValueError, match="'length' has no default"):
        keywords(bare)
    with pytest.raises(ValueError, match=r"'length' has two defaults, 2\.0 and 1\.0"):
        keywords(_force, other)
    with pytest.raises(ValueError, match="that one is taken"):
        keywords(taken)
