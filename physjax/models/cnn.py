"""The basic CNN that Table I of the paper starts from.

The paper gives no layers. This is the small network that introductions to CIFAR-10 train to about
the 70 % of Table I: three 3x3 convolutions of 32, 64 and 64 channels, two 2x2 pools, 64 hidden
units. It has the same 32x32 form in both sizes.
"""

from __future__ import annotations

from functools import partial

import jax
from flax import linen as nn

from physjax.models.base import Classifier, ModelSpec
from physjax.ops.pool import max_pool


class BasicCNN(Classifier):
    """Three convolutions and two dense layers on 32x32 images."""

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = images_NHWC
        for index, features in enumerate((32, 64, 64), start=1):
            x = self.layer(
                self.channels(features),
                activation=self.activation,
                pool=partial(max_pool, window=(2, 2)) if index < 3 else None,
                source=index == 1,
                name=f"conv{index}",
            )(x, train)
        x = x.reshape(x.shape[0], -1)
        x = self.activation(self.dense(self.channels(64), name="fc1")(self.drop(x, train)))
        return self.head(x, name="fc2")


CNN = ModelSpec(
    "cnn",
    "basic CNN",
    {"cifar": BasicCNN, "imagenet": BasicCNN},
    {"cifar": 32, "imagenet": 32},
    torch_init=True,
)
