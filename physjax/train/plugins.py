"""Laws, rules, optimisers, bases and data sets from outside.

A plug-in is a module that has some at its top.
It is named by its module, `my_lab.laws`, or by its file, `path/to/my_laws.py`. What another module
made and the plug-in only imports counts too, so that a package's `__init__` may gather its own.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from physjax.config import ConfigError
from physjax.config.registry import Registry
from physjax.data import DATASETS
from physjax.errors import UserError
from physjax.forces import LAWS
from physjax.models import MODELS
from physjax.optimizers import OPTIMIZERS
from physjax.rules import RULES


@dataclass(frozen=True)
class _Plugin:
    module: ModuleType
    sha256: str
    """Of its file as it was imported; empty where there is none."""


_REGISTRIES: tuple[Registry, ...] = (LAWS, RULES, OPTIMIZERS, MODELS, DATASETS)
# By module, or by whole path: a relative one means another file in another folder.
_LOADED: dict[str, _Plugin] = {}


def load_plugins(names: Iterable[str]) -> None:
    """Import plug-ins, once each, and register what they hold.

    Raises:
      ConfigError: one is not there, fails, holds nothing, or has a name that is taken; it is named.
    """
    for name in names:
        if _key(name) in _LOADED:
            continue
        known = set(sys.modules)
        module = _imported(name)
        try:
            _register(name, module)
        except ConfigError:
            # Mended, it can be loaded again by the same process.
            if module.__name__ not in known:
                del sys.modules[module.__name__]
            raise
        file = getattr(module, "__file__", None)
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
        _LOADED[_key(name)] = _Plugin(module, digest)


def _register(name: str, module: ModuleType) -> None:
    """Add what a plug-in holds to the registries: all of it, or nothing."""
    things = [(registry, thing) for registry in _REGISTRIES for thing in registry.objects(module)]
    if not things:
        raise ConfigError(
            f"plug-in {name}: it holds no ForceLaw, LearningRule, Optimizer, ModelSpec or "
            "DatasetSpec; make one at the top of the module"
        )
    try:
        for registry, thing in things:
            registry.check_free(thing)
    except ConfigError as error:
        raise ConfigError(f"plug-in {name}: {error}") from None
    for registry, thing in things:
        registry.add(thing)


def _key(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith(".py") else name


def plugin_hashes(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the file of each of some plug-ins, as it was imported, by name."""
    load_plugins(names)
    hashes = {name: _LOADED[_key(name)].sha256 for name in names}
    return {name: digest for name, digest in hashes.items() if digest}


def _imported(name: str) -> ModuleType:
    path = Path(name)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise ConfigError(f"plug-in {name}: there is no such file (from {Path.cwd()})")
    try:
        return _from_file(path.resolve()) if is_file else importlib.import_module(name)
    except UserError as error:
        raise ConfigError(f"plug-in {name}: {error}") from None
    except ModuleNotFoundError as error:
        hint = (
            "" if is_file or error.name != name.split(".")[0] else "; a file is named as in laws.py"
        )
        raise ConfigError(f"plug-in {name}: {error}{hint}") from error
    except Exception as error:
        # It is somebody else's code, and may fail in any way.
        raise ConfigError(f"plug-in {name} fails: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    name = path.stem
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) and Path(str(known.__file__)).resolve() == path:
            return known
        raise ConfigError(f"there is another module {name!r} already; give the file another name")
    known_spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if known_spec is not None and (
        known_spec.origin is None or Path(known_spec.origin).resolve() != path
    ):
        raise ConfigError(f"there is another module {name!r} already; give the file another name")
    # Behind everything else, so that it finds the files beside it and shadows nothing.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
