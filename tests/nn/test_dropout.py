"""Dropout masks of a batch that is spread over devices and parts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from physjax.nn.dropout import masks_of_batch


class Two(nn.Module):
    """Two layers of dropout, the second of which sees pixels."""

    rate: float = 0.4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = nn.Dropout(self.rate, deterministic=not train)(x)
        pixels = jnp.broadcast_to(x[:, None, None, :], (x.shape[0], 2, 3, x.shape[1]))
        return nn.Dropout(self.rate)(pixels, not train)


def test_the_rows_of_a_share_have_the_masks_of_the_batch() -> None:
    x, rngs = jax.random.normal(jax.random.key(0), (12, 5)), {"dropout": jax.random.key(1)}
    plain = Two().apply({}, x, rngs=rngs)
    assert 0.2 < np.mean(plain[:, 0, 0] == 0) < 0.9
    with masks_of_batch(12, 0):
        np.testing.assert_array_equal(Two().apply({}, x, rngs=rngs), plain)
    for first, count in ((0, 4), (4, 8), (11, 1)):
        with masks_of_batch(12, jnp.int32(first)):
            share = Two().apply({}, x[first : first + count], rngs=rngs)
        np.testing.assert_array_equal(share, plain[first : first + count])
    np.testing.assert_array_equal(Two().apply({}, x, rngs=rngs), plain)


@pytest.mark.parametrize(("rate", "train"), [(0.4, False), (0.0, True), (1.0, True)])
def test_where_nothing_is_drawn_nothing_changes(rate: float, train: bool) -> None:
    x = jnp.ones((3, 5))
    rngs = {"dropout": jax.random.key(1)}
    with masks_of_batch(12, 3):
        found = Two(rate).apply({}, x, train, rngs=rngs)
    np.testing.assert_array_equal(found, np.full((3, 2, 3, 5), 0.0 if rate == 1 else 1.0))
