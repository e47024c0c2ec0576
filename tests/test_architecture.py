"""The one way through the house: a room imports only from the rooms below it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "physjax"


def test_a_room_imports_only_from_the_rooms_below_it() -> None:
    """The contracts stand in pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    # Its cache takes a module that was not there for a name in its package, for as long as the file
    # that imports it stays as it is.
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_root_holds_a_handful_of_files() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_a_file_can_be_read_at_a_sitting() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 280, path


@pytest.mark.parametrize(
    "module",
    [
        "physjax",
        "physjax.records",
        "physjax.report.run",
        "physjax.report.study",
        "physjax.report.robustness",
        "physjax.evaluate.record",
        "physjax.cli.common",
    ],
)
def test_records_can_be_read_and_drawn_without_jax(module: str) -> None:
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_help_needs_none_of_what_a_report_needs() -> None:
    """pandas and matplotlib take longer to import than the help takes to read."""
    code = (
        "import sys, tyro, physjax.cli.{}; "
        "sys.exit(any(m in sys.modules for m in ('pandas', 'matplotlib', 'jax')))"
    )
    for command in ("train", "study", "evaluate"):
        done = subprocess.run([sys.executable, "-c", code.format(command)], cwd=ROOT, check=False)
        assert done.returncode == 0, command


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
