"""What every family of models has in common, and what a registry entry holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from flax import linen as nn

from physjax.nn.conv import LayerFactory
from physjax.ops.pool import max_pool

AUXILIARY = "auxiliary"
"""The collection in which a network leaves the logits of its auxiliary heads in training, each
[N, num_classes], where a caller makes it mutable."""


class Classifier(nn.Module):
    """images [N, H, W, 3] -> logits [N, num_classes], float32.

    Attributes:
      num_classes: classes K.
      layer: makes a convolution with its norm, force and activation.
      convolution: makes a convolution alone, for what has its norm and nonlinearity elsewhere.
      dense: makes every dense layer, called with its number of outputs.
      norm: makes a norm that stands alone, as pre-activation networks have it; None: none.
      activation: the nonlinearity of every layer that has one.
      dropout: probability of dropping a unit before a dense layer of the head.
      logit_scale: factor on the last layer's outputs.
      width: factor on the number of channels of every layer but the last.
    """

    num_classes: int
    layer: LayerFactory
    convolution: LayerFactory
    dense: Callable[..., nn.Module]
    norm: Callable[..., nn.Module] | None = None
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout: float = 0.0
    logit_scale: float = 1.0
    width: float = 1.0

    def channels(self, count: int) -> int:
        """`count` channels times the width, at least 4."""
        return max(4, round(count * self.width))

    def drop(self, x: jax.Array, train: bool) -> jax.Array:
        """Dropout of whole-network probability `dropout`, in training alone."""
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    def head(self, x: jax.Array, name: str) -> jax.Array:
        """The last dense layer: logits [N, num_classes], float32."""
        return self.logit_scale * self.dense(self.num_classes, name=name)(x).astype("float32")

    def imagenet_stem(self, features: int, images_NHWC: jax.Array, train: bool) -> jax.Array:
        """A 7x7 layer of stride 2 with `features` channels, and a 3x3 pool of stride 2.

        [N, 224, 224, 3] -> [N, 56, 56, features * width]: the start of most networks for ImageNet.
        """
        return self.layer(
            self.channels(features),
            kernel_size=7,
            strides=2,
            padding=3,
            activation=self.activation,
            pool=partial(max_pool, window=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1))),
            source=True,
            name="stem",
        )(images_NHWC, train)


@dataclass(frozen=True)
class ModelSpec:
    """A base model: its network in each size, and the size of the images that it sees."""

    name: str
    """In `physjax.models.MODELS`, and in configs."""
    title: str
    networks: Mapping[str, type[Classifier]]
    """Network by size: `cifar` (32x32) and `imagenet` (the original)."""
    image_sizes: Mapping[str, int]
    """Side in pixels of the images that the network of that size was designed for."""
    law: str = "none"
    """The force law that the name stands for when none is asked for."""
    alias_of: str = ""
    """The base that this is another name of, with that law; empty: it is one by itself."""
    torch_init: bool = False
    """Whether the `imagenet` network starts as PyTorch's default does."""
    auxiliary: bool = False
    """Whether the network can have auxiliary heads: an attribute `auxiliary`, and `AUXILIARY`."""
    options: Mapping[str, Any] | None = None
    """Further attributes of the network."""
