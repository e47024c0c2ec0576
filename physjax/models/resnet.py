"""Residual networks of basic blocks: ResNet-18, and ResNet-20 of the CIFAR kind.

He et al., arXiv:1512.03385, tables 1 and 6. Where a block changes shape, the shortcut of ResNet-18
is a strided 1x1 convolution (option B), and that of ResNet-20 every other pixel with zeros for the
new channels (option A), as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.models.base import Classifier, ModelSpec
from physjax.nn.conv import LayerFactory


class BasicBlock(nn.Module):
    """relu(x + force(norm(conv(relu(force(norm(conv(x)))))))), two 3x3 convolutions.

    Attributes:
      layer: makes the convolutions; the second one's activation follows the sum.
      features: output channels.
      strides: of the first convolution, and of the shortcut.
      project: shortcut by a 1x1 convolution (option B); False: zeros for new channels (option A).
      activation: the nonlinearity.
    """

    layer: LayerFactory
    features: int
    strides: int = 1
    project: bool = True
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        # padding=1 on both sides as in PyTorch; "SAME" pads a strided layer on one side alone.
        y = self.layer(
            self.features, strides=self.strides, padding=1, activation=self.activation, name="conv1"
        )(x, train)
        y = self.layer(self.features, padding=1, name="conv2")(y, train)
        return self.activation(y + self.shortcut(x, train))

    def shortcut(self, x: jax.Array, train: bool) -> jax.Array:
        """`x` in the shape of the block's output."""
        new = self.features - x.shape[-1]
        if self.strides == 1 and new == 0:
            return x
        if self.project:
            return self.layer(
                self.features, kernel_size=1, strides=self.strides, padding=0, name="shortcut"
            )(x, train)
        x = x[:, :: self.strides, :: self.strides]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))


class ResNet(Classifier):
    """For 32x32 images: a 3x3 stem of stride 1 without a pool, and stages of basic blocks.

    Attributes:
      depths: blocks in each stage; every stage but the first halves the image.
      features: channels of each stage.
      project: see BasicBlock.
    """

    depths: tuple[int, ...] = (2, 2, 2, 2)
    features: tuple[int, ...] = (64, 128, 256, 512)
    project: bool = True

    def stem(self, images_NHWC: jax.Array, train: bool) -> jax.Array:
        """The first layer, as wide as the first stage."""
        return self.layer(
            self.channels(self.features[0]),
            padding=1,
            activation=self.activation,
            source=True,
            name="stem",
        )(images_NHWC, train)

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = self.stem(images_NHWC, train)
        for stage, (features, depth) in enumerate(zip(self.features, self.depths, strict=True), 1):
            for index in range(1, depth + 1):
                strides = 2 if stage > 1 and index == 1 else 1
                x = BasicBlock(
                    self.layer,
                    self.channels(features),
                    strides,
                    self.project,
                    self.activation,
                    name=f"block{stage}_{index}",
                )(x, train)
        x = self.drop(x.mean(axis=(1, 2)), train)
        return self.head(x, name="fc")


class ResNetImageNet(ResNet):
    """The original for 224x224 images; with 18 layers 11,689,512 parameters at 1,000 classes."""

    def stem(self, images_NHWC: jax.Array, train: bool) -> jax.Array:
        return self.imagenet_stem(self.features[0], images_NHWC, train)


RESNET18 = ModelSpec(
    "resnet18",
    "ResNet-18",
    {"cifar": ResNet, "imagenet": ResNetImageNet},
    {"cifar": 32, "imagenet": 224},
)
RESNET20 = ModelSpec(
    "resnet20",
    "ResNet-20",
    {"cifar": ResNet},
    {"cifar": 32},
    options={"depths": (3, 3, 3), "features": (16, 32, 64), "project": False},
)
