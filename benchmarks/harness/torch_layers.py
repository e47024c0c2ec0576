"""What the PyTorch networks are made of, as in physjax, and how they take its parameters over.

Modules are named as in physjax, so that its parameters find their places (:func:`load`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from physjax.config import ModelConfig
from physjax.train.whitening import EPSILON

LAWS = ("none", "ring")
"""The force laws that this side has."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": partial(nn.GELU, "tanh"),
    "celu": partial(nn.CELU, 0.3),
}
"""The nonlinearities by their names in a config."""


class RingForce(nn.Module):
    """The ring force: s (f[c-1] + f[c+1]) added to channel c."""

    def __init__(self, channels: int, strength: float, learn_strength: bool) -> None:
        super().__init__()
        self.interaction_strength = nn.Parameter(torch.tensor(strength), learn_strength)
        self.neighbor_forces = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        forces = self.neighbor_forces
        pull = self.interaction_strength * (forces.roll(1) + forces.roll(-1))
        return x + pull[None, :, None, None]


class Norm(nn.BatchNorm2d):
    """Batch norm over N, H and W, with or without a learned factor.

    Args:
      channels: C.
      scale: whether there is a factor beside the bias.
      momentum: of the running statistics, as in physjax: the part that an update keeps.
    """

    def __init__(self, channels: int, scale: bool, momentum: float) -> None:
        super().__init__(channels, momentum=1 - momentum, affine=scale)
        if not scale:
            self.bias = nn.Parameter(torch.zeros(channels))


