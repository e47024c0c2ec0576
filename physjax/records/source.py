"""Python source as statements: which of them a module's names get their meaning from.

Comments, docstrings, annotations and layout are left out. Nothing is imported to look at it.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# By name alone: what they are is said by the versions of a record.
_LIBRARIES = {"jax", "jaxlib", "flax", "optax", "numpy", "scipy", "chex", "einops"}


def is_library(module: str) -> bool:
    top = module.split(".")[0]
    # __main__ is among the names of the standard library, and is the user's.
    return top in _LIBRARIES or (top in sys.stdlib_module_names and top != "__main__")


def is_own(module: str, other: str) -> bool:
    """Whether two modules belong together: in one package, or alone beside each other."""
    if other == module:
        return True
    if is_library(other):
        return False
    if module.split(".")[0] == "physjax":
        # The rooms of physjax are packages of their own; a file at its top stands alone.
        package = module.rpartition(".")[0]
        return package != "physjax" and f"{other}.".startswith(f"{package}.")
    if module.split(".")[0] == other.split(".")[0]:
        return True
    file, other_file = source_file(module), source_file(other)
    return file is not None and other_file is not None and file.parent == other_file.parent


def source_file(module: str) -> Path | None:
    """The source file of a module, imported or not."""
    known = sys.modules.get(module)
    file = getattr(known, "__file__", None)
    if file is None and known is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return None
        file = spec.origin if spec is not None else None
    path = None if file is None else Path(file)
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def absolute(module: str, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    file = source_file(module)
    depth = statement.level - (1 if file is not None and file.name == "__init__.py" else 0)
    package = module.split(".")[: -depth or None]
    return ".".join([*package, *([statement.module] if statement.module else [])])


@dataclass(frozen=True)
class Source:
    """The statements of a module, and which of them give each name its meaning."""

    statements: tuple[ast.stmt, ...]
    names: dict[str, list[int]]


def read_source(module: str) -> Source | None:
    path = source_file(module)
    if path is None:
        return None
    try:
        return _parsed(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=256)
def _parsed(text: bytes) -> Source:
    tree = _Bare().visit(ast.parse(text))
    names: dict[str, list[int]] = {}
    for number, statement in enumerate(tree.body):
        for name in _defined(statement):
            names.setdefault(name, []).append(number)
    return Source(tuple(tree.body), names)


class _Bare(ast.NodeTransformer):
    """Takes away what changes nothing: docstrings and annotations."""

    def _without_docstring(self, node: Any) -> Any:
        self.generic_visit(node)
        node.body = [s for s in node.body if not _is_text(s)]
        return node

    visit_Module = visit_ClassDef = _without_docstring

    def visit_FunctionDef(self, node: Any) -> Any:
        node.returns = None
        return self._without_docstring(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node


def _is_text(statement: ast.stmt) -> bool:
    """Whether it is a string that stands by itself: the docstring of what is above or around it."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def canonical(node: object) -> str:
    """A piece of a syntax tree as text, the same in every version of Python that can parse it."""
    if isinstance(node, ast.AST):
        # What a later version adds to a node is empty in older code; ast.dump is not that steady.
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        inner = ", ".join(f"{name}={canonical(value)}" for name, value in fields)
        return f"{type(node).__name__}({inner})"
    if isinstance(node, list):
        return f"[{', '.join(map(canonical, node))}]"
    return repr(node)


def _defined(statement: ast.stmt) -> set[str]:
    """Names that a statement at the top of a module gives a meaning, or changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in statement.names}
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name):
            # TABLE["x"] = 1, TABLE.append(1): the table is no longer what it was.
            if isinstance(node.ctx, ast.Store) or isinstance(statement, ast.Expr):
                names.add(node.value.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.split(".")[0])
    return names


def names_used(statement: ast.stmt) -> set[str]:
    """Names that a statement uses."""
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
