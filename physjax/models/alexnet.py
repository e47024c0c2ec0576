"""AlexNet with one tower, 64-192-384-256-256 channels (Krizhevsky, arXiv:1404.5997)."""

from __future__ import annotations

from functools import partial

import jax
from flax import linen as nn

from physjax.models.base import Classifier, ModelSpec
from physjax.ops.pool import adaptive_avg_pool, max_pool


class AlexNetCifar(Classifier):
    """For 32x32 images: the original's widths with 3x3 kernels, 2x2 pools and a smaller head."""

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = images_NHWC
        for index, features in enumerate((64, 192, 384, 256, 256), start=1):
            x = self.layer(
                self.channels(features),
                activation=self.activation,
                pool=partial(max_pool, window=(2, 2)) if index in (1, 2, 5) else None,
                source=index == 1,
                name=f"conv{index}",
            )(x, train)
        x = x.reshape(x.shape[0], -1)
        x = self.activation(self.dense(self.channels(512), name="fc1")(self.drop(x, train)))
        return self.head(self.drop(x, train), name="fc2")


class AlexNetImageNet(Classifier):
    """The original for 224x224 images: 61,100,840 parameters at 1,000 classes."""

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = images_NHWC
        # features, kernel size, stride, padding, and whether a 3x3 stride-2 pool follows
        plan = (
            (64, 11, 4, 2, True),
            (192, 5, 1, 2, True),
            (384, 3, 1, 1, False),
            (256, 3, 1, 1, False),
            (256, 3, 1, 1, True),
        )
        for index, (features, kernel, stride, padding, pool) in enumerate(plan, start=1):
            x = self.layer(
                self.channels(features),
                kernel_size=kernel,
                strides=stride,
                padding=padding,
                activation=self.activation,
                pool=partial(max_pool, window=(3, 3), strides=(2, 2)) if pool else None,
                source=index == 1,
                name=f"conv{index}",
            )(x, train)
        x = adaptive_avg_pool(x, (6, 6)).reshape(x.shape[0], -1)
        for index in (1, 2):
            x = self.activation(
                self.dense(self.channels(4096), name=f"fc{index}")(self.drop(x, train))
            )
        return self.head(x, name="fc3")


_NETWORKS = {"cifar": AlexNetCifar, "imagenet": AlexNetImageNet}
_SIZES = {"cifar": 32, "imagenet": 224}

ALEXNET = ModelSpec("alexnet", "AlexNet", _NETWORKS, _SIZES, torch_init=True)
PHYSICS = ModelSpec(
    "physics",
    "Physic-Driven AlexNet",
    _NETWORKS,
    _SIZES,
    law="ring",
    alias_of="alexnet",
    torch_init=True,
)
