"""Conv, the convolution that every layer is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.nn.connection import PLAIN, Connection, connection_params
from physjax.nn.initializers import Initializer, he_kernel_init
from physjax.nn.taps import SOURCE, tap
from physjax.ops.conv import conv
from physjax.ops.conv_algorithm import Algorithm


class LayerFactory(Protocol):
    """What a model builds its convolutions with: a layer's class, most of its arguments bound."""

    def __call__(self, features: int, **arguments: Any) -> nn.Module: ...


class Conv(nn.Module):
    """The convolution alone: neither bias, norm, force, activation nor pool.

    For pre-activation networks, whose norms and nonlinearities stand elsewhere. `PhysicsLayer` is
    a Conv too, and computes its convolution by the methods of this class.

    Parameters: `kernel` [kh, kw, in, out], and those of the connection.

    Attributes:
      features: output channels C.
      kernel_size: one integer or (height, width).
      strides: one integer or (vertical, horizontal), at least 1.
      padding: "SAME", "VALID", pixels on every side, or ((top, bottom), (left, right)).
      connection: how a learning rule connects input and kernel; the plain way by default.
      source: whether the layer's input is the network's own, which a learning rule holds fixed.
      algorithm: how the convolution is computed, see `physjax.ops.conv.conv`.
      dtype: of the arithmetic; parameters are float32.

    Raises ValueError for input that is not [N, H, W, C] and for arguments out of range.
    """

    features: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: str | int | Sequence[tuple[int, int]] = "SAME"
    connection: Connection = PLAIN
    source: bool = False
    algorithm: Algorithm = "auto"
    dtype: Any = jnp.float32
    kernel_init: Initializer = he_kernel_init

    @nn.compact
    def __call__(self, images_NHWC: jax.Array) -> jax.Array:
        kernel_HWIO = self.stored_kernel(images_NHWC)
        own = connection_params(self, self.connection, kernel_HWIO.shape)
        kernel_HWIO = self.connection.effective_kernel(kernel_HWIO, own)
        return self.tap_output(self.convolve(self.tap_input(images_NHWC), kernel_HWIO, own))

    def kernel_shape(self, channels: int) -> tuple[int, int, int, int]:
        """[kh, kw, in, out] for images of that many channels."""
        return (*_pair(self.kernel_size, "kernel_size", 1), channels, self.features)

    @property
    def stride_pair(self) -> tuple[int, int]:
        """Vertical and horizontal stride."""
        return _pair(self.strides, "strides", 1)

    def stored_kernel(self, images_NHWC: jax.Array) -> jax.Array:
        """The parameter `kernel`, as it is before the connection."""
        if self.features < 1:
            raise ValueError(f"features is {self.features}; a layer needs at least 1 channel")
        if images_NHWC.ndim != 4:
            raise ValueError(f"images have shape {images_NHWC.shape}; they must be [N, H, W, C]")
        shape = self.kernel_shape(images_NHWC.shape[-1])
        return self.param("kernel", self.kernel_init, shape, jnp.float32)

    def convolve(
        self, images_NHWC: jax.Array, kernel_HWIO: jax.Array, own: Mapping[str, jax.Array]
    ) -> jax.Array:
        """The images convolved with that kernel in `dtype`, the connection's parameters `own`."""
        apply = partial(
            conv, strides=self.stride_pair, padding=self.padding, algorithm=self.algorithm
        )
        return self.connection.connect(
            apply, images_NHWC.astype(self.dtype), kernel_HWIO.astype(self.dtype), own
        )

    def tap_input(self, images_NHWC: jax.Array) -> jax.Array:
        """The input, tapped where the connection asks for it."""
        if not self.connection.taps:
            return images_NHWC
        return tap(self, SOURCE if self.source else "input", images_NHWC)

    def tap_output(self, y_NHWC: jax.Array) -> jax.Array:
        """What the next layer gets, before a pool, tapped where the connection asks for it."""
        return tap(self, "output", y_NHWC) if self.connection.taps else y_NHWC


def _pair(value: int | Sequence[int], name: str, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < least for v in pair):
        raise ValueError(f"{name} is {value!r}; it must be one or two integers of at least {least}")
    return pair[0], pair[1]
