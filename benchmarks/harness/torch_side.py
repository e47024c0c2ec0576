"""PyTorch's side of the benchmarks: the same networks, trained and run as PyTorch is used.

Eager float32 in channels_last, bfloat16 autocast, or compiled. A step gathers its batch from a
tensor in memory and normalises it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from harness.physjax_side import EXAMPLES, images


class Force(nn.Module):
    """The ring force: s (f[c-1] + f[c+1]) added to channel c."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(2.8))
        self.forces = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pull = self.strength * (self.forces.roll(1) + self.forces.roll(-1))
        return x + pull[None, :, None, None]


class Layer(nn.Sequential):
    """Convolution, batch norm, force, ReLU, as in physjax.nn.physics.PhysicsLayer."""

    def __init__(
        self,
        channels: int,
        features: int,
        kernel: int = 3,
        stride: int = 1,
        force: bool = False,
        activation: bool = True,
    ) -> None:
        parts: list[nn.Module] = [
            nn.Conv2d(channels, features, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(features),
        ]
        if force:
            parts.append(Force(features))
        if activation:
            parts.append(nn.ReLU())
        super().__init__(*parts)


def alexnet(force: bool = False) -> nn.Module:
    """64-192-384-256-256 for 32x32 images."""
    parts: list[nn.Module] = []
    channels = 3
    for index, features in enumerate((64, 192, 384, 256, 256), 1):
        parts.append(Layer(channels, features, force=force))
        if index in (1, 2, 5):
            parts.append(nn.MaxPool2d(2))
        channels = features
    head = [nn.Flatten(), nn.Dropout(0.2), nn.Linear(4096, 512), nn.ReLU()]
    return nn.Sequential(*parts, *head, nn.Dropout(0.2), nn.Linear(512, 10))


def cnn() -> nn.Module:
    """32-64-64 for 32x32 images."""
    return nn.Sequential(
        Layer(3, 32),
        nn.MaxPool2d(2),
        Layer(32, 64),
        nn.MaxPool2d(2),
        Layer(64, 64),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(4096, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def vgg(depths: Sequence[int]) -> nn.Module:
    """VGG for 32x32 images with a head of 512 units."""
    parts: list[nn.Module] = []
    channels = 3
    for features, depth in zip((64, 128, 256, 512, 512), depths, strict=True):
        for _ in range(depth):
            parts.append(Layer(channels, features))
            channels = features
        parts.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 10)]
    return nn.Sequential(*parts, *head)


class Block(nn.Module):
    """ResNet's basic block; the shortcut is a projection, or strided pixels and zeros."""

    def __init__(self, channels: int, features: int, stride: int, project: bool) -> None:
        super().__init__()
        self.first = Layer(channels, features, stride=stride)
        self.second = Layer(features, features, activation=False)
        self.stride, self.more = stride, features - channels
        changed = stride != 1 or self.more != 0
        self.shortcut = (
            Layer(channels, features, 1, stride, activation=False) if changed and project else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.first(x))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.more:
            x = x[:, :, :: self.stride, :: self.stride]
            half = self.more // 2
            x = nn.functional.pad(x, (0, 0, 0, 0, half, self.more - half))
        return torch.relu(x + y)


def resnet(depths: Sequence[int], features: Sequence[int], project: bool) -> nn.Module:
    """ResNet of basic blocks for 32x32 images."""
    parts: list[nn.Module] = [Layer(3, features[0])]
    channels = features[0]
    for stage, (width, depth) in enumerate(zip(features, depths, strict=True)):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            parts.append(Block(channels, width, stride, project))
            channels = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, 10)]
    return nn.Sequential(*parts, *head)


