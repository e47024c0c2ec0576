"""The process around JAX: what a command sets, and what it leaves alone."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from physjax.errors import UserError
from physjax.runtime import _program, cache_root, configure, xla_flags

MEMORY = "--xla_cpu_enable_concurrency_optimized_scheduler"
WIDTH = "--xla_cpu_prefer_vector_width"

SHOW = """
import json, os, sys
before = os.getpid()
from physjax import runtime
runtime.configure(restart=True)
import jax
names = ("GLIBC_TUNABLES", "XLA_FLAGS")
print(json.dumps({
    "environment": {name: os.environ.get(name) for name in names},
    "arguments": sys.argv[1:], "optimized": sys.flags.optimize, "pid": os.getpid(),
    "cache": jax.config.jax_compilation_cache_dir, "sum": int(jax.numpy.arange(4).sum()),
}))
"""


_SET = ("GLIBC_TUNABLES", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
CLEAN = {name: value for name, value in os.environ.items() if name not in _SET}


def show(folder: Path, *arguments: str, **environment: str) -> dict[str, object]:
    """What a command that calls configure() sees afterwards."""
    program = folder / "program.py"
    program.write_text(SHOW)
    with subprocess.Popen(
        [sys.executable, "-O", "-X", "utf8", str(program), *arguments],
        env={**CLEAN, **environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    found = json.loads(output)
    assert found.pop("pid") == process.pid
    assert found.pop("sum") == 6
    return found


def test_what_a_user_set_stays() -> None:
    given = f"{WIDTH}=128 --xla_dump_to="
    assert xla_flags(given, "0.10.2", avx512=True) == f"{given} {MEMORY}=false"
    assert xla_flags(f"{MEMORY}=true", "0.10.2", avx512=False) == f"{MEMORY}=true"


def test_flags_are_set_where_they_are_known_and_apply() -> None:
    assert xla_flags("", "0.10.0", avx512=False) == f"{MEMORY}=false"
    assert xla_flags("", "0.10.0", avx512=True) == f"{MEMORY}=false {WIDTH}=512"
    # XLA ends a process that sets a flag it does not know.
    assert xla_flags("--a=1", "0.11.0", avx512=True) == "--a=1"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_a_command_starts_again_once_with_the_malloc_it_needs(tmp_path: Path) -> None:
    found = show(tmp_path, "--model", "two words", PHYSJAX_CACHE="/of/cache")
    assert found["arguments"] == ["--model", "two words"]
    assert found["optimized"] == 1
    assert found["cache"] == "/of/cache/compiled"
    environment = found["environment"]
    assert isinstance(environment, dict)
    assert "glibc.malloc.hugetlb=1" in environment["GLIBC_TUNABLES"]
    assert f"{MEMORY}=false" in environment["XLA_FLAGS"]


def test_a_malloc_that_the_user_tuned_is_kept(tmp_path: Path) -> None:
    found = show(
        tmp_path, GLIBC_TUNABLES="glibc.malloc.check=0", JAX_COMPILATION_CACHE_DIR="/of/user"
    )
    environment = found["environment"]
    assert isinstance(environment, dict)
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.check=0"
    assert found["cache"] == "/of/user"


MARKED = """
print("be" "gun", flush=True)
kept = 42
from physjax import runtime
runtime.configure(restart=True)
import os
print("went on with", kept, "GLIBC_TUNABLES" in os.environ, flush=True)
"""


@pytest.mark.parametrize("how", ["input", "prompt", "pdb", "profile", "other program", "-i"])
def test_what_is_no_program_of_its_own_is_never_started_again(tmp_path: Path, how: str) -> None:
    """A notebook's kernel would hang, a REPL lose its names, standard input is read already."""
    program, outer = tmp_path / "program.py", tmp_path / "outer.py"
    program.write_text(MARKED)
    outer.write_text(f"import runpy\nrunpy.run_path({str(program)!r}, run_name='__main__')\n")
    words, text = {
        "input": (["-"], MARKED),
        "prompt": (["-i", "-q"], MARKED),
        "pdb": (["-m", "pdb", str(program)], "continue\nquit\n"),
        "profile": (["-m", "cProfile", str(program)], ""),
        "other program": ([str(outer)], ""),
        "-i": (["-i", str(program)], ""),
    }[how]
    done = subprocess.run(
        [sys.executable, *words], input=text, env=CLEAN, capture_output=True, text=True, check=False
    )
    assert done.stdout.count("begun") == 1, done.stderr
    assert "went on with 42 False" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "program"),
    [
        (["run.py", "-m", "x"], ("run.py", False)),
        (["-O", "-X", "utf8", "-Wd", "-W", "error", "run.py"], ("run.py", False)),
        (["-u", "-m", "physjax", "run"], ("physjax", True)),
        (["-c", "print()"], (None, False)),
        (["-Ic", "print()"], (None, False)),
        (["-im", "physjax"], (None, False)),
        (["-", "x"], (None, False)),
        ([], (None, False)),
    ],
)
def test_what_python_was_started_with(words: list[str], program: tuple[str | None, bool]) -> None:
    assert _program(words) == program


def test_a_file_of_flags_is_left_to_xla(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flags").write_text("")
    assert xla_flags(str(tmp_path / "flags"), "0.10.2", avx512=True) == str(tmp_path / "flags")
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"XLA_FLAGS is .*none', which is neither"):
        configure()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "PHYSJAX_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", _nobody)
    with pytest.raises(UserError, match=r"home directory.*Set HOME, or PHYSJAX_CACHE"):
        cache_root()
    assert cache_root("/c") == Path("/c")


def _nobody(number: int) -> None:
    raise KeyError(number)
