"""The base models for 32x32 images in PyTorch, written as PyTorch's users write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from harness.torch_layers import LAWS, Maker, PixelsLinear, law_of, sequential, start
from physjax.config import ConfigError, ModelConfig


def alexnet(make: Maker) -> nn.Module:
    """64-192-384-256-256."""
    parts: dict[str, nn.Module] = {}
    channels = 3
    for index, count in enumerate((64, 192, 384, 256, 256), 1):
        features = make.channels(count)
        pool = nn.MaxPool2d(2) if index in (1, 2, 5) else None
        parts[f"conv{index}"] = make.layer(channels, features, pool=pool)
        channels = features
    hidden = make.channels(512)
    parts |= {"flat": nn.Flatten(), "drop1": make.drop(), "fc1": PixelsLinear(channels, 4, hidden)}
    parts |= {"activation": make.activation(), "drop2": make.drop(), "fc2": make.head(hidden)}
    return sequential(parts)


def cnn(make: Maker) -> nn.Module:
    """32-64-64."""
    first, second, hidden = make.channels(32), make.channels(64), make.channels(64)
    return sequential(
        {
            "conv1": make.layer(3, first, pool=nn.MaxPool2d(2)),
            "conv2": make.layer(first, second, pool=nn.MaxPool2d(2)),
            "conv3": make.layer(second, second),
            "flat": nn.Flatten(),
            "drop": make.drop(),
            "fc1": PixelsLinear(second, 8, hidden),
            "activation": make.activation(),
            "fc2": make.head(hidden),
        }
    )


def vgg5(make: Maker) -> nn.Module:
    """128-256-512-512-512, a pool after each but the first."""
    parts: dict[str, nn.Module] = {}
    channels = 3
    for index, count in enumerate((128, 256, 512, 512, 512), start=1):
        features = make.channels(count)
        pool = nn.MaxPool2d(2) if index > 1 else None
        parts[f"conv{index}"] = make.layer(channels, features, pool=pool)
        channels = features
    parts |= {"flat": nn.Flatten(), "drop": make.drop(), "fc": make.head(channels, side=2)}
    return sequential(parts)


def vgg(make: Maker, depths: Sequence[int]) -> nn.Module:
    """VGG with a head of 512 units."""
    parts: dict[str, nn.Module] = {}
    channels = 3
    for stage, (count, depth) in enumerate(zip((64, 128, 256, 512, 512), depths, strict=True), 1):
        for index in range(1, depth + 1):
            features = make.channels(count)
            pool = nn.MaxPool2d(2) if index == depth else None
            parts[f"conv{stage}_{index}"] = make.layer(channels, features, pool=pool)
            channels = features
    hidden = make.channels(512)
    parts |= {"flat": nn.Flatten(), "fc1": nn.Linear(channels, hidden)}
    parts |= {"activation": make.activation(), "drop": make.drop(), "fc2": make.head(hidden)}
    return sequential(parts)


class Block(nn.Module):
    """ResNet's basic block; the shortcut is a projection, or strided pixels and zeros."""

    def __init__(
        self, make: Maker, channels: int, features: int, stride: int, project: bool
    ) -> None:
        super().__init__()
        self.conv1 = make.layer(channels, features, stride=stride)
        self.conv2 = make.layer(features, features, activation=False)
        self.activation = make.activation()
        self.stride, self.more = stride, features - channels
        changed = stride != 1 or self.more != 0
        self.shortcut = (
            make.layer(channels, features, 1, stride, activation=False)
            if changed and project
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(self.conv1(x))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride != 1 or self.more:
            x = x[:, :, :: self.stride, :: self.stride]
            half = self.more // 2
            x = nn.functional.pad(x, (0, 0, 0, 0, half, self.more - half))
        return self.activation(x + y)


def resnet(make: Maker, depths: Sequence[int], counts: Sequence[int], project: bool) -> nn.Module:
    """ResNet of basic blocks."""
    channels = make.channels(counts[0])
    parts: dict[str, nn.Module] = {"stem": make.layer(3, channels)}
    for stage, (count, depth) in enumerate(zip(counts, depths, strict=True), 1):
        for index in range(1, depth + 1):
            features, stride = make.channels(count), 2 if stage > 1 and index == 1 else 1
            parts[f"block{stage}_{index}"] = Block(make, channels, features, stride, project)
            channels = features
    return sequential(parts | make.mean_head(channels))


class Inception(nn.Module):
    """GoogLeNet's block of four branches."""

    def __init__(self, make: Maker, channels: int, counts: Sequence[int]) -> None:
        super().__init__()
        one, reduced3, three, reduced5, five, pooled = map(make.channels, counts)
        self.branch1 = make.layer(channels, one, 1)
        self.branch2_reduce = make.layer(channels, reduced3, 1)
        self.branch2 = make.layer(reduced3, three)
        self.branch3_reduce = make.layer(channels, reduced5, 1)
        self.branch3 = make.layer(reduced5, five)
        self.branch4 = make.layer(channels, pooled, 1)
        self.features = one + three + five + pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [
            self.branch1(x),
            self.branch2(self.branch2_reduce(x)),
            self.branch3(self.branch3_reduce(x)),
            self.branch4(nn.functional.max_pool2d(x, 3, 1, 1)),
        ]
        return torch.cat(branches, 1)


_INCEPTIONS: dict[str, tuple[int, ...] | int] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "pool3": 3,
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "pool4": 2,
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(make: Maker) -> nn.Module:
    """Inception v1 without auxiliary heads."""
    first, channels = make.channels(64), make.channels(192)
    parts: dict[str, nn.Module] = {
        "conv1": make.layer(3, first),
        "conv2": make.layer(first, first, 1),
        "conv3": make.layer(first, channels, pool=nn.MaxPool2d(3, 2, ceil_mode=True)),
    }
    for name, counts in _INCEPTIONS.items():
        if isinstance(counts, int):
            parts[name] = nn.MaxPool2d(counts, 2, ceil_mode=True)
        else:
            block = Inception(make, channels, counts)
            parts[f"inception{name}"], channels = block, block.features
    return sequential(parts | make.mean_head(channels))


class DenseNet(nn.Module):
    """DenseNet-BC of 40 layers with growth 12: every block's output joins its input."""

    def __init__(self, make: Maker, depths: Sequence[int] = (6, 6, 6)) -> None:
        super().__init__()
        growth, channels = make.channels(12), make.channels(24)
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.steps: list[tuple[str, str]] = []
        for stage, depth in enumerate(depths, 1):
            for index in range(1, depth + 1):
                name = f"block{stage}_{index}"
                self.add_module(f"{name}_norm", make.norm(channels))
                self.add_module(f"{name}_conv1", make.layer(channels, 4 * growth, 1))
                new = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
                self.add_module(f"{name}_conv2", new)
                self.steps.append(("block", name))
                channels += growth
            if stage < len(depths):
                name = f"transition{stage}"
                self.add_module(f"{name}_norm", make.norm(channels))
                half = nn.Conv2d(channels, channels // 2, 1, bias=False)
                self.add_module(f"{name}_conv", half)
                self.steps.append(("transition", name))
                channels //= 2
        self.norm = make.norm(channels)
        self.activation = make.activation()
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), make.drop())
        self.fc = make.head(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for kind, name in self.steps:
            y = self.activation(self.get_submodule(f"{name}_norm")(x))
            if kind == "block":
                y = self.get_submodule(f"{name}_conv1")(y)
                x = torch.cat([x, self.get_submodule(f"{name}_conv2")(y)], 1)
            else:
                x = nn.functional.avg_pool2d(self.get_submodule(f"{name}_conv")(y), 2)
        return self.fc(self.head(self.activation(self.norm(x))))


class Whitening(nn.Module):
    """The 2x2 convolution of the base speedrun, without norm and force."""

    def __init__(self, make: Maker) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 2)
        self.activation = make.activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.conv(x))


