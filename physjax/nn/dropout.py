"""Dropout masks that do not depend on how a batch is spread over devices or parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


@contextmanager
def masks_of_batch(count: int, first: jax.Array | int) -> Iterator[None]:
    """Every `nn.Dropout` that is traced inside draws its mask for the whole batch.

    The images that it sees are the rows from `first` on of a batch of `count`, and it keeps those
    rows of the mask: the same for any number of devices and of parts. Where it sees the whole
    batch this is `nn.Dropout`, bit for bit.

    Args:
      count: images in the whole batch.
      first: the row of the batch that the images inside begin at.
    """

    def draw(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if not isinstance(module, nn.Dropout) or context.method_name != "__call__":
            return method(*args, **kwargs)
        x, *rest = args
        off = module.deterministic if not rest else rest[0]
        if x.shape[0] == count or not 0 < module.rate < 1 or kwargs.get("deterministic", off):
            return method(*args, **kwargs)
        whole = method(jnp.ones((count, *x.shape[1:]), x.dtype), *rest, **kwargs)
        kept = lax.dynamic_slice_in_dim(whole != 0, first, x.shape[0])
        return lax.select(kept, x / (1.0 - module.rate), jnp.zeros_like(x))

    with nn.intercept_methods(draw):
        yield
