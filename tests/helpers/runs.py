"""Runs that take seconds, and what is compared of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from physjax.config import RECIPES, Config
from physjax.records import EpochRecord, RunFolder


def configure(folder: Path, **parts: dict[str, Any]) -> Config:
    """20 images a batch, 10 steps an epoch, 2 epochs, the smallest network, one device."""
    defaults: dict[str, dict[str, Any]] = {
        "model": {"name": "cnn", "law": "ring", "width": 0.1, "dropout": 0.2},
        "optim": {"batch_size": 20},
        "run": {"runs_dir": str(folder), "devices": 1, "name": "run"},
    }
    merged = {
        part: {**defaults.get(part, {}), **parts.get(part, {})} for part in {*defaults, *parts}
    }
    base = RECIPES["smoke"]
    return dataclasses.replace(
        base, **{k: dataclasses.replace(getattr(base, k), **v) for k, v in merged.items()}
    )


def parameters(folder: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, as Orbax gives it without being told what to expect."""
    import orbax.checkpoint as ocp

    newest = max(int(p.name) for p in folder.iterdir() if p.name.isdigit())
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(folder.absolute() / str(newest) / "state")
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(value) for path, value in flat}


def without_times(epochs: tuple[EpochRecord, ...]) -> list[EpochRecord]:
    return [dataclasses.replace(e, seconds=0.0, images_per_second=0.0) for e in epochs]


def assert_same(run: Path, reference: Path) -> None:
    """The records of two runs, but for times, and their last parameters are equal in every bit."""
    found, wanted = (RunFolder(path).read() for path in (run, reference))
    assert without_times(found.epochs) == without_times(wanted.epochs)
    a, b = (parameters(path / "checkpoints") for path in (reference, run))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
