"""The process around JAX: settings that must stand before its first use, and what it runs on."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import mmap
import os
import platform
import re
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from physjax.errors import UserError

_PACKAGES = ("physjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def cache_root(folder: str | None = None) -> Path:
    """`folder`, else $PHYSJAX_CACHE, else ~/.cache/physjax.

    Raises:
      UserError: the path begins with ~, and the user has no home folder.
    """
    path = Path(folder or os.environ.get("PHYSJAX_CACHE") or "~/.cache/physjax")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path} cannot be found: {error} Set HOME, or PHYSJAX_CACHE to a folder"
        ) from error


# XLA:CPU takes the hundreds of MiB of a step's temporary arrays anew for every step. Left to itself
# glibc returns them each time, and getting them again in zeroed pages of 4 KiB takes a fifth to a
# quarter of the step. Kept, and in large pages, they cost nothing (docs/performance.md).
_MALLOC = {
    "glibc.malloc.hugetlb": 1,  # ask for transparent huge pages
    "glibc.malloc.mmap_max": 0,  # no mapping of its own for a large array
    "glibc.malloc.trim_threshold": 2**40,  # return nothing
    "glibc.malloc.top_pad": 2**26,
}


def environment() -> dict[str, str]:
    """The variables that a process needs from its start to be fit for large arrays.

    GLIBC_TUNABLES, with glibc 2.35 or newer, and XLA_FLAGS; neither over the user's own settings.
    """
    variables = {
        "XLA_FLAGS": xla_flags(
            os.environ.get("XLA_FLAGS", ""), importlib.metadata.version("jaxlib"), _has_avx512()
        )
    }
    name, version = platform.libc_ver()
    new = name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= (2, 35)
    if new and "GLIBC_TUNABLES" not in os.environ:
        variables["GLIBC_TUNABLES"] = ":".join(f"{key}={value}" for key, value in _MALLOC.items())
    return variables


def trim_memory() -> None:
    """Return memory that is no longer used to the system, where malloc is glibc's.

    A compiler's memory lies in many small pieces between others, and is needed again by nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


# Unknown flags end the process, so only for the versions of jaxlib that they were tried with.
_KNOWN_JAXLIB = ("0.10.",)


def xla_flags(given: str, jaxlib: str, avx512: bool) -> str:
    """`given`, a user's XLA_FLAGS, and those that it does not mention and physjax is faster with.

    Args:
      given: flags already set; they stay as they are.
      jaxlib: its version.
      avx512: whether the CPU has AVX-512, of which LLVM uses half the width unless told otherwise.
    """
    # Which sequence of operations is planned: this one needs a third less memory for temporary
    # arrays, and takes no longer.
    wanted = {"--xla_cpu_enable_concurrency_optimized_scheduler": "false"}
    if avx512:
        wanted["--xla_cpu_prefer_vector_width"] = "512"
    # Where XLA_FLAGS is no list of flags it is the name of a file that holds them.
    is_file = bool(given) and not given.lstrip().startswith("-")
    if is_file or not jaxlib.startswith(_KNOWN_JAXLIB):
        return given
    more = [f"{flag}={value}" for flag, value in wanted.items() if flag not in given]
    return " ".join([*given.split(), *more])


def _has_avx512() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and " avx512f " in info.read_text(encoding="utf-8")


