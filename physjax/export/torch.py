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
from physjax.export.format import ExportError, ExportFormat
from physjax.export.network import PortableNetwork
from physjax.models import build, get_spec, image_size
from physjax.models.builder import BATCH_NORM_EPSILON
from physjax.train.weights.errors import needed
from physjax.train.weights.torchvision import HEAD, NAMES, Arrays, read_torch

_POOLED = ("conv1", "conv2", "conv5")
RESIZED = 256
"""Side in pixels of what torchvision's preprocessing cuts the middle 224 of."""

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
      WeightsError: PyTorch is not installed.
      ExportError: the network is not the plain AlexNet in the paper's size.
    """
    # A network that has no place there is refused before anybody installs PyTorch for it.
    arrays = state_dict(network)
    torch = needed("torch", None)
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
        spread = kernel.reshape(*HEAD, -1, kernel.shape[1])
        return np.ascontiguousarray(spread.transpose(3, 2, 0, 1).reshape(kernel.shape[1], -1))
    return np.ascontiguousarray(kernel.T)


def network_of_torch(path: str | Path, class_names: Sequence[str] | None = None) -> PortableNetwork:
    """torchvision's AlexNet with the weights in a file, and torchvision's preprocessing.

    It takes images of 256x256 pixels, cuts out the middle 224 and normalises as for ImageNet.

    Args:
      path: as of :func:`read_torch`.
      class_names: of the outputs; None: `class 0` and so on.

    Raises:
      WeightsError: as :func:`read_torch`.
      ExportError: another number of names than of outputs.
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
