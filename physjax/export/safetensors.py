"""The arrays alone, by their names, as safetensors; what to do with them stands in the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from physjax import files
from physjax.config import ConfigError, from_dict, to_dict
from physjax.data import DatasetInfo
from physjax.export.format import ExportError, ExportFormat, needed
from physjax.export.network import PortableNetwork, flat, nested, portable_model
from physjax.models import image_size

_USAGE = """\
from safetensors.numpy import load_file

arrays = load_file("NAME")  # {"params.conv1.kernel": ..., ...}

# With physjax:
from physjax.export import read_safetensors

logits = read_safetensors("NAME").predict(images)
"""
_KEY = "physjax"
"""Under which the metadata says what the arrays are."""


_FACTS = (
    "name",
    "title",
    "class_names",
    "mean",
    "std",
    "mirror",
    "version",
    "fingerprint",
    "image_size",
    "native",
)


def write(network: PortableNetwork, path: Path) -> None:
    """Write parameters and statistics, float32, under names like `params.conv1.kernel`."""
    numpy = needed("safetensors.numpy")
    arrays = {
        name: np.array(x, np.float32, order="C") for name, x in flat(network.variables).items()
    }
    config, info = network.config, network.info
    config = config.replace(
        data={"data_dir": None, "cache_dir": None}, run={"runs_dir": "runs", "plugins": ()}
    )
    about = {
        "config": to_dict(config),
        "folded": network.folded,
        "data": {
            **{key: getattr(info, key) for key in _FACTS},
            "num_classes": len(info.class_names),
        },
    }
    # The name "format" is what other programs look at.
    metadata = {"format": "np", _KEY: json.dumps(about)}
    files.atomic_write(path, numpy.save(arrays, metadata))


def read_safetensors(path: str | Path) -> PortableNetwork:
    """The network in a file that :func:`write` wrote.

    Raises:
      ExportError: safetensors is not installed; or the file is damaged, or holds something else.
      ConfigError: its base or force law is not here.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file")
    library = needed("safetensors")
    try:
        with library.safe_open(path, "np") as file:
            text = file.metadata()[_KEY]
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(text)
        config = from_dict(about["config"], str(path))
        facts: dict[str, Any] = dict(about["data"])
        facts |= {key: tuple(x) for key, x in facts.items() if isinstance(x, list)}
        info, folded = DatasetInfo(**facts, source=str(path), notice=""), bool(about["folded"])
    except ConfigError:
        raise
    # What is missing, damaged or of another program ends in many ways.
    except Exception as error:
        raise ExportError(
            f"{path} is no export of physjax ({type(error).__name__}: {error})"
        ) from error
    return PortableNetwork(
        config,
        info,
        nested(arrays),
        portable_model(config, info.num_classes, folded),
        image_size(config.model),
        folded,
        source=str(path),
    )


SAFETENSORS = ExportFormat(
    name="safetensors",
    suffix=".safetensors",
    holds="Parameters and running statistics by their names in physjax, kernels as [height, width, "
    "in, out]; the configuration is in the metadata.",
    usage=_USAGE,
    write=write,
    read=read_safetensors,
)
