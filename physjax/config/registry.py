"""A table of things by name, each in a module that is imported when it is first asked for."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterator, Mapping, MutableMapping
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from physjax import schema
from physjax.config.traits import ConfigError

T = TypeVar("T")

ENTRY_POINTS = "physjax.plugins"
"""The group of entry points by which an installed package announces its modules."""


class Registry(MutableMapping[str, T], Generic[T]):
    """A mapping from names to objects that have a `name`.

    To list names, and to ask for one, imports nothing. `registry[name]` imports the module of that
    name and takes the object at its top that has it.

    Attributes:
      what: what is in it, as messages call one: "force law".
    """

    def __init__(self, what: str, of: str, homes: Mapping[str, str] | None = None) -> None:
        """Args:
        what: what is in it, as messages call one.
        of: the class of the objects, like `physjax.forces.law:ForceLaw`.
        homes: by name, the module that defines the object, of those that are not added.
        """
        self.what = what
        self._of = of
        self._homes = dict(homes or {})
        self._own = frozenset(self._homes)
        self._imported: dict[str, T] = {}

    @property
    def kind(self) -> type[T]:
        """The class of the objects; it is imported now."""
        return cast(type[T], pkgutil.resolve_name(self._of))

    def __getitem__(self, name: str) -> T:
        if name not in self._imported:
            home = importlib.import_module(self._homes[name])
            (self._imported[name],) = [o for o in self.objects(home) if _name(o) == name]
        return self._imported[name]

    def __setitem__(self, name: str, thing: T) -> None:
        self._homes.setdefault(name, "")
        self._imported[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._homes[name]
        self._imported.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def __repr__(self) -> str:
        return f"<{self.what}: {', '.join(self)}>"

    def get_named(self, name: str) -> T:
        """The object of that name. Raises ConfigError with the names that exist."""
        failures = [] if name in self else self._add_installed()
        if name not in self:
            raise ConfigError("; ".join([schema.unknown(self.what, name, self), *failures]))
        return self[name]

    def _add_installed(self) -> list[str]:
        """Take in what installed packages announce, once a name is asked for that is not here.

        Returns:
          A line for each that fails: the name that was asked for may be another's, or a typo.
        """
        failures = []
        for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
            try:
                loaded = entry.load()
                things = self.objects(loaded) if isinstance(loaded, ModuleType) else [loaded]
                for thing in things:
                    if isinstance(thing, self.kind):
                        self.add(thing)
            except Exception as error:
                failures.append(
                    f"the installed plug-in {entry.value} fails: {type(error).__name__}: {error}"
                )
        return failures

    def add(self, thing: T, *, replace: bool = False) -> None:
        """Take in an object from outside. The same one again is fine.

        Args:
          thing: of the registry's kind.
          replace: take the place of another one from outside: a notebook's cell is run again.

        Raises:
          ConfigError: it is of another class, or there is another one of its name.
        """
        if not isinstance(thing, self.kind):
            raise ConfigError(f"{schema.show(thing)} is no {self.kind.__name__}")
        if replace and _name(thing) not in self._own:
            self.pop(_name(thing), None)
        self.check_free(thing)
        self.setdefault(_name(thing), thing)

    def check_free(self, thing: T) -> None:
        """Raise ConfigError where another object than `thing` has its name."""
        name = _name(thing)
        if name in self and self[name] != thing:
            raise ConfigError(f"there is a {self.what} {name!r} already; choose another name")

    def objects(self, module: ModuleType) -> list[T]:
        """Those at the top of `module`, each once."""
        things = [o for o in vars(module).values() if isinstance(o, self.kind)]
        return list({id(o): o for o in things}.values())


def _name(thing: Any) -> str:
    return cast(str, thing.name)