class Layer(nn.Module):
    """Convolution, norm, force, activation and pool, as in physjax.nn.physics.PhysicsLayer."""

    def __init__(
        self,
        channels: int,
        features: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        config: ModelConfig,
        activation: bool = True,
        pool: nn.Module | None = None,
    ) -> None:
        super().__init__()
        normed = config.norm == "batch"
        self.conv = nn.Conv2d(channels, features, kernel, stride, kernel // 2, bias=not normed)
        self.pool, self.pool_first = pool or nn.Identity(), config.pool_first
        self.norm = norm_of(config, features)
        self.force = (
            RingForce(features, config.interaction_strength, config.learn_strength)
            if law_of(config) == "ring"
            else nn.Identity()
        )
        self.activation = ACTIVATIONS[config.activation]() if activation else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.pool_first:
            return self.activation(self.force(self.norm(self.pool(x))))
        return self.pool(self.activation(self.force(self.norm(x))))


class PixelsLinear(nn.Linear):
    """The dense layer behind the convolutions: its inputs are pixels, channel by channel."""

    def __init__(self, channels: int, side: int, features: int) -> None:
        super().__init__(channels * side * side, features)
        self.pixels = side * side


class Head(PixelsLinear):
    """The last dense layer; its outputs are multiplied by `scale`."""

    def __init__(self, channels: int, side: int, classes: int, scale: float) -> None:
        super().__init__(channels, side, classes)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * super().forward(x)


class Maker:
    """What the networks are made with: a config's layers, and its widths.

    Args:
      config: of the network.
      classes: K.
    """

    def __init__(self, config: ModelConfig, classes: int) -> None:
        self.config, self.classes = config, classes
        self.layer = partial(Layer, config=config)

    def channels(self, count: int) -> int:
        """`count` channels times the width, at least 4, as in physjax."""
        return max(4, round(count * self.config.width))

    def norm(self, channels: int) -> nn.Module:
        """A norm that stands alone."""
        return norm_of(self.config, channels)

    def activation(self) -> nn.Module:
        """The nonlinearity."""
        return ACTIVATIONS[self.config.activation]()

    def head(self, channels: int, side: int = 1) -> nn.Module:
        """The last dense layer, on images of that side."""
        return Head(channels, side, self.classes, self.config.logit_scale)

    def drop(self) -> nn.Module:
        """Dropout before a dense layer."""
        return nn.Dropout(self.config.dropout)

    def mean_head(self, channels: int) -> dict[str, nn.Module]:
        """The mean over pixels, dropout, and a dense layer."""
        return {
            "mean": nn.AdaptiveAvgPool2d(1),
            "flat": nn.Flatten(),
            "drop": self.drop(),
            "fc": self.head(channels),
        }


def sequential(parts: Mapping[str, nn.Module]) -> nn.Sequential:
    """Modules one after the other, by name."""
    network = nn.Sequential()
    for name, part in parts.items():
        network.add_module(name, part)
    return network


def law_of(config: ModelConfig) -> str:
    """The force law that `config` asks for; the name `physics` is AlexNet with the ring."""
    if config.law != "default":
        return config.law
    return "ring" if config.name == "physics" else "none"


def norm_of(config: ModelConfig, channels: int) -> nn.Module:
    """The norm that `config` asks for."""
    if config.norm == "none":
        return nn.Identity()
    return Norm(channels, config.norm_scale, config.norm_momentum)


def start(network: nn.Module, config: ModelConfig) -> None:
    """Kernels and biases as physjax starts them.

    Kernels are He-normal, cut at two deviations, or in layers pass the first inputs on, and biases
    are zero; or all are uniform within one over the root of the fan-in.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # 0.8796 is the standard deviation of a standard normal cut at two deviations.
            deviation = (2 / module.weight[0].numel()) ** 0.5 / 0.87962566103423978
            cut = 2 * deviation
            nn.init.trunc_normal_(module.weight, std=deviation, a=-cut, b=cut)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if config.kernel_start == "uniform":
                bound = module.weight[0].numel() ** -0.5
                for values in module.parameters():
                    nn.init.uniform_(values, -bound, bound)
    if config.kernel_start == "dirac":
        for module in network.modules():
            if isinstance(module, Layer):
                weight = module.conv.weight
                nn.init.dirac_(weight.data[: weight.shape[1]])


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """The one that sees the images."""
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))


def whiten(convolution: nn.Conv2d, images_NCHW: torch.Tensor) -> None:
    """The first outputs become the images' whitened patches, each with both signs.

    As `physjax.train.whitening`, on normalised images.
    """
    count, window = convolution.out_channels, convolution.kernel_size
    patches = nn.functional.unfold(images_NCHW, window).mT.flatten(0, 1).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + EPSILON).sqrt()).T.flip(0)[: count // 2].float()
    pairs = torch.stack([filters, -filters], 1).flatten(0, 1)
    convolution.weight.data[: len(pairs)] = pairs.unflatten(1, convolution.weight.shape[1:])


_TORCH_NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def load(network: nn.Module, variables: Mapping[str, Any]) -> None:
    """Copy physjax's `params` and `batch_stats` into `network`, all of it.

    Raises:
      KeyError: a variable that has no place in the network, or a place that gets none.
    """
    state = network.state_dict()
    left = {name for name in state if not name.endswith("num_batches_tracked")}
    for collection in ("params", "batch_stats"):
        for path, value in _leaves(variables.get(collection, {})):
            *stem, last = path
            last = _TORCH_NAMES.get(last, last)
            names = (".".join([*stem, *inner, last]) for inner in ([], ["conv"], ["force"]))
            name = next((name for name in names if name in left), None)
            if name is None:
                raise KeyError(f"{'/'.join(path)} has no place in the PyTorch network")
            module = network.get_submodule(name.rpartition(".")[0])
            state[name].copy_(_in_torchs_order(module, np.asarray(value)))
            left.remove(name)
    if left:
        raise KeyError(f"nothing was given for {', '.join(sorted(left))}")


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _leaves(value, (*path, name))
    else:
        yield path, tree


def _in_torchs_order(module: nn.Module, value: np.ndarray) -> torch.Tensor:
    """HWIO -> OIHW, [in, out] -> [out, in], and pixels channel by channel."""
    if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    elif value.ndim == 2:
        if isinstance(module, PixelsLinear):
            pixels_first = value.reshape(module.pixels, -1, value.shape[1])
            value = pixels_first.swapaxes(0, 1).reshape(value.shape)
        value = value.T
    return torch.from_numpy(np.array(value))
