"""The one way through the house: a file imports only from files before it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "physjax"

# From left to right, as docs/architecture.md tells it. What stands together may not import
# each other.
ORDER = [
    {"errors", "calibration", "corruptions", "signals", "output", "source"},
    {"files", "schema", "names"},
    {"plotting", "provenance"},
    {"config_schema", "resistive", "code_hash", "record_schema"},
    {"config"},
    {"runtime", "records", "hosts", "options"},
    {"robustness_record"},
    {"grid"},
    {"grid_files"},
    {"study_records"},
    {"data", "forces", "winograd", "report"},
    {"conv_plan", "pooling", "connection", "taps"},
    {"conv"},
    {"layers"},
    {"models", "rules"},
    {"fold", "summary", "optim", "choices"},
    {"task", "origin"},
    {"state", "devices"},
    {"step"},
    {"checkpoint", "progress", "tensorboard", "prediction", "diagnostics"},
    {"loop", "study_display", "robustness"},
    {"study"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Parts of the package that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "physjax":
                names = [f"physjax.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("physjax.")}
    return found


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_files_before_it(path: Path) -> None:
    own = part(path)
    assert own in RANK, f"{own} has no place in ORDER"
    for other in imports(path) - {own}:
        assert RANK[other] < RANK[own], f"{own} imports {other}, which comes after it"


def test_resistive_stands_alone() -> None:
    paths = (PACKAGE / "resistive").rglob("*.py")
    assert set().union(*map(imports, paths)) == {"resistive", "errors", "plotting"}


@pytest.mark.parametrize(
    "module",
    [
        "physjax",
        "physjax.records",
        "physjax.report.run",
        "physjax.report.study",
        "physjax.report.robustness",
        "physjax.robustness_record",
        "physjax.cli",
    ],
)
def test_records_can_be_read_and_drawn_without_jax(module: str) -> None:
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_help_needs_none_of_what_a_report_needs() -> None:
    """pandas and matplotlib take longer to import than the help takes to read."""
    scripts = ("run", "study", "evaluate")
    code = (
        "import sys, tyro; sys.path.insert(0, 'experiments'); import {}; "
        "sys.exit(any(m in sys.modules for m in ('pandas', 'matplotlib', 'jax')))"
    )
    for script in scripts:
        done = subprocess.run([sys.executable, "-c", code.format(script)], cwd=ROOT, check=False)
        assert done.returncode == 0, script


def test_nothing_installed_needs_tensorflow() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "import tensorflow\n" not in path.read_text(encoding="utf-8")
    assert "tensorflow==" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_public_names_exist() -> None:
    import physjax

    for name in physjax.__all__:
        assert getattr(physjax, name) is not None
    with pytest.raises(AttributeError, match="magnet"):
        physjax.magnet  # noqa: B018