def speedrun(make: Maker) -> nn.Module:
    """Seven convolutions, a pool behind the first of each group, and one dense layer."""
    parts: dict[str, nn.Module] = {"whiten": Whitening(make)}
    channels = 24
    for group, count in enumerate((64, 256, 256), 1):
        features = make.channels(count)
        parts[f"conv{group}_1"] = make.layer(channels, features, pool=nn.MaxPool2d(2))
        parts[f"conv{group}_2"] = make.layer(features, features)
        channels = features
    parts |= {"pool": nn.MaxPool2d(3), "flat": nn.Flatten(), "drop": make.drop()}
    return sequential(parts | {"fc": make.head(channels)})


NETWORKS: dict[str, Callable[[Maker], nn.Module]] = {
    "cnn": cnn,
    "alexnet": alexnet,
    "physics": alexnet,
    "vgg5": vgg5,
    "vgg11": partial(vgg, depths=(1, 1, 2, 2, 2)),
    "vgg16": partial(vgg, depths=(2, 2, 3, 3, 3)),
    "googlenet": googlenet,
    "resnet18": partial(resnet, depths=(2, 2, 2, 2), counts=(64, 128, 256, 512), project=True),
    "resnet20": partial(resnet, depths=(3, 3, 3), counts=(16, 32, 64), project=False),
    "densenet": DenseNet,
    "speedrun": speedrun,
}
"""By the base's name in `physjax.models.MODELS`."""


def check(config: ModelConfig) -> None:
    """Refuse a base or a law that this side does not have, by a ConfigError."""
    for what, name, known in (
        ("base", config.name, tuple(NETWORKS)),
        ("force law", law_of(config), LAWS),
    ):
        if name not in known:
            raise ConfigError(
                f"PyTorch's side of the benchmarks has no {what} {name!r}, only "
                f"{', '.join(known)}; write it in benchmarks/harness, or leave it out"
            )


def build(config: ModelConfig, classes: int = 10) -> nn.Module:
    """The network that `config` describes, started as physjax starts it.

    Raises:
      ConfigError: this side has no such base or law.
    """
    check(config)
    network = NETWORKS[config.name](Maker(config, classes))
    start(network, config)
    return network
