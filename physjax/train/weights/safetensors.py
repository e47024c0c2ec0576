"""What `physjax export --to safetensors` wrote, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flax.traverse_util import unflatten_dict

from physjax.config import Config, ConfigError, from_dict
from physjax.train.weights.errors import WeightsError, needed

KEY = "physjax"
"""Under which the metadata says what the arrays are."""


@dataclass(frozen=True, eq=False)
class Exported:
    """An export of physjax."""

    config: Config
    """Of the run."""
    facts: dict[str, Any]
    """What the network must know of images, by the names of `DatasetInfo`."""
    folded: bool
    """Whether forces were merged into the kernels and biases."""
    variables: dict[str, Any]
    """`params` and, with a norm, `batch_stats`: NumPy arrays."""


def array_names(path: Path) -> tuple[str, ...]:
    """The names of the arrays in a safetensors file. Raises WeightsError where it is none."""
    library = needed("safetensors")
    try:
        with library.safe_open(path, "np") as file:
            return tuple(file.keys())
    # A file that is damaged, or of another kind, ends in many ways.
    except Exception as error:
        raise WeightsError(
            f"{path} is no safetensors file, or cut off ({type(error).__name__}: {error})"
        ) from error


def read_exported(path: Path) -> Exported:
    """The export in a file.

    Raises:
      WeightsError: safetensors is not installed; or the file is damaged, or holds something else.
      ConfigError: its config is none.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    library = needed("safetensors")
    try:
        with library.safe_open(path, "np") as file:
            text = file.metadata()[KEY]
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(text)
        config = from_dict(about["config"], str(path))
        facts: dict[str, Any] = dict(about["data"])
        facts |= {key: tuple(x) for key, x in facts.items() if isinstance(x, list)}
        return Exported(config, facts, bool(about["folded"]), unflatten_dict(arrays, sep="."))
    except ConfigError:
        raise
    # What is missing, damaged or of another program ends in many ways.
    except Exception as error:
        raise WeightsError(
            f"{path} is no export of physjax ({type(error).__name__}: {error})"
        ) from error
