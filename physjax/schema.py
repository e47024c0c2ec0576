"""Strict dataclasses: what a field may hold stands at the field, and holds at every construction.

Command lines, TOML, JSON and Python end in the same constructors, so they meet the same checks: no
type is converted into another (a whole number does for a real one), every number is finite, no
field is unknown. What is refused is a UserError that names field, value and what it must be.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import functools
import json
import types
import typing
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
import pydantic.dataclasses
from pydantic import ConfigDict, ValidationError

from physjax.errors import UserError

T = TypeVar("T")

_STRICT = ConfigDict(
    strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
)
_SHOWN_ERRORS = 3
OWN = "own"
"""The field of a part of the config that is open: messages name what is in it as if it stood in the
part itself."""


@dataclass_transform(frozen_default=True)
def strict(error: type[UserError] = UserError, name: str = "") -> Callable[[type[T]], type[T]]:
    """A frozen dataclass that checks its fields whenever one is made, also by dataclasses.replace.

    Scalars of NumPy and JAX become Python's, and paths become text.

    Args:
      error: what is raised for values that cannot be.
      name: stands before the fields' names in messages.
    """

    def decorate(cls: type[T]) -> type[T]:
        made = pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)(cls)
        init: Callable[..., None] = made.__init__

        @functools.wraps(init)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            try:
                init(self, *map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()})
            except ValidationError as refused:
                raise error(describe(refused, cls, name)) from None

        made.__init__ = checked  # type: ignore[method-assign]
        return typing.cast(type[T], made)

    return decorate


def read(kind: type[T], values: Any, where: str, error: type[UserError] = UserError) -> T:
    """The `kind` that plain `values` (from TOML or JSON) describe.

    Args:
      kind: a class made by :func:`strict`, or any type that pydantic knows.
      values: dictionaries, lists, numbers, text, None.
      where: what the values come from, for messages: a file, or a line of one.
      error: what is raised for values that cannot be.
    """
    try:
        text = json.dumps(values, default=_plain_or_refuse)
    except (TypeError, ValueError, RecursionError) as problem:
        raise error(f"{where}: {problem}") from None
    try:
        return typing.cast(T, _adapter(typing.cast(Hashable, kind)).validate_json(text))
    except ValidationError as refused:
        raise error(f"{where}: {describe(refused, kind)}") from None


def read_json(kind: type[T], text: str, where: str, error: type[UserError] = UserError) -> T:
    """The `kind` that a JSON text describes; parameters as of :func:`read`."""
    return read(kind, parse_json(text, where, error), where, error)


def parse_json(text: str, where: str, error: type[UserError] = UserError) -> Any:
    """The value of a JSON text. A key given twice, NaN and Infinity are refused too."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} is not valid JSON: {_short(str(problem))}") from None


def check(kind: Any, value: Any, name: str, error: type[UserError] = UserError) -> Any:
    """`value` as type `kind`, an annotation with its limits, has it: a whole number as a real one.

    Raises `error` where it is none.
    """
    try:
        return _adapter(kind).validate_python(_plain(value))
    except ValidationError as refused:
        raise error(describe(refused, kind, name)) from None


@functools.lru_cache(maxsize=256)
def _adapter(kind: Hashable) -> pydantic.TypeAdapter[Any]:
    hint: Any = kind
    if dataclasses.is_dataclass(kind):
        return pydantic.TypeAdapter(hint)
    return pydantic.TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def _plain(value: Any) -> Any:
    """`value`, a scalar of NumPy or JAX as Python's, a path as text."""
    if isinstance(value, Path):
        return str(value)
    if type(value) not in (bool, int, float, str) and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


def _plain_or_refuse(value: Any) -> Any:
    plain = _plain(value)
    if plain is value:
        kind = "date or time" if isinstance(value, datetime.date | datetime.time) else "value"
        raise TypeError(f"{show(value)} is a {kind} that no field takes")
    return plain


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{show(twice)} is given twice")
    return values


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


# ---- messages ----


