"""Start values of kernels and biases: He's, and those of PyTorch's layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Initializer = Callable[..., jax.Array]
"""(key, shape, dtype) -> the start value."""
BiasInitializer = Callable[[int], Initializer]
"""(fan-in) -> the initializer of a bias."""

# Random numbers are drawn flat and reshaped: XLA:CPU takes ten times longer to compile a draw of
# shape [3, 3, in, out].


def he_kernel_init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Normal, truncated at two deviations, of variance 2 / fan_in (He et al., arXiv:1502.01852)."""
    # 0.8796 is the standard deviation of a standard normal cut at +-2.
    scale = math.sqrt(2 / math.prod(shape[:-1])) / 0.87962566103423978
    flat = jax.random.truncated_normal(key, -2, 2, (math.prod(shape),), dtype)
    return (scale * flat).reshape(shape)


def dirac_kernel_init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """He's start, but the first min(in, out) outputs of a convolution pass the inputs on."""
    start = he_kernel_init(key, shape, dtype)
    count = min(shape[-2:])
    centre = tuple((side - 1) // 2 for side in shape[:-2])
    index = jnp.arange(count)
    return start.at[..., :count].set(0).at[(*centre, index, index)].set(1)


def torch_kernel_init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): the start of PyTorch's Conv2d and Linear weights."""
    return torch_bias_init(math.prod(shape[:-1]))(key, shape, dtype)


def torch_bias_init(fan_in: int) -> Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): the start of PyTorch's Conv2d and Linear biases."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
        return flat.reshape(shape)

    return init


def zero_bias_init(fan_in: int) -> Initializer:
    """Zeros, whatever the fan-in."""
    del fan_in
    return nn.initializers.zeros