class Inception(nn.Module):
    """GoogLeNet's block of four branches."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        one, reduced3, three, reduced5, five, pooled = widths
        self.branches = nn.ModuleList(
            [
                Layer(channels, one, 1),
                nn.Sequential(Layer(channels, reduced3, 1), Layer(reduced3, three)),
                nn.Sequential(Layer(channels, reduced5, 1), Layer(reduced5, five)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), Layer(channels, pooled, 1)),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def googlenet() -> nn.Module:
    """Inception v1 for 32x32 images, without auxiliary heads."""
    blocks: list[tuple[int, ...] | int] = [
        (64, 96, 128, 16, 32, 32),
        (128, 128, 192, 32, 96, 64),
        3,
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
        2,
        (256, 160, 320, 32, 128, 128),
        (384, 192, 384, 48, 128, 128),
    ]
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    parts: list[nn.Module] = [Layer(3, 64), Layer(64, 64, 1), Layer(64, 192), pool]
    channels = 192
    for block in blocks:
        if isinstance(block, int):
            parts.append(nn.MaxPool2d(block, 2, ceil_mode=True))
        else:
            parts.append(Inception(channels, block))
            channels = block[0] + block[2] + block[4] + block[5]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, 10)]
    return nn.Sequential(*parts, *head)


class DenseBlock(nn.Module):
    """Norm, ReLU, 1x1, norm, ReLU, 3x3; its output joins its input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            Layer(channels, 4 * growth, 1),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet() -> nn.Module:
    """DenseNet-BC of 40 layers with growth 12 for 32x32 images."""
    parts: list[nn.Module] = [nn.Conv2d(3, 24, 3, padding=1, bias=False)]
    channels = 24
    for stage in range(3):
        for _ in range(6):
            parts.append(DenseBlock(channels, 12))
            channels += 12
        parts += [nn.BatchNorm2d(channels), nn.ReLU()]
        if stage < 2:
            half = channels // 2
            parts += [nn.Conv2d(channels, half, 1, bias=False), nn.AvgPool2d(2)]
            channels = half
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, 10)]
    return nn.Sequential(*parts, *head)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "cnn": cnn,
    "alexnet": alexnet,
    "physics": lambda: alexnet(force=True),
    "vgg11": lambda: vgg((1, 1, 2, 2, 2)),
    "vgg16": lambda: vgg((2, 2, 3, 3, 3)),
    "googlenet": googlenet,
    "resnet18": lambda: resnet((2, 2, 2, 2), (64, 128, 256, 512), True),
    "resnet20": lambda: resnet((3, 3, 3), (16, 32, 64), False),
    "densenet": densenet,
}


def _batches(examples: int, batch_size: int) -> tuple[Callable[[], torch.Tensor], torch.Tensor]:
    """The next batch, normalised, channels_last; and the labels."""
    pixels, labels = images(examples)
    # Kept as bytes with the channels last: what a batch is gathered from fastest.
    whole = torch.from_numpy(pixels)
    order = torch.randperm(examples)
    scale, offset = 1 / (255 * 0.25), -0.48 / 0.25
    at = 0

    def batch() -> torch.Tensor:
        nonlocal at
        chosen = order[at : at + batch_size]
        at = (at + batch_size) % (examples - examples % batch_size)
        # A permuted view of NHWC memory is channels_last.
        return whole[chosen].permute(0, 3, 1, 2).float().mul_(scale).add_(offset)

    return batch, torch.from_numpy(labels).long()


def train(
    model: str,
    batch_size: int = 128,
    examples: int = EXAMPLES,
    precision: str = "float32",
    compiled: bool = False,
) -> Callable[[], None]:
    """A step of SGD with Nesterov momentum, weight decay on kernels, and label smoothing."""
    network = NETWORKS[model]().to(memory_format=torch.channels_last)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[Any] = [
        {"params": decayed, "weight_decay": 5e-4},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True)
    call = torch.compile(network) if compiled else network
    batch, labels = _batches(examples, batch_size)
    network.train()

    def step() -> None:
        optimizer.zero_grad()
        with (
            torch.autocast("cpu", dtype=torch.bfloat16)
            if precision == "bf16"
            else contextlib.nullcontext()
        ):
            logits = call(batch())
        loss = nn.functional.cross_entropy(logits.float(), labels[:batch_size], label_smoothing=0.1)
        loss.backward()
        optimizer.step()

    return step


def predict(model: str, batch_size: int = 500) -> Callable[[], None]:
    """Probabilities of a batch of uint8 images, in eager float32."""
    network = NETWORKS[model]().to(memory_format=torch.channels_last)
    network.eval()
    batch, _ = _batches(batch_size, batch_size)

    def call() -> None:
        with torch.inference_mode():
            network(batch()).softmax(1)

    return call


def parameter_count(model: str) -> int:
    """Trainable numbers of the network."""
    return sum(p.numel() for p in NETWORKS[model]().parameters())
