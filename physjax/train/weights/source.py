"""What weights there are to start from: which kind they are, and of which network.

A file of `physjax export --to safetensors`, weights of torchvision's AlexNet, or the folder of a
run that has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from physjax import files
from physjax.config import Config, recipe
from physjax.records import RecordError, RunFolder
from physjax.train import multihost
from physjax.train.checkpoint import Checkpoints
from physjax.train.ended import dataset_info, restore
from physjax.train.setup import TrainSetup
from physjax.train.weights.errors import WeightsError
from physjax.train.weights.safetensors import array_names, read_exported
from physjax.train.weights.torchvision import NAMES, read_torch

_OF_TORCH = (".pth", ".pt")
"""How the names of files end that `torch.save` wrote."""


@dataclass(frozen=True, eq=False)
class Source:
    """Weights, and the network that they are of."""

    config: Config
    """Of the run that trained them; of torchvision's AlexNet what makes the same network here."""
    variables: Mapping[str, Any]
    """`params` and, with a norm, `batch_stats`: NumPy arrays."""
    folded: bool
    """Whether forces were merged into the kernels and biases."""


def digest_of(path: Path) -> str | None:
    """A SHA-256 of the weights at `path`: of the file, or of a run's last checkpoint.

    None where nothing is there any more.

    Raises:
      UserError: what is there is neither a file nor a run that has ended.
    """
    if path.is_dir():
        folder = RunFolder(path)
        if not folder.checkpoints.is_dir() and folder.read_result() is not None:
            return None
        return _seal(folder)
    if not path.is_file():
        if path.exists():
            raise WeightsError(f"{path} is neither a file nor a folder")
        return None
    with files.naming(path, "read"):
        facts = path.stat()
        return _of_file(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=64)
def _of_file(path: Path, changed: int, size: int) -> str:
    """Of a file as it was at that time: a study asks again for each of its runs."""
    del changed, size
    return files.file_sha256(path)


def _seal(folder: RunFolder) -> str:
    step = _last_step(folder)
    store = Checkpoints(folder.checkpoints, read_only=True)
    try:
        return store.seal(step)
    finally:
        store.close()


def _last_step(folder: RunFolder) -> int:
    folder.read_config()
    result = folder.read_result()
    if result is None:
        raise RecordError(f"{folder.path} has not ended: finish that run before you start from it")
    return result.steps


def read_source(path: Path) -> Source:
    """The weights at `path`.

    Raises:
      UserError: there are none, or they are damaged or of another kind; `path` is named.
    """
    if path.is_dir():
        return _of_run(RunFolder(path))
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file or folder to start from")
    if path.suffix in _OF_TORCH or f"{NAMES['conv1']}.weight" in array_names(path):
        return Source(_torchvision(), read_torch(path), folded=True)
    read = read_exported(path)
    return Source(read.config, read.variables, read.folded)


def _torchvision() -> Config:
    return recipe("paper").replace(model={"name": "alexnet", "law": "none"})


def _of_run(folder: RunFolder) -> Source:
    if multihost.is_multihost():
        raise WeightsError(
            f"{folder.path} is the folder of a run, and several hosts start from a file: physjax "
            f"export {folder.path} --to safetensors"
        )
    step = _last_step(folder)
    record = folder.read()
    assert record.result is not None
    facts = record.result.data
    setup = TrainSetup(record.config, dataset_info(facts), facts.examples["train"])
    variables = restore(setup, folder.checkpoints, step)
    return Source(record.config, jax.tree.map(np.asarray, variables), folded=False)
