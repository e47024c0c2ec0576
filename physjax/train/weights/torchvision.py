"""Weights of torchvision's AlexNet, which is the AlexNet of the paper's size layer by layer.

PyTorch has kernels as [out, in, height, width] and dense ones as [out, in], and flattens channels
first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax.train.weights.errors import WeightsError, needed

NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc1": "classifier.1",
    "fc2": "classifier.4",
    "fc3": "classifier.6",
}
"""Layers here, and in torchvision's AlexNet."""
HEAD = (6, 6)
"""Rows and columns that the first dense layer sees."""

Arrays = dict[str, npt.NDArray[np.float32]]


def _from_torch(layer: str, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if weight.ndim == 4:
        return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    if layer == "fc1":
        spread = weight.reshape(weight.shape[0], -1, *HEAD)
        return np.ascontiguousarray(spread.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]))
    return np.ascontiguousarray(weight.T)


def read_torch(path: str | Path) -> dict[str, Any]:
    """Weights of torchvision's AlexNet, as flax variables: `{"params": {"conv1": {...}, ...}}`.

    Args:
      path: of a state dict that `torch.save` wrote, or of safetensors with the same names.

    Raises:
      WeightsError: what reads the file is not installed; or it is damaged, or of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    state = _arrays(path)
    params: dict[str, Any] = {}
    for layer, name in NAMES.items():
        shapes = []
        for part in ("weight", "bias"):
            if f"{name}.{part}" not in state:
                raise WeightsError(
                    f"{path} has no {name}.{part}: it is no AlexNet with torchvision's names; it "
                    f"has {', '.join(list(state)[:4]) or 'nothing'}, ..."
                )
            shapes.append(state[f"{name}.{part}"].shape)
        wanted = _SHAPES[layer]
        if (
            shapes[0][1:] != wanted[1:]
            or shapes[1] != shapes[0][:1]
            or (layer != "fc3" and shapes[0] != wanted)
        ):
            raise WeightsError(
                f"{path}: {name}.weight has the shape {list(shapes[0])}, and not {list(wanted)}: "
                "it is another network"
            )
        params[layer] = {
            "kernel": _from_torch(layer, state[f"{name}.weight"]),
            "bias": state[f"{name}.bias"],
        }
    return {"params": params}


_SHAPES: dict[str, tuple[int, ...]] = {
    "conv1": (64, 3, 11, 11),
    "conv2": (192, 64, 5, 5),
    "conv3": (384, 192, 3, 3),
    "conv4": (256, 384, 3, 3),
    "conv5": (256, 256, 3, 3),
    "fc1": (4096, 9216),
    "fc2": (4096, 4096),
    "fc3": (1000, 4096),
}
"""Of torchvision's weights; the last layer may have another number of classes."""


def _arrays(path: Path) -> Arrays:
    """The arrays in a file, as float32."""
    try:
        if path.suffix == ".safetensors":
            return dict(needed("safetensors.numpy").load_file(path))
        torch = needed("torch", None)
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in state.items()}
    except WeightsError:
        raise
    # A damaged file, or pickles of more than arrays, end in many ways.
    except Exception as error:
        text = " ".join(str(error).split())[:150]
        raise WeightsError(
            f"{path} is no state dict of arrays ({type(error).__name__}: {text})"
        ) from error
