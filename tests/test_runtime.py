"""The process around JAX: what a command sets, and what it leaves alone."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from physjax.runtime import xla_flags

MEMORY = "--xla_cpu_enable_concurrency_optimized_scheduler"
WIDTH = "--xla_cpu_prefer_vector_width"

SHOW = """
import json, os, sys
before = os.getpid()
from physjax import runtime
runtime.configure()
import jax
names = ("GLIBC_TUNABLES", "XLA_FLAGS")
print(json.dumps({
    "environment": {name: os.environ.get(name) for name in names},
    "arguments": sys.argv[1:], "optimized": sys.flags.optimize, "pid": os.getpid(),
    "cache": jax.config.jax_compilation_cache_dir, "sum": int(jax.numpy.arange(4).sum()),
}))
"""


def show(*arguments: str, **environment: str) -> dict[str, object]:
    """What a command that calls configure() sees afterwards."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GLIBC_TUNABLES", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
    }
    with subprocess.Popen(
        [sys.executable, "-O", "-c", SHOW, *arguments],
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        output, _ = process.communicate(timeout=120)
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
def test_a_command_starts_again_once_with_the_malloc_it_needs() -> None:
    found = show("--model", "two words", PHYSJAX_CACHE="/of/cache")
    assert found["arguments"] == ["--model", "two words"]
    assert found["optimized"] == 1
    assert found["cache"] == "/of/cache/compiled"
    environment = found["environment"]
    assert isinstance(environment, dict)
    assert "glibc.malloc.hugetlb=1" in environment["GLIBC_TUNABLES"]
    assert f"{MEMORY}=false" in environment["XLA_FLAGS"]


def test_a_malloc_that_the_user_tuned_is_kept() -> None:
    found = show(GLIBC_TUNABLES="glibc.malloc.check=0", JAX_COMPILATION_CACHE_DIR="/of/user")
    environment = found["environment"]
    assert isinstance(environment, dict)
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.check=0"
    assert found["cache"] == "/of/user"
