"""Sums over neighbouring channels, and division by a power of their energy: what laws share."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def neighborhood_sum(
    x: jax.Array, weights: tuple[float, ...] | jax.Array, cyclic: bool
) -> jax.Array:
    """sum_j weights[|j|] x[..., c+j] over |j| < len(weights), for every channel c.

    Channels lie on a ring where `cyclic` (indices modulo C, as often as they go round), else on a
    line whose ends see zeros.

    >>> neighborhood_sum(jnp.array([1.0, 2.0, 3.0, 4.0]), (1.0, 1.0), True)
    Array([7., 6., 9., 8.], dtype=float32)
    >>> neighborhood_sum(jnp.array([1.0, 2.0, 3.0, 4.0]), (1.0, 1.0), False)
    Array([3., 6., 9., 7.], dtype=float32)
    """
    return _sum_within(_with_margins(x, len(weights) - 1, cyclic), weights)


def _with_margins(x: jax.Array, reach: int, cyclic: bool) -> jax.Array:
    """x with `reach` channels more at both ends: those round the ring, or zeros."""
    if not cyclic or reach > x.shape[-1]:
        margins = [(0, 0)] * (x.ndim - 1) + [(reach, reach)]
        return _computed(jnp.pad(_computed(x), margins, mode="wrap" if cyclic else "constant"))
    x = _computed(x)
    left, right = _computed(x[..., -reach:]), _computed(x[..., :reach])
    return _computed(jnp.concatenate([left, x, right], axis=-1))


def _sum_within(x: jax.Array, weights: tuple[float, ...] | jax.Array) -> jax.Array:
    """The weighted sums of :func:`neighborhood_sum` over x, which has its margins."""
    reach = len(weights) - 1
    total = weights[0] * _shifted(x, reach, 0)
    for j in range(1, reach + 1):
        total = total + weights[j] * (_shifted(x, reach, -j) + _shifted(x, reach, j))
    return total


def _shifted(x: jax.Array, reach: int, by: int) -> jax.Array:
    """Channels `by` further on, of x with margins of `reach`."""
    return jax.lax.slice_in_dim(x, reach + by, x.shape[-1] - reach + by, axis=-1)


def _computed(x: jax.Array) -> jax.Array:
    """x, which XLA:CPU is to keep in memory and not to compute again inside of what reads it.

    A loop over slices of an array runs in vector instructions; with a pad or a concatenation fused
    into it, one element at a time, which takes several times as long (docs/performance.md).
    """
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


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
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    with_margins = _with_margins(wide, len(weights) - 1, cyclic)
    log = _computed(jnp.log(constant + _sum_within(with_margins * with_margins, weights)))
    force = wide * (_power(log, -exponents) - 1)
    return force.astype(y.dtype), (y, log, exponents)


def _power(log: jax.Array, exponents: jax.Array) -> jax.Array:
    """D^exponents, from log D."""
    return jnp.exp(jnp.broadcast_to(exponents, log.shape) * log)


def _backward(
    weights: tuple[float, ...],
    constant: float,
    cyclic: bool,
    saved: tuple[jax.Array, jax.Array, jax.Array],
    d_force: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    # By hand: autodiff would keep every intermediate array in memory, and pad and add where the
    # sum over a symmetric neighbourhood is its own transpose.
    y, log, exponents = saved
    reach = len(weights) - 1
    wide, d_wide = y.astype(log.dtype), _computed(d_force.astype(log.dtype))
    # dL/dD = -exponents * slope.
    slope = _computed(d_wide * wide * _power(log, -exponents - 1))
    by_log = _computed(slope * jnp.exp(log) * log)
    d_exponents = -jnp.sum(by_log, axis=tuple(range(y.ndim - 1)))
    slope = _with_margins(slope, reach, cyclic)
    ring = jnp.pad(exponents, (reach, reach), mode="wrap" if cyclic else "constant")
    d_squares = -_sum_within(jnp.broadcast_to(ring, slope.shape) * slope, weights)
    d_y = d_wide * (_power(log, -exponents) - 1) + 2 * wide * d_squares
    return d_y.astype(y.dtype), d_exponents.astype(exponents.dtype)


normalizing_force.defvjp(_forward, _backward)


def exponential_weights(length: float, reach: int) -> tuple[float, ...]:
    """exp(-j / length) for j = 0 ... reach, scaled so that both sides together sum to one."""
    weights = np.exp(-np.arange(reach + 1) / length)
    total = 2 * weights.sum() - weights[0]
    return tuple(float(w) for w in weights / total)


def channel_means(y: jax.Array) -> jax.Array:
    """The mean of each image's channels over the pixels: [N, ..., C] -> [N, 1, ..., 1, C].

    At least float32; of [N, C] and [C] the values themselves.
    """
    pixels = tuple(range(1, y.ndim - 1))
    return jnp.mean(y.astype(jnp.promote_types(y.dtype, jnp.float32)), pixels, keepdims=True)


def weighted_neighbors(x: jax.Array, weights: jax.Array) -> jax.Array:
    """sum_j weights[j] x[..., c+j] over |j| <= r on the ring, for every channel c.

    Args:
        x: [..., C], of few numbers, like :func:`channel_means`.
        weights: [2r + 1, C], or [2r + 1, 1] for all channels alike; the middle row is c's own.

    >>> weighted_neighbors(jnp.array([1.0, 2.0, 4.0]), jnp.array([[0.0], [1.0], [10.0]]))
    Array([21., 42., 14.], dtype=float32)
    """
    radius = weights.shape[0] // 2
    rows = weights.reshape((len(weights),) + (1,) * (x.ndim - 1) + (-1,))
    parts = [
        jnp.broadcast_to(row, x.shape) * jnp.roll(x, -j, axis=-1)
        for j, row in zip(range(-radius, radius + 1), rows, strict=True)
    ]
    return sum(parts[1:], start=parts[0])


def gate_spread(gates: jax.Array) -> dict[str, jax.Array]:
    """What a record says of gates [N, C]: their mean, their standard deviation, and
    that between the images, of a channel on average, which a constant factor does not have."""
    by_image = jnp.std(gates, axis=0)
    return {
        "gate_mean": jnp.mean(gates),
        "gate_sd": jnp.std(gates),
        "gate_image_sd": jnp.sqrt(jnp.mean(jnp.square(by_image))),
    }
