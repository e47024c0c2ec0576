"""The origin of a run that is about to be made here: its code, JAX's settings, and this process."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax

from physjax import runtime
from physjax.config import Config
from physjax.data import DatasetInfo
from physjax.forces import get_law
from physjax.models import get_spec, law_name
from physjax.optimizers import get_optimizer
from physjax.records import RunRecord, provenance
from physjax.records.code_hash import code_of
from physjax.records.provenance import Code, Images, Origin, OriginError, Session, Weights
from physjax.rules import get_rule
from physjax.train.plugins import load_plugins, plugin_hashes

# Each changes random numbers, dtypes or how numbers are rounded. The rest of jax.config says how
# fast, how checked or where.
SETTINGS = (
    "jax_allow_f16_reductions",
    "jax_default_dtype_bits",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_enable_x64",
    "jax_explicit_x64_dtypes",
    "jax_high_dynamic_range_gumbel",
    "jax_numpy_dtype_promotion",
    "jax_optimization_level",
    "jax_random_seed_offset",
    "jax_softmax_custom_jvp",
    "jax_threefry_partitionable",
)


def current_origin(
    config: Config, images: DatasetInfo | None = None, weights: Weights | None = None
) -> Origin:
    """The origin of `config`'s run, were it made by this process.

    Args:
      config: of the run.
      images: those that it sees; None where they are not to be looked at.
      weights: those that it starts from; None where there are none, or they are not looked at.

    Raises:
      ConfigError: there is no such model or law.
      UserError: code was edited after it was imported.
    """
    plugins = plugin_hashes(config.run.plugins)
    seen = None if images is None else Images(images.name, images.fingerprint, images.source)
    return Origin(_code(config), _settings(), seen, (current_session(),), plugins, weights)


def _code(config: Config) -> dict[str, Code]:
    spec, law = get_spec(config.model), law_name(config.model)
    size = config.model.size
    # Other sizes and the law have no part in it, or one of their own.
    rest = dataclasses.replace(spec, networks={}, image_sizes={}, law="none", alias_of="")
    rule, optimizer = config.rule.update_rule, config.optim.optimizer
    base = spec.alias_of or spec.name
    return {
        f"base {base}": code_of(spec.networks[size], spec.image_sizes[size], rest),
        f"law {law}": code_of(get_law(law)),
        f"rule {rule}": code_of(get_rule(rule)),
        f"optimiser {optimizer}": code_of(get_optimizer(optimizer)),
    }


def _settings() -> dict[str, str | float | int | bool | None]:
    settings: dict[str, str | float | int | bool | None] = {}
    for name in SETTINGS:
        if name in jax.config.values:
            # By attribute also where a context manager has set it.
            value = getattr(jax.config, name, jax.config.values[name])
            plain = value is None or isinstance(value, str | float | int | bool)
            settings[name] = value if plain and not hasattr(value, "value") else str(value)
    return settings


def identity(origin: Origin) -> str:
    """A text that two origins share where nothing that decides a result differs, images and weights
    apart."""
    values = provenance.to_dict(origin)
    return json.dumps([values["code"], values["settings"]], sort_keys=True)


def check_code(path: Path, record: RunRecord, other_code: bool, log: Callable[[str], None]) -> None:
    """Compare the code and settings that the run in `path` was trained with, with those here.

    Args:
      path: how a message calls the run.
      record: of the run.
      other_code: take what differs.
      log: is told what differs then, and where nothing is known.

    Raises:
      OriginError: something differs, and `other_code` is not given.
    """
    load_plugins(record.config.run.plugins)
    if record.origin is None:
        log(f"{path} does not say by which code it was trained; it is taken for what is here")
        return
    differing = provenance.changes(record.origin, current_origin(record.config), ("law", "base"))
    if not differing:
        return
    if not other_code:
        raise OriginError(
            f"what is here is not what {path} was trained with: {'; '.join(differing)}; bring that "
            "back, or give --other-code"
        )
    log(f"CAUTION, not what was trained: {'; '.join(differing)}")


@functools.cache
def current_session() -> Session:
    """This process."""
    commit, dirty = _git(Path(__file__).resolve().parent)
    return Session(
        started=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        host=platform.node(),
        pid=os.getpid(),
        command=shlex.join(sys.orig_argv),
        commit=commit,
        dirty=dirty,
        versions=runtime.versions(),
        xla_flags=os.environ.get("XLA_FLAGS", ""),
    )


def _git(package: Path) -> tuple[str | None, bool | None]:
    """The commit that a package lies at, and whether it differs; None where no git knows it."""

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.strip()

    try:
        # A checkout of something else around an installed package says nothing about it.
        ask("ls-files", "--error-unmatch", "__init__.py")
        return ask("rev-parse", "HEAD"), bool(ask("status", "--porcelain", "--", "."))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None, None
