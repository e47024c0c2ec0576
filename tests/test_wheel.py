"""The wheel, as one would install it, used outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from physjax import __version__

ROOT = Path(__file__).resolve().parents[1]


def done(*words: str, **options: object) -> str:
    result = subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    done(sys.executable, "-m", "pip", *words, str(ROOT))
    (path,) = folder.iterdir()
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    package = {n for n in names if not n.startswith(f"physjax-{__version__}.dist-info/")}
    files = [p for p in (ROOT / "physjax").rglob("*") if p.is_file()]
    assert package == {str(p.relative_to(ROOT)) for p in files if p.suffix != ".pyc"}
    assert "physjax/report/html/page.css" in package
    assert f"physjax-{__version__}.dist-info/licenses/LICENSE" in names


@pytest.mark.exhaustive
def test_what_is_installed_trains_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    words = ("install", "--quiet", "--no-deps", "--target", str(installed), str(wheel))
    done(sys.executable, "-m", "pip", *words)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    where = done(
        *(sys.executable, "-c", "import physjax; print(physjax.__file__)"),
        cwd=elsewhere,
        env=environment,
    )
    assert where.strip() == str(installed / "physjax" / "__init__.py")
    command = str(installed / "bin" / "physjax")
    assert done(command, "--version", cwd=elsewhere, env=environment) == f"physjax {__version__}\n"
    said = done(
        *(command, "train", "--recipe", "smoke", "--model", "cnn", "--width", "0.1"),
        cwd=elsewhere,
        env=environment,
    )
    assert "test accuracy" in said
    assert list((elsewhere / "runs").glob("*/figures/accuracy.png"))
