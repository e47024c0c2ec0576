"""The arrays alone, by their names, as safetensors; what to do with them stands in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from physjax import files
from physjax.config import to_dict
from physjax.data import DatasetInfo
from physjax.export.format import ExportFormat
from physjax.export.network import PortableNetwork, portable_model
from physjax.models import image_size
from physjax.train.weights.errors import WeightsError, needed
from physjax.train.weights.names import flat
from physjax.train.weights.safetensors import KEY, read_exported

_USAGE = """\
from safetensors.numpy import load_file

arrays = load_file("NAME")  # {"params.conv1.kernel": ..., ...}

# With physjax:
from physjax.export import read_safetensors

logits = read_safetensors("NAME").predict(images)
"""
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
    begun = config.model.start_from
    config = config.replace(
        data={"data_dir": None, "cache_dir": None},
        model={"start_from": None if begun is None else PurePath(begun).name},
        run={"runs_dir": "runs", "plugins": ()},
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
    metadata = {"format": "np", KEY: json.dumps(about)}
    files.atomic_write(path, numpy.save(arrays, metadata))


def read_safetensors(path: str | Path) -> PortableNetwork:
    """The network in a file that :func:`write` wrote.

    Raises:
      WeightsError: safetensors is not installed; or the file is damaged, or holds something else.
      ConfigError: its base or force law is not here.
    """
    path = Path(path)
    read = read_exported(path)
    info = _info(read.facts, path)
    return PortableNetwork(
        read.config,
        info,
        read.variables,
        portable_model(read.config, info.num_classes, read.folded),
        image_size(read.config.model),
        read.folded,
        source=str(path),
    )


def _info(facts: Mapping[str, Any], path: Path) -> DatasetInfo:
    try:
        return DatasetInfo(**facts, source=str(path), notice="")
    except TypeError as error:
        raise WeightsError(f"{path} is no export of physjax ({error})") from error


SAFETENSORS = ExportFormat(
    name="safetensors",
    suffix=".safetensors",
    holds="Parameters and running statistics by their names in physjax, kernels as [height, width, "
    "in, out]; the configuration is in the metadata.",
    usage=_USAGE,
    write=write,
    read=read_safetensors,
)
