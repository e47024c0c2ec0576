"""The process around JAX: settings that must stand before its first use, and what it runs on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

_PACKAGES = ("physjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def cache_root(folder: str | None = None) -> Path:
    """`folder`, else $PHYSJAX_CACHE, else ~/.cache/physjax."""
    return Path(folder or os.environ.get("PHYSJAX_CACHE") or "~/.cache/physjax").expanduser()


def configure() -> None:
    """Keep compiled programs on disk from run to run; a command calls this before it does more.

    A cache folder of the user's own (JAX_COMPILATION_CACHE_DIR) is left as it is.
    """
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_root() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide what a run computes."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


def device_facts(count: int) -> dict[str, Any]:
    """What `count` local devices are: platform, kind, count, and the host's cores."""
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
