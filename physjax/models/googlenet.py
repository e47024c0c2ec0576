"""GoogLeNet, the first Inception network (Szegedy et al., arXiv:1409.4842).

As in torchvision every convolution has a batch norm, and the branch that the paper draws with 5x5
kernels has 3x3 ones: 6,624,904 parameters at 1,000 classes. With the two auxiliary heads of the
paper, which see the network's middle and take part in training alone, there are 13,004,888.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.models.base import AUXILIARY, Classifier, ModelSpec
from physjax.nn.conv import LayerFactory
from physjax.ops.pool import adaptive_avg_pool, max_pool

# Channels by block: 1x1; reduced, 3x3; reduced, second 3x3; after the pool. None: a pool.
_BLOCKS: dict[str, tuple[int, int, int, int, int, int] | None] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "pool3": None,
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "pool4": None,
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_WITH_HEAD = ("4a", "4d")
"""Blocks whose output an auxiliary head classifies by."""
_HEAD_DROPOUT = 0.7


def _halve(x: jax.Array, window: int = 3) -> jax.Array:
    """Max pool of stride 2. Windows may reach over the lower right edge (PyTorch's ceil_mode)."""
    pad = (0, window - 2)
    return max_pool(x, (window, window), strides=(2, 2), padding=(pad, pad))


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 3x3; 3x3 max pool and 1x1."""

    layer: LayerFactory
    features: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        one, reduced3, three, reduced5, five, pooled = self.features

        def conv(x: jax.Array, features: int, kernel_size: int, name: str) -> jax.Array:
            arguments: dict[str, Any] = {"kernel_size": kernel_size, "activation": self.activation}
            return self.layer(features, **arguments, name=name)(x, train)

        branches = [
            conv(x, one, 1, "branch1"),
            conv(conv(x, reduced3, 1, "branch2_reduce"), three, 3, "branch2"),
            conv(conv(x, reduced5, 1, "branch3_reduce"), five, 3, "branch3"),
            conv(max_pool(x, (3, 3), (1, 1), "SAME"), pooled, 1, "branch4"),
        ]
        return jnp.concatenate(branches, axis=-1)


class AuxiliaryHead(nn.Module):
    """Logits from the middle: mean over windows to 4x4, a 1x1 convolution, two dense layers.

    [N, H, W, C] -> [N, num_classes], float32. Dropout (0.7) comes before the last layer, as in
    the paper.

    Attributes:
      num_classes: classes K.
      layer: makes the convolution.
      dense: makes the dense layers.
      features: output channels of the convolution.
      hidden: units of the first dense layer.
      activation: the nonlinearity.
      logit_scale: factor on the outputs.
    """

    num_classes: int
    layer: LayerFactory
    dense: Callable[..., nn.Module]
    features: int = 128
    hidden: int = 1024
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    logit_scale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = adaptive_avg_pool(x, (4, 4))
        x = self.layer(self.features, kernel_size=1, activation=self.activation, name="conv")(
            x, train
        )
        x = self.activation(self.dense(self.hidden, name="fc1")(x.reshape(x.shape[0], -1)))
        x = nn.Dropout(_HEAD_DROPOUT, deterministic=not train)(x)
        return self.logit_scale * self.dense(self.num_classes, name="fc2")(x).astype("float32")


class GoogLeNet(Classifier):
    """For 32x32 images: a 3x3 stem of stride 1 without a pool, the rest as in the original.

    Attributes, beside those of every Classifier:
      auxiliary: whether there are auxiliary heads, which leave their logits in `AUXILIARY` while
        the network trains, and are not computed otherwise.
    """

    auxiliary: bool = False

    def stem(self, images_NHWC: jax.Array, train: bool) -> jax.Array:
        """The first layer, 64 channels."""
        return self.layer(self.channels(64), activation=self.activation, source=True, name="conv1")(
            images_NHWC, train
        )

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = self.stem(images_NHWC, train)
        x = self.layer(self.channels(64), kernel_size=1, activation=self.activation, name="conv2")(
            x, train
        )
        conv3 = self.layer(
            self.channels(192), activation=self.activation, pool=_halve, name="conv3"
        )
        x = conv3(x, train)
        for name, features in _BLOCKS.items():
            if features is None:
                x = _halve(x, 3 if name == "pool3" else 2)
            else:
                widths = tuple(self.channels(count) for count in features)
                x = Inception(self.layer, widths, self.activation, name=f"inception{name}")(
                    x, train
                )
            if self.auxiliary and name in _WITH_HEAD and (train or self.is_initializing()):
                self._classify_early(name, x, train)
        x = self.drop(x.mean(axis=(1, 2)), train)
        return self.head(x, name="fc")

    def _classify_early(self, block: str, x: jax.Array, train: bool) -> None:
        head = AuxiliaryHead(
            self.num_classes,
            self.layer,
            self.dense,
            self.channels(128),
            self.channels(1024),
            self.activation,
            self.logit_scale,
            name=f"auxiliary{block}",
        )
        self.sow(AUXILIARY, block, head(x, train), reduce_fn=lambda _, new: new)


class GoogLeNetImageNet(GoogLeNet):
    """The original for 224x224 images: 6,624,904 parameters at 1,000 classes."""

    def stem(self, images_NHWC: jax.Array, train: bool) -> jax.Array:
        """7x7 of stride 2, and a 3x3 pool of stride 2."""
        return self.layer(
            self.channels(64),
            kernel_size=7,
            strides=2,
            padding=3,
            activation=self.activation,
            pool=_halve,
            source=True,
            name="conv1",
        )(images_NHWC, train)


GOOGLENET = ModelSpec(
    "googlenet",
    "GoogLeNet",
    {"cifar": GoogLeNet, "imagenet": GoogLeNetImageNet},
    {"cifar": 32, "imagenet": 224},
    auxiliary=True,
)
