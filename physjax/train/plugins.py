"""Laws, rules, bases and data sets from outside: a plug-in is a module that has some at its top.

It is named by its module, `my_lab.laws`, or by its file, `path/to/my_laws.py`. What another module
made and the plug-in only imports counts too, so that a package's `__init__` may gather its own.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from physjax.config import ConfigError
from physjax.config.registry import Registry
from physjax.data.catalog import DATASETS
from physjax.errors import UserError
from physjax.forces import LAWS
from physjax.models import MODELS
from physjax.rules import RULES

_REGISTRIES: tuple[Registry, ...] = (LAWS, RULES, MODELS, DATASETS)
_LOADED: dict[str, ModuleType] = {}


def load_plugins(names: Iterable[str]) -> None:
    """Import plug-ins, once each, and register what they hold.

    Raises:
      ConfigError: one is not there, fails, holds nothing, or has a name that is taken; it is named.
    """
    for name in names:
        if name in _LOADED:
            continue
        module = _imported(name)
        things = [
            (registry, thing) for registry in _REGISTRIES for thing in registry.objects(module)
        ]
        if not things:
            raise ConfigError(
                f"plug-in {name}: it holds no ForceLaw, LearningRule, ModelSpec or DatasetSpec; "
                "make one at the top of the module"
            )
        for registry, thing in things:
            try:
                registry.add(thing)
            except ConfigError as error:
                raise ConfigError(f"plug-in {name}: {error}") from None
        _LOADED[name] = module


def plugin_hashes(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the file of each of some plug-ins, by name."""
    load_plugins(names)
    files = {name: getattr(_LOADED[name], "__file__", None) for name in names}
    return {
        name: hashlib.sha256(Path(file).read_bytes()).hexdigest()
        for name, file in files.items()
        if file
    }


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
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is not None and (found.origin is None or Path(found.origin).resolve() != path):
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
