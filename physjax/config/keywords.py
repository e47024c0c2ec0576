"""The keyword-only arguments of a function as settings: what a force law or a rule lets one choose.

    def _force(params, y, *, length: Annotated[float, Field(gt=0)] = 2.0): ...

has one setting, `length`, with its limits, its default and, by `Field(description=...)`, its
meaning. Nothing else declares it.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any

from physjax import schema
from physjax.config.names import check_setting_name
from physjax.config.traits import ConfigError


@dataclass(frozen=True)
class Keyword:
    """One keyword-only argument."""

    name: str
    kind: Any
    """Its type, with the limits."""
    default: Any
    doc: str

    def __str__(self) -> str:
        meaning = f": {self.doc}" if self.doc else ""
        return f"{self.name} ({_say(self.kind)}; default {self.default!r}){meaning}"


_TYPES = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _say(kind: Any) -> str:
    """A type and its limits in words: `a number > 0, <= 1000`."""
    extras: list[Any] = []
    while typing.get_origin(kind) is Annotated:
        kind, *more = typing.get_args(kind)
        for extra in more:
            extras += getattr(extra, "metadata", None) or [extra]
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        # None is a default, and cannot be given.
        return " or ".join(_say(each) for each in typing.get_args(kind) if each is not type(None))
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    limits = [
        f"{sign} {getattr(extra, name):g}"
        for extra in extras
        for name, sign in _SIGNS.items()
        if hasattr(extra, name)
    ]
    return " ".join(filter(None, [_TYPES.get(kind, str(kind)), ", ".join(limits)]))


@dataclass(frozen=True)
class Bound:
    """A function with keyword arguments bound. Unlike partial functions, two of equal parts are
    equal."""

    function: Callable[..., Any]
    values: tuple[tuple[str, Any], ...]

    def __call__(self, *args: Any) -> Any:
        return self.function(*args, **dict(self.values))


def keywords(*functions: Callable[..., Any]) -> dict[str, Keyword]:
    """The keyword-only arguments of some functions, by name.

    An argument that several of them have is declared by the first: the others may leave out
    annotation and default.

    Raises:
      ValueError: an argument has no default, one that it may not have, or two of them.
    """
    settings: dict[str, Keyword] = {}
    for function in functions:
        for keyword in _of(function):
            known = settings.setdefault(keyword.name, keyword)
            if known.default is inspect.Parameter.empty:
                raise ValueError(f"the setting {keyword.name!r} has no default; give it one")
            if keyword.default not in (known.default, inspect.Parameter.empty):
                raise ValueError(
                    f"the setting {keyword.name!r} has two defaults, {known.default!r} and "
                    f"{keyword.default!r}; leave one of them out"
                )
    return settings


def _of(function: Callable[..., Any]) -> list[Keyword]:
    bound: dict[str, Any] = {}
    while isinstance(function, Bound):
        bound, function = dict(function.values) | bound, function.function
    plain = function.func if isinstance(function, functools.partial) else function
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a builtin
        return []
    own = {n: p for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    annotations = {n: p.annotation for n, p in own.items() if p.annotation is not p.empty}
    hints = typing.get_type_hints(
        SimpleNamespace(__annotations__=annotations),
        getattr(inspect.unwrap(plain), "__globals__", {}),
        include_extras=True,
    )
    settings = []
    for name, parameter in own.items():
        check_setting_name(name)
        default = bound.get(name, parameter.default)
        kind = hints.get(name, type(default))
        if default is not parameter.empty:
            default = schema.check(kind, default, f"the default of {name!r}", ConfigError)
        docs = (getattr(extra, "description", None) for extra in getattr(kind, "__metadata__", ()))
        settings.append(Keyword(name, kind, default, next(filter(None, docs), "")))
    return settings


def bind(function: Callable[..., Any], values: Mapping[str, Any]) -> Callable[..., Any]:
    """`function` with those of `values` bound that it takes."""
    while isinstance(function, Bound):
        values, function = dict(function.values) | dict(values), function.function
    mine = {keyword.name for keyword in _of(function)}
    kept = tuple(sorted((name, value) for name, value in values.items() if name in mine))
    return Bound(function, kept) if kept else function


def checked(
    known: Mapping[str, Keyword], values: Mapping[str, Any], part: str, owner: str
) -> dict[str, Any]:
    """`values` as their settings' types have them, without those at their default.

    Args:
      known: the settings there are.
      values: by their names.
      part: of the config that they stand in, `law` or `rule`.
      owner: whose settings they are, as a message calls it: "force law 'divisive'".

    Raises:
      ConfigError: there is no such setting, or a value cannot be.
    """
    changed = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(no_setting(known, name, part, owner))
        value = schema.check(known[name].kind, value, f"{part}.{name}", ConfigError)
        if value != known[name].default:
            changed[name] = value
    return changed


def no_setting(known: Mapping[str, Keyword], name: str, part: str, owner: str) -> str:
    """The message for a setting that does not exist: those that do, and the nearest one."""
    has = ", ".join(f"{part}.{keyword}" for keyword in known.values()) or "none"
    near = schema.suggestion(name, known)
    return f"{owner} has no setting {schema.show(name)}; its settings: {has}{near}"
