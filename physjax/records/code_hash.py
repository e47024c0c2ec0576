"""The source that a piece of code consists of, as a hash: whether it is still what it was.

Hashed are the statements that a function or class needs and its package holds: itself, the helpers,
constants and base classes that it names, and those that they name, through the modules of its own
package. Comments, docstrings, annotations and layout do not matter, nor does anything else in those
files. What belongs to another package (JAX, or the engine of physjax to a force law) is hashed by
its name alone. Code without a file, of a notebook or a REPL, is hashed by its bytecode instead.

Not seen: data files, names made up at run time (importlib, getattr), attributes set by other code.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import platform
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from physjax.errors import UserError
from physjax.records.provenance import Code
from physjax.records.source import (
    absolute,
    canonical,
    is_library,
    is_own,
    names_used,
    read_source,
    source_file,
)

# Prose of a law, a rule or a base model, as fields with metadata "prose": it changes nothing.
_PROSE = {"name", "title", "equation", "source"}


def code_of(*objects: Any) -> Code:
    """The code of functions, classes and objects made of them, like a force law.

    Of a dataclass, a partial function or a closure, the plain values in it count too.

    Raises:
      UserError: a function is not what its file says, since the file was edited after its import.
    """
    walk = _Walk()
    for thing in objects:
        walk.value(thing)
    return Code(", ".join(sorted(walk.modules)), walk.sha256())


class _Walk:
    """Collects what defines objects: plain values, and statements by module."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self._parts: list[str] = []
        self._statements: dict[str, dict[int, str]] = {}
        self._imports: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._inside: set[int] = set()

    def sha256(self) -> str:
        # How files are called and where they lie does not matter, the order within each does.
        blocks = ["\n".join(s[n] for n in sorted(s)) for s in self._statements.values()]
        text = "\n".join([*self._parts, *sorted(self._imports), *sorted(blocks)])
        return hashlib.sha256(text.encode()).hexdigest()

    def value(self, thing: Any) -> None:
        """Take in one object."""
        if id(thing) in self._inside:
            self._parts.append("itself")
            return
        self._inside.add(id(thing))
        try:
            self._value(thing)
        finally:
            self._inside.discard(id(thing))

    def _value(self, thing: Any) -> None:
        if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
            self._parts.append(repr(thing))
        elif isinstance(thing, functools.partial):
            self.value(thing.func)
            self.value(thing.args)
            self.value(thing.keywords)
        elif isinstance(thing, Mapping):
            for key in sorted(thing, key=repr):
                self._parts.append(f"{key!r}:")
                self.value(thing[key])
        elif isinstance(thing, list | tuple):
            self._parts.append(f"{len(thing)} items:")
            for item in thing:
                self.value(item)
        elif isinstance(thing, set | frozenset):
            self.value(sorted(thing, key=repr))
        elif isinstance(thing, types.ModuleType):
            self._parts.append(f"module {thing.__name__}")
        elif isinstance(thing, type) or hasattr(thing, "__qualname__"):
            self._definition(thing)
        elif dataclasses.is_dataclass(thing):
            self._fields(thing)
        elif hasattr(thing, "__array__"):
            array = np.asarray(thing)
            self._parts.append(f"{array.dtype} {array.shape} {array.tobytes().hex()}")
        elif hasattr(thing, "__dict__"):
            self._definition(type(thing))
            self.value(vars(thing))
        else:
            self._parts.append(f"a {type(thing).__qualname__}")

    def _fields(self, thing: Any) -> None:
        for f in dataclasses.fields(thing):
            value = getattr(thing, f.name)
            # Fields at their default are left out: one that is added later changes no hash.
            if not (f.metadata.get("prose", f.name in _PROSE) or _is_default(f, value)):
                self._parts.append(f"{f.name}:")
                self.value(value)

    def _definition(self, thing: Any) -> None:
        """A function or a class, by the statements that define it."""
        module, name = getattr(thing, "__module__", None) or "builtins", thing.__qualname__
        if is_library(module):
            self._parts.append(f"{module}.{name}")
            return
        self.modules.add(module)
        source = read_source(module)
        if source is None:
            self._live(thing)
            return
        _check_fresh(thing, module)
        top = name.split(".")[0]
        if not self._name(module, top):
            # A lambda, or a name of its own making: everything in the file may be part of it.
            for other in source.names:
                self._name(module, other)
        self._parts.append(top if top in source.names else name)
        self._bound(thing)

    def _bound(self, function: Any) -> None:
        """The values that a function carries along."""
        plain = inspect.unwrap(function)
        for cell in getattr(plain, "__closure__", None) or ():
            self.value(cell.cell_contents)
        if "<locals>" in getattr(plain, "__qualname__", ""):
            self.value(getattr(plain, "__defaults__", None) or ())

    def _name(self, module: str, name: str) -> bool:
        """Take in what defines `name` in a module; False where nothing does."""
        source = read_source(module)
        if source is None:
            return False
        if name not in source.names:
            # It may come from a module that everything is imported from.
            if "*" in source.names:
                self._name(module, "*")
            return False
        if (module, name) in self._seen:
            return True
        self._seen.add((module, name))
        for number in source.names[name]:
            statement = source.statements[number]
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._import(module, statement, name)
            elif number not in (known := self._statements.setdefault(module, {})):
                known[number] = canonical(statement)
                for used in names_used(statement):
                    self._name(module, used)
        return True

    def _import(self, module: str, statement: ast.Import | ast.ImportFrom, name: str) -> None:
        """What an imported name stands for: statements of the own package, else its name."""
        for alias in statement.names:
            if (alias.asname or alias.name.split(".")[0]) not in (name, "*"):
                continue
            if isinstance(statement, ast.Import):
                home, wanted = alias.name, None
            else:
                home, wanted = absolute(module, statement), alias.name
                if read_source(f"{home}.{wanted}") is not None:
                    home, wanted = f"{home}.{wanted}", None
            source = read_source(home) if is_own(module, home) else None
            if source is None:
                self._imports.add(f"{wanted or home} as {name}")
                continue
            self.modules.add(home)
            for defined in source.names if wanted in (None, "*") else (str(wanted),):
                self._name(home, defined)

    def _live(self, thing: Any) -> None:
        """Code that has no file, by its bytecode and what its names stand for at this moment."""
        self._parts.append(f"Python {platform.python_version()}")
        if isinstance(thing, type):
            members = {k: v for k, v in vars(thing).items() if k not in _OF_EVERY_CLASS}
            for base in thing.__bases__:
                self.value(base)
            self.value({k: v for k, v in members.items() if not _is_descriptor(v)})
            return
        plain = inspect.unwrap(thing)
        code = getattr(plain, "__code__", None)
        if code is None:
            self._parts.append(f"{thing.__module__}.{thing.__qualname__}")
            return
        self._bytecode(code)
        self._bound(plain)
        self.value(getattr(plain, "__defaults__", None) or ())
        scope = plain.__globals__
        for used in sorted(set(_code_names(code)) & set(scope)):
            if (code.co_filename, used) not in self._seen:
                self._seen.add((code.co_filename, used))
                self._parts.append(f"{used}:")
                self.value(scope[used])

    def _bytecode(self, code: types.CodeType) -> None:
        self._parts.append(f"{code.co_code.hex()} {code.co_names} {code.co_varnames}")
        for number, constant in enumerate(code.co_consts):
            if isinstance(constant, types.CodeType):
                self._bytecode(constant)
            elif number or not isinstance(constant, str):
                self.value(constant)


