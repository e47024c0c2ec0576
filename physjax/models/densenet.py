"""DenseNet-BC: every block sees the outputs of all before it (Huang et al., arXiv:1608.06993).

The network is of the pre-activation kind: norm, nonlinearity, convolution. The norm at the head of
a block stands alone, since it sees the outputs of many convolutions. The 1x1 convolution inside a
block and the norm and nonlinearity that follow it are a layer like any other, and there the force
acts, and in the stem of the 224x224 form. What is only collected comes from a convolution alone:
the norms that read the collection would subtract a constant force again.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.models.base import Classifier, ModelSpec
from physjax.ops.pool import avg_pool


class DenseNet(Classifier):
    """For 32x32 images: DenseNet-BC of 40 layers with growth rate 12.

    Attributes:
      depths: blocks in each stage; a transition between stages halves image and channels.
      growth: channels that each block adds.
      start: channels of the stem.
    """

    depths: tuple[int, ...] = (6, 6, 6)
    growth: int = 12
    start: int = 24

    def stem(self, images_NHWC: jax.Array, train: bool) -> jax.Array:
        """A 3x3 convolution alone: its norm is the first block's."""
        del train
        return self.convolution(self.channels(self.start), source=True, name="stem")(images_NHWC)

    def activate(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        """Norm, where the network has norms, and nonlinearity, of what was collected."""
        if self.norm is not None:
            x = self.norm(name=name)(x, use_running_average=not train)
        return self.activation(x)

    def block(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        """`x` with `growth` new channels after its own."""
        growth = self.channels(self.growth)
        y = self.activate(x, train, f"{name}_norm")
        y = self.layer(4 * growth, kernel_size=1, activation=self.activation, name=f"{name}_conv1")(
            y, train
        )
        y = self.convolution(growth, padding=1, name=f"{name}_conv2")(y)
        return jnp.concatenate([x, y], axis=-1)

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = self.stem(images_NHWC, train)
        for stage, depth in enumerate(self.depths, 1):
            for index in range(1, depth + 1):
                x = self.block(x, train, f"block{stage}_{index}")
            if stage < len(self.depths):
                x = self.activate(x, train, f"transition{stage}_norm")
                x = self.convolution(
                    x.shape[-1] // 2, kernel_size=1, name=f"transition{stage}_conv"
                )(x)
                x = avg_pool(x, (2, 2))
        x = self.activate(x, train, "norm").mean(axis=(1, 2))
        return self.head(self.drop(x, train), name="fc")


class DenseNetImageNet(DenseNet):
    """DenseNet-121 for 224x224 images: 7,978,856 parameters at 1,000 classes."""

    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    start: int = 64

    def stem(self, images_NHWC: jax.Array, train: bool) -> jax.Array:
        return self.imagenet_stem(self.start, images_NHWC, train)


DENSENET = ModelSpec(
    "densenet",
    "DenseNet-BC",
    {"cifar": DenseNet, "imagenet": DenseNetImageNet},
    {"cifar": 32, "imagenet": 224},
)