def describe(refused: ValidationError, kind: Any, name: str = "") -> str:
    """What pydantic found, in one line: field, value, and what it must be."""
    # What is wrong says more than what is not there.
    errors = sorted(refused.errors(include_url=False), key=lambda e: e["type"] == "missing")
    lines = [_line(error, kind, name) for error in errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        lines.append(f"and {len(errors) - _SHOWN_ERRORS} more")
    return "; ".join(dict.fromkeys(lines))


_MUST: dict[str, str] = {
    "greater_than": "be greater than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "finite_number": "be a finite number",
    "int_type": "be a whole number",
    "int_from_float": "be a whole number",
    "int_parsing_size": "be a whole number of fewer digits",
    "float_type": "be a number",
    "bool_type": "be true or false",
    "string_type": "be text",
    "tuple_type": "be a list",
    "list_type": "be a list",
    "dict_type": "be a table",
    "dataclass_type": "be a table of fields",
    "dataclass_exact_type": "be an instance of {class_name}",
    "none_required": "be left out",
    "too_short": "have at least {min_length} entries",
    "too_long": "have at most {max_length} entries",
}


def _line(error: Any, kind: Any, name: str) -> str:
    kinds, place = error["type"], [str(part) for part in error["loc"] if _is_place(part)]
    where = ".".join([name, *place] if name else place)
    if kinds == "unexpected_keyword_argument":
        # The last part is what the user wrote, and may be anything.
        last, above = str(error["loc"][-1]), [str(part) for part in error["loc"][:-1]]
        inside = _inside(kind, [p for p in above if _is_place(p)])
        known = [f.name for f in dataclasses.fields(inside)] if inside else []
        full = ".".join([*([name] if name else []), *above, last])
        return unknown("field", full, known, last=last)
    if kinds == "missing":
        return f"{where} is missing"
    if kinds == "value_error":
        said = str(error["ctx"]["error"])
        return f"{where} is {show(error['input'])}; {said}" if where else said
    context = error.get("ctx", {})
    if kinds == "literal_error":
        choices = typing.get_args(_literal(kind, place)) or (context["expected"],)
        return (
            f"{where} is {show(error['input'])}; it must be one of "
            f"{', '.join(map(str, choices))}{suggestion(str(error['input']), map(str, choices))}"
        )
    # Pydantic's own words may have braces in them, as a pattern has.
    must = _MUST[kinds].format(**context) if kinds in _MUST else f"be right: {error['msg']}"
    return f"{where or 'it'} is {show(error['input'])}; it must {must}"


def _is_place(part: Any) -> bool:
    # In unions pydantic adds the member's name, like `int` or `literal['a','b']`.
    unnamed = ("int", "str", "float", OWN)
    return isinstance(part, int) or (part.isidentifier() and part not in unnamed)


def _inside(kind: Any, place: Iterable[str]) -> Any:
    """The type at `place` within `kind`, without its limits; None where that is no one type."""
    for part in place:
        kind = _bare(kind)
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(part)
        else:
            kind = next(iter([a for a in typing.get_args(kind) if a is not Ellipsis][-1:]), None)
    return _bare(kind)


def _bare(kind: Any) -> Any:
    while typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(a for a in typing.get_args(kind) if a is not types.NoneType)
    return kind


def _literal(kind: Any, place: Iterable[str]) -> Any:
    inside = _inside(kind, place)
    return inside if typing.get_origin(inside) is typing.Literal else None


def show(value: Any) -> str:
    """`value` as a message shows it: short, and printable whatever it is."""
    try:
        return _short(repr(value))
    except Exception:
        # An int of more digits than Python prints, or an object whose repr fails.
        return f"a value of type {type(value).__name__} that cannot be printed"


def _short(text: str, limit: int = 80) -> str:
    text = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def suggestion(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'batch'?`, or nothing where none of `names` is like `name`."""
    near = difflib.get_close_matches(name.lower()[:100], list(names), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown(what: str, name: str, names: Iterable[str], last: str | None = None) -> str:
    """The message for a name that does not exist: those that do, and the nearest one.

    Args:
      what: what it should be the name of, e.g. "field".
      name: as it was given.
      names: those that exist.
      last: the part of `name` that is compared with `names`; None: all of it.
    """
    known = list(names)
    near = suggestion(name if last is None else last, known)
    return f"there is no {what} {show(name)}; there are {', '.join(known)}{near}"
