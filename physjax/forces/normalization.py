"""Division of every channel by a power of its neighbourhood's energy: what two laws share."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def neighborhood_sum(x: jax.Array, weights: tuple[float, ...], cyclic: bool) -> jax.Array:
    """sum_j weights[|j|] x[..., c+j] over |j| < len(weights), for every channel c.

    Channels lie on a ring where `cyclic` (indices modulo C, as often as they go round), else on a
    line whose ends see zeros.

    >>> neighborhood_sum(jnp.array([1.0, 2.0, 3.0, 4.0]), (1.0, 1.0), True)
    Array([7., 6., 9., 8.], dtype=float32)
    >>> neighborhood_sum(jnp.array([1.0, 2.0, 3.0, 4.0]), (1.0, 1.0), False)
    Array([3., 6., 9., 7.], dtype=float32)
    """
    channels, reach = x.shape[-1], len(weights) - 1
    margins = [(0, 0)] * (x.ndim - 1) + [(reach, reach)]
    # One copy with its margins, and every neighbour is a slice of it, which XLA fuses.
    padded = jnp.pad(x, margins, mode="wrap" if cyclic else "constant")
    return sum(
        weights[abs(j)] * padded[..., reach + j : reach + j + channels]
        for j in range(-reach, reach + 1)
    )  # type: ignore[return-value]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def normalizing_force(
    y: jax.Array,
    exponents: jax.Array,
    weights: tuple[float, ...],
    constant: float,
    cyclic: bool,
) -> jax.Array:
    """y[c] (D[c]^-exponents[c] - 1) with D[c] = constant + sum_j weights[|j|] y[c+j]^2.

    This is the force that turns y[c] into y[c] / D[c]^exponents[c].

    Args:
        y: activations [..., C].
        exponents: [C].
        weights: of channel c+j in the neighbourhood's energy, by distance |j|; not negative.
        constant: what keeps D positive; greater than 0.
        cyclic: whether the channels lie on a ring or on a line.

    Returns:
        Array [..., C] of y's dtype; the arithmetic is at least float32.
    """
    return _forward(y, exponents, weights, constant, cyclic)[0]


def _forward(
    y: jax.Array, exponents: jax.Array, weights: tuple[float, ...], constant: float, cyclic: bool
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    energy = constant + neighborhood_sum(wide * wide, weights, cyclic)
    powers = jnp.broadcast_to(exponents, y.shape)
    force = wide * (jnp.exp(-powers * jnp.log(energy)) - 1)
    return force.astype(y.dtype), (y, exponents)


def _backward(
    weights: tuple[float, ...],
    constant: float,
    cyclic: bool,
    saved: tuple[jax.Array, jax.Array],
    d_force: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    # By hand, and from y alone: autodiff would keep every intermediate array in memory and pad
    # and add where the sum over a symmetric neighbourhood is its own transpose.
    y, exponents = saved
    dtype = jnp.promote_types(y.dtype, jnp.float32)
    wide, d_force = y.astype(dtype), d_force.astype(dtype)
    powers = jnp.broadcast_to(exponents, y.shape)
    energy = constant + neighborhood_sum(wide * wide, weights, cyclic)
    logs = jnp.log(energy)
    gain = jnp.exp(-powers * logs)
    d_gain = d_force * wide * gain
    d_exponents = -jnp.sum(d_gain * logs, axis=tuple(range(y.ndim - 1)))
    d_energy = -powers * d_gain / energy
    d_y = d_force * (gain - 1) + 2 * wide * neighborhood_sum(d_energy, weights, cyclic)
    return d_y.astype(y.dtype), d_exponents.astype(exponents.dtype)


normalizing_force.defvjp(_forward, _backward)


def exponential_weights(length: float, reach: int) -> tuple[float, ...]:
    """exp(-j / length) for j = 0 ... reach, scaled so that both sides together sum to one."""
    weights = np.exp(-np.arange(reach + 1) / length)
    total = 2 * weights.sum() - weights[0]
    return tuple(float(w) for w in weights / total)
