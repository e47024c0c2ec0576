"""PyTorch: a state dict with the names of torchvision's AlexNet, and such weights taken in.

The paper-size AlexNet is torchvision's `alexnet`, layer by layer. PyTorch has kernels as [out, in,
height, width] and dense ones as [out, in], and flattens channels first.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax import files
from physjax.config import recipe
from physjax.data import DatasetInfo, augment
from physjax.export.format import ExportError, ExportFormat, needed
from physjax.export.network import PortableNetwork
from physjax.models import build, get_spec, image_size
from physjax.models.builder import BATCH_NORM_EPSILON

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
_POOLED = ("conv1", "conv2", "conv5")
_HEAD = (6, 6)
"""Rows and columns that the first dense layer sees."""
RESIZED = 256
"""Side in pixels of what torchvision's preprocessing cuts the middle 224 of."""

Arrays = dict[str, npt.NDArray[np.float32]]

_USAGE = """\
import torch
from torchvision.models import alexnet

network = alexnet(num_classes=CLASSES)
network.load_state_dict(torch.load("NAME", weights_only=True))
network.eval()
pixels = torch.as_tensor(images).permute(0, 3, 1, 2) / 255
pixels = torch.nn.functional.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear")
mean, deviation = torch.tensor([MEAN]), torch.tensor([DEVIATION])
inputs = (pixels[..., MIDDLE, MIDDLE] - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
logits = network(inputs)
"""


def write(network: PortableNetwork, path: Path) -> None:
    """Write the state dict by `torch.save`.

    Raises:
      ExportError: PyTorch is not installed, or the network is not the plain AlexNet in the
        paper's size.
    """
    # A network that has no place there is refused before anybody installs PyTorch for it.
    arrays = state_dict(network)
    torch = needed("torch", "bench")
    state = {
        name: torch.from_numpy(np.array(array, np.float32, order="C"))
        for name, array in arrays.items()
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.atomic_write(path, buffer.getvalue())


def state_dict(network: PortableNetwork) -> Arrays:
    """The network's arrays under the names of torchvision's AlexNet.

    A batch norm is folded into kernel and bias.
    """
    model = network.config.model
    problem = ""
    if (get_spec(model).alias_of or model.name) != "alexnet" or model.size != "imagenet":
        problem = f"it is {model.name}, size {model.size}"
    elif model.law != "none" and not network.folded:
        problem = f"its force law {model.law} is not folded"
    elif model.activation != "relu" or model.width != 1:
        problem = f"its activation is {model.activation}, its width {model.width:g}"
    if problem:
        raise ExportError(
            f"torch holds the plain AlexNet in its original size (--model alexnet --size imagenet, "
            f"ReLU, width 1), which torchvision has too, but {problem}; onnx, stablehlo and "
            "safetensors hold any network"
        )
    params, statistics = network.variables["params"], network.variables.get("batch_stats", {})
    state: Arrays = {}
    for layer, name in NAMES.items():
        kernel, bias = np.asarray(params[layer]["kernel"]), params[layer].get("bias")
        if "norm" in params[layer]:
            pooled_before = model.pool_first and layer in _POOLED
            kernel, bias = _without_norm(
                layer, kernel, params[layer]["norm"], statistics[layer]["norm"], pooled_before
            )
        if layer == "fc3":
            kernel, bias = kernel * model.logit_scale, np.asarray(bias) * model.logit_scale
        state[f"{name}.weight"] = _to_torch(layer, kernel)
        state[f"{name}.bias"] = np.asarray(bias, np.float32)
    return state


def _without_norm(
    layer: str,
    kernel: npt.NDArray[np.float32],
    norm: Mapping[str, Any],
    statistics: Mapping[str, Any],
    pooled_before: bool,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Kernel and bias of a convolution and the batch norm behind it."""
    scale = 1 / np.sqrt(np.asarray(statistics["var"], np.float64) + BATCH_NORM_EPSILON)
    scale = scale * np.asarray(norm.get("scale", 1.0))
    if pooled_before and (scale < 0).any():
        raise ExportError(
            f"{layer} pools before its norm, which turns a channel round: no convolution that is "
            "followed by a pool does the same"
        )
    bias = np.asarray(norm["bias"]) - np.asarray(statistics["mean"]) * scale
    return (kernel * scale).astype(np.float32), bias.astype(np.float32)


def _to_torch(layer: str, kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if kernel.ndim == 4:
        return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    if layer == "fc1":
        spread = kernel.reshape(*_HEAD, -1, kernel.shape[1])
        return np.ascontiguousarray(spread.transpose(3, 2, 0, 1).reshape(kernel.shape[1], -1))
    return np.ascontiguousarray(kernel.T)


def _from_torch(layer: str, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if weight.ndim == 4:
        return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    if layer == "fc1":
        spread = weight.reshape(weight.shape[0], -1, *_HEAD)
        return np.ascontiguousarray(spread.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]))
    return np.ascontiguousarray(weight.T)


def read_torch(path: str | Path) -> dict[str, Any]:
    """Weights of torchvision's AlexNet, as flax variables: `{"params": {"conv1": {...}, ...}}`.

    Args:
      path: of a state dict that `torch.save` wrote, or of safetensors with the same names.

    Raises:
      ExportError: what reads the file is not installed; or it is damaged, or of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file")
    state = _arrays(path)
    params: dict[str, Any] = {}
    for layer, name in NAMES.items():
        shapes = []
        for part in ("weight", "bias"):
            if f"{name}.{part}" not in state:
                raise ExportError(
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
            raise ExportError(
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
        torch = needed("torch", "bench")
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in state.items()}
    except ExportError:
        raise
    # A damaged file, or pickles of more than arrays, end in many ways.
    except Exception as error:
        text = " ".join(str(error).split())[:150]
        raise ExportError(
            f"{path} is no state dict of arrays ({type(error).__name__}: {text})"
        ) from error


def network_of_torch(path: str | Path, class_names: Sequence[str] | None = None) -> PortableNetwork:
    """torchvision's AlexNet with the weights in a file, and torchvision's preprocessing.

    It takes images of 256x256 pixels, cuts out the middle 224 and normalises as for ImageNet.

    Args:
      path: as of :func:`read_torch`.
      class_names: of the outputs; None: `class 0` and so on.

    Raises:
      ExportError: as :func:`read_torch`; or another number of names than of outputs.
    """
    variables = read_torch(path)
    count = len(variables["params"]["fc3"]["bias"])
    names = tuple(class_names or (f"class {index}" for index in range(count)))
    if len(names) != count:
        raise ExportError(f"{path} has {count} outputs, but {len(names)} class names are given")
    config = recipe("paper").replace(
        model={"name": "alexnet", "law": "none", "algorithm": "direct"}
    )
    info = DatasetInfo(
        name="imported",
        title=Path(path).name,
        num_classes=count,
        class_names=names,
        mean=augment.IMAGENET_MEAN,
        std=augment.IMAGENET_STD,
        mirror=True,
        version="1.0.0",
        source=str(path),
        fingerprint="",
        notice="",
        image_size=RESIZED,
        native=(RESIZED, RESIZED, 3),
    )
    return PortableNetwork(
        config,
        info,
        variables,
        build(config.model, count),
        image_size(config.model),
        folded=False,
        source=str(path),
    )


TORCH = ExportFormat(
    name="torch",
    suffix=".pth",
    holds="A PyTorch state dict with the names of torchvision's AlexNet; batch norms and forces "
    "are folded into kernels and biases.",
    usage=_USAGE,
    write=write,
    read=network_of_torch,
)
