"""A small network that reaches 94 % on CIFAR-10 in ten epochs, for small effects to be decided on.

After the published description of airbench94 (Jordan, arXiv:2404.00498, section 3): a 2x2
convolution that whitens the image's patches, three groups of two 3x3 convolutions of 64, 256 and
256 channels, the first of each followed by a 2x2 max pool, batch norms without a scale, GELU, a 3x3
max pool, and one dense layer. The recipe `speedrun` gives it what belongs to it beside its layers:
the start of its kernels, the norms without a scale, the pool before the norm, and the small logits.
"""

from __future__ import annotations

from functools import partial

import jax
from flax import linen as nn

from physjax.models.base import Classifier, ModelSpec
from physjax.ops.pool import max_pool


class Speedrun(Classifier):
    """Seven convolutions and a dense layer on 32x32 images."""

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        # It prepares the image, as a normalisation does: no norm, and no force.
        x = self.layer(
            24,
            kernel_size=2,
            padding="VALID",
            law="none",
            norm=None,
            activation=self.activation,
            source=True,
            name="whiten",
        )(images_NHWC, train)
        for group, features in enumerate((64, 256, 256), start=1):
            for index in (1, 2):
                x = self.layer(
                    self.channels(features),
                    activation=self.activation,
                    pool=partial(max_pool, window=(2, 2)) if index == 1 else None,
                    name=f"conv{group}_{index}",
                )(x, train)
        x = max_pool(x, (3, 3)).reshape(x.shape[0], -1)
        return self.head(self.drop(x, train), name="fc")


SPEEDRUN = ModelSpec("speedrun", "speedrun network", {"cifar": Speedrun}, {"cifar": 32})
