"""VGG5, the five convolutions of Kerjan, Hoier & Scellier (arXiv:2606.03584), for 32x32 images.

3x3 convolutions of 128, 256, 512, 512 and 512 channels with a 2x2 pool after each but the first,
and one dense layer. The authors train it without a norm (`--norm none`).
"""

from __future__ import annotations

from functools import partial

import jax
from flax import linen as nn

from physjax.models.base import Classifier, ModelSpec
from physjax.ops.pool import max_pool


class VGG5Net(Classifier):
    """Five convolutions and a dense layer."""

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = images_NHWC
        for index, features in enumerate((128, 256, 512, 512, 512), start=1):
            x = self.layer(
                self.channels(features),
                activation=self.activation,
                pool=partial(max_pool, window=(2, 2)) if index > 1 else None,
                source=index == 1,
                name=f"conv{index}",
            )(x, train)
        return self.head(self.drop(x.reshape(x.shape[0], -1), train), name="fc")


VGG5 = ModelSpec("vgg5", "VGG5", {"cifar": VGG5Net}, {"cifar": 32})
