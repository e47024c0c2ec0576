"""The dense layer of the heads."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.nn.connection import PLAIN, Connection, connection_params
from physjax.nn.initializers import (
    BiasInitializer,
    Initializer,
    he_kernel_init,
    zero_bias_init,
)


class Dense(nn.Module):
    """x @ kernel + bias, with the bias' start allowed to depend on the fan-in, as PyTorch's does.

    Attributes:
      features: outputs.
      connection: how a learning rule connects input and kernel, if it does in dense layers.
      dtype: of the arithmetic; parameters are float32.
    """

    features: int
    connection: Connection = PLAIN
    dtype: Any = jnp.float32
    kernel_init: Initializer = he_kernel_init
    bias_init: BiasInitializer = zero_bias_init

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1]
        connection = self.connection if self.connection.dense else PLAIN
        kernel = self.param("kernel", self.kernel_init, (fan_in, self.features), jnp.float32)
        bias = self.param("bias", self.bias_init(fan_in), (self.features,), jnp.float32)
        own = connection_params(self, connection, kernel.shape)
        kernel = connection.effective_kernel(kernel, own)
        y = connection.connect(jnp.matmul, x.astype(self.dtype), kernel.astype(self.dtype), own)
        return y + jnp.broadcast_to(bias.astype(self.dtype), y.shape)
