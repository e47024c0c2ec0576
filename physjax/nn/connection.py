"""How a layer connects its input to its kernel: what a learning rule may change in every layer.

A convolution and a dense layer are both y = apply(x, kernel), linear in either. A
:class:`Connection` may compute with another kernel than the one that is stored, or send the
gradient back along another path, with parameters of its own, which lie in the layer's dictionary
beside the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Apply = Callable[[jax.Array, jax.Array], jax.Array]
"""(x, kernel) -> y: a convolution or a matrix product, without bias."""
Start = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]
"""(key, shape of the kernel, dtype) -> the start value of a connection's parameter."""


def _plain(apply: Apply, x: jax.Array, kernel: jax.Array, params: Mapping[str, jax.Array]) -> Any:
    del params
    return apply(x, kernel)


def _stored(kernel: jax.Array, params: Mapping[str, jax.Array]) -> jax.Array:
    del params
    return kernel


@dataclass(frozen=True)
class Connection:
    """A connection between input and output channels; the default is the plain one.

    Kernels are [kh, kw, in, out], or [in, out] in a dense layer.
    """

    params: Mapping[str, Start] | None = None
    """The parameters that each layer gets beside its kernel, by name, and their start values."""
    effective_kernel: Callable[[jax.Array, Mapping[str, jax.Array]], jax.Array] = _stored
    """(kernel, params) -> the kernel that the layer computes with, of the same shape. A linear
    force acts on it, and folding keeps it."""
    connect: Callable[[Apply, jax.Array, jax.Array, Mapping[str, jax.Array]], jax.Array] = _plain
    """(apply, x, kernel, params) -> y, equal to apply(x, kernel); the gradient may differ."""
    dense: bool = False
    """Whether dense layers are connected this way too, or convolutions alone."""
    taps: bool = False
    """Whether the layer records its channels' means and takes perturbations (`physjax.nn.taps`)."""


PLAIN = Connection()


def connection_params(
    module: nn.Module, connection: Connection, kernel_shape: tuple[int, ...]
) -> dict[str, jax.Array]:
    """The parameters of `connection` in `module`, by name."""
    return {
        name: module.param(name, start, kernel_shape, jnp.float32)
        for name, start in (connection.params or {}).items()
    }