def configure(restart: bool = False) -> None:
    """Fit malloc and XLA to large arrays, and keep compiled programs on disk.

    A program calls this before it imports JAX. What the user has set (GLIBC_TUNABLES, XLA_FLAGS,
    JAX_COMPILATION_CACHE_DIR) is left as it is.

    Args:
      restart: start the program again, once, in the same process (number, terminal, files): malloc
        reads its settings only then. What it has done until now is done twice. Nothing happens
        where the program is not a file that Python was started with, like a notebook or standard
        input, or where somebody is looking into it: a debugger, a profiler, `python -i`.

    Raises:
      UserError: XLA_FLAGS has a flag that XLA does not know, or names a file that is not there; or
        there is no home folder to cache in.
    """
    _check_flags(os.environ.get("XLA_FLAGS", ""))
    if "jax" not in sys.modules:
        wanted = environment()
        tunables = wanted.pop("GLIBC_TUNABLES", None)
        os.environ.update(wanted)
        if restart and tunables is not None and _can_restart():
            os.environ["GLIBC_TUNABLES"] = tunables
            sys.stdout.flush()
            sys.stderr.flush()
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    try:
        import jax
    except ValueError as error:
        # A JAX_... variable in the environment with a value that JAX does not know.
        raise UserError(f"JAX refuses its settings in the environment: {error}") from error

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_root() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def require_devices() -> None:
    """Find the devices now, after the other hosts where there are any.

    Raises:
      UserError: there is nothing of what JAX_PLATFORMS asks for.
    """
    import jax

    try:
        jax.devices()
    # An assertion of JAX's own where the one platform asked for is known, but not installed.
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(
            f"JAX finds none of the devices that JAX_PLATFORMS={asked} asks for"
            f"{f' ({error})' if str(error) else ''}; unset it, or install JAX for that device"
        ) from error


def require_32_bits() -> None:
    """Raise UserError where JAX would compute in 64 bits, which no train step is compiled for."""
    import jax

    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise UserError(
            "JAX_ENABLE_X64 is set, and runs are computed in 32 bits (or --precision bf16): what "
            "they gave would be neither; unset it"
        )


def _check_flags(flags: str) -> None:
    """Refuse XLA_FLAGS for which XLA would end the process, in its own words."""
    if flags.strip() and not flags.lstrip().startswith("-") and not Path(flags).is_file():
        raise UserError(
            f"XLA_FLAGS is {flags!r}, which is neither a list of flags like --xla_x=1 nor a file "
            "that holds one; unset it"
        )
    unknown = _unknown_flags(re.findall(r"(?:^|\s)--(xla_\w+)", flags))
    if unknown:
        raise UserError(
            f"XLA_FLAGS has --{unknown[0]}, which XLA does not know (jaxlib {_version('jaxlib')}); "
            "take it out"
        )


def _unknown_flags(names: Sequence[str]) -> list[str]:
    """Those of `names` that do not stand in XLA's library, where the name of each flag does."""
    spec = importlib.util.find_spec("jaxlib") if names else None
    if spec is None or spec.origin is None:
        return []
    library = Path(spec.origin).with_name("libjax_common.so")
    if not library.is_file():
        return []
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return [name for name in names if text.find(b"\0%b\0" % name.encode()) < 0]


def _can_restart() -> bool:
    """Whether this process runs one program from a file, unobserved, from Python's command line."""
    observed = sys.gettrace() or sys.getprofile() or sys.flags.interactive
    if observed or os.environ.get("PYTHONINSPECT"):
        return False
    main = sys.modules.get("__main__")
    name, is_module = _program(sys.orig_argv[1:])
    if is_module:
        spec = getattr(main, "__spec__", None)
        return spec is not None and spec.name in (name, f"{name}.__main__")
    file = getattr(main, "__file__", None)
    return name is not None and file is not None and Path(name).resolve() == Path(file).resolve()


def _program(words: list[str]) -> tuple[str | None, bool]:
    """The file or module that Python was started with, and whether it is a module.

    Found among the words after `python`. (None, False) for -c, standard input, and options that
    are not known here.
    """
    rest = iter(words)
    for word in rest:
        if word == "-m":
            return next(rest, None), True
        if word in ("-X", "-W", "--check-hash-based-pycs"):
            next(rest, None)
        elif not word.startswith("-"):
            return word, False
        elif word == "-" or (not word.startswith(("-X", "-W")) and set(word) & set("mci")):
            return None, False
    return None, False


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide what a run computes."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # A checkout on PYTHONPATH, or a bundle without metadata: it computes all the same.
        return "unknown"


def device_facts(count: int) -> dict[str, Any]:
    """What the `count` devices of a run are: platform, kind, count, hosts, and a host's cores."""
    import jax

    device = jax.local_devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": count,
        "hosts": jax.process_count(),
        "host_cores": os.cpu_count(),
    }


def peak_memory_mib() -> float:
    """Most memory in use so far, in MiB: the accelerator's, or on a CPU this process's."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    # ru_maxrss counts KiB, on macOS bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