def _check_fresh(function: Any, module: str) -> None:
    """Raise UserError where a function is not what its file, edited since its import, says now."""
    plain = inspect.unwrap(function)
    code, path = getattr(plain, "__code__", None), source_file(module)
    if code is None or path is None or path != Path(code.co_filename):
        return
    candidates = [compile(path.read_bytes(), str(path), "exec", dont_inherit=True)]
    for part in plain.__qualname__.replace("<locals>.", "").split("."):
        inner = [c for outer in candidates for c in outer.co_consts]
        candidates = [c for c in inner if isinstance(c, types.CodeType) and c.co_name == part]
    if all(_text(c) != _text(code) for c in candidates):
        raise UserError(
            f"{plain.__qualname__} in {path} was edited after it was imported, so what is computed "
            "is not what the file says; start the process (or the notebook's kernel) again"
        )


def _text(code: types.CodeType) -> tuple[object, ...]:
    constants = (
        _text(c) if isinstance(c, types.CodeType) else (type(c), c) for c in code.co_consts
    )
    return (code.co_code, code.co_names, *list(constants)[1 if _has_docstring(code) else 0 :])


def _has_docstring(code: types.CodeType) -> bool:
    return bool(code.co_consts) and isinstance(code.co_consts[0], str | None)


_OF_EVERY_CLASS = {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__"}
_OF_EVERY_CLASS |= {"__firstlineno__", "__static_attributes__", "__annotations__"}


def _is_descriptor(value: Any) -> bool:
    return isinstance(value, types.GetSetDescriptorType | types.MemberDescriptorType)


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return value is field.default or (
            type(value) is type(field.default)
            and isinstance(value, bool | int | float | str)
            and value == field.default
        )
    if field.default_factory is not dataclasses.MISSING:
        return isinstance(value, dict | list | tuple) and value == field.default_factory()
    return False


def _code_names(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_names(constant)
