"""VGG with 11 and 16 layers (Simonyan & Zisserman, arXiv:1409.1556, configurations A and D)."""

from __future__ import annotations

from functools import partial

import jax
from flax import linen as nn

from physjax.models.base import Classifier, ModelSpec
from physjax.ops.pool import adaptive_avg_pool, max_pool

_FEATURES = (64, 128, 256, 512, 512)


class VGG(Classifier):
    """Five stages of 3x3 convolutions, a 2x2 pool after each, and a dense head.

    Attributes:
      depths: convolutions in each stage.
      hidden: units of each hidden dense layer.
      pooled: side in pixels of what the head sees, whatever the image's size.
    """

    depths: tuple[int, ...] = (1, 1, 2, 2, 2)
    hidden: tuple[int, ...] = (512,)
    pooled: int = 1

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = images_NHWC
        for stage, (features, depth) in enumerate(zip(_FEATURES, self.depths, strict=True), 1):
            for index in range(1, depth + 1):
                x = self.layer(
                    self.channels(features),
                    activation=self.activation,
                    pool=partial(max_pool, window=(2, 2)) if index == depth else None,
                    source=stage == index == 1,
                    name=f"conv{stage}_{index}",
                )(x, train)
        x = adaptive_avg_pool(x, (self.pooled, self.pooled)).reshape(x.shape[0], -1)
        for index, units in enumerate(self.hidden, 1):
            x = self.activation(self.dense(self.channels(units), name=f"fc{index}")(x))
            x = self.drop(x, train)
        return self.head(x, name=f"fc{len(self.hidden) + 1}")


class VGGImageNet(VGG):
    """The original's head, two layers of 4,096 units on 7x7 pixels, for 224x224 images."""

    hidden: tuple[int, ...] = (4096, 4096)
    pooled: int = 7


_NETWORKS = {"cifar": VGG, "imagenet": VGGImageNet}
_SIZES = {"cifar": 32, "imagenet": 224}

VGG11 = ModelSpec("vgg11", "VGG-11", _NETWORKS, _SIZES, options={"depths": (1, 1, 2, 2, 2)})
VGG16 = ModelSpec("vgg16", "VGG-16", _NETWORKS, _SIZES, options={"depths": (2, 2, 3, 3, 3)})
