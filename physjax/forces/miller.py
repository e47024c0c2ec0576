"""Divisive normalisation between neighbouring channels, as it was published.

The layer computes convolution, nonlinearity, division, norm, pool. Length, gain, constant and
exponent are learned, one of each for a layer; those that must be positive by their logarithm.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from physjax.forces.law import ForceLaw, Params
from physjax.forces.neighborhood import neighborhood_sum
from physjax.ops.stored import stored

_Start = Annotated[float, Field(gt=0, le=1e3)]
_Length = Annotated[
    _Start, Field(description="start of lambda, channels by which a weight falls to 1/e")
]
_Alpha = Annotated[
    _Start | None,
    Field(description="start of alpha; left out: 1, and 0.1 without a norm"),
]


def _force(
    params: Params,
    y: jax.Array,
    *,
    # As published it is four lengths; lengths up to `reach` / 4 are not cut.
    reach: Annotated[
        int,
        Field(ge=0, le=256, description="channels away that the furthest neighbour ever is"),
    ] = 16,
) -> jax.Array:
    length, alpha = jnp.exp(params["log_length"]), jnp.exp(params["log_alpha"])
    return _divided(y, length, alpha, params["beta"], params["log_k"], reach) - y


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _divided(
    y: jax.Array,
    length: jax.Array,
    alpha: jax.Array,
    beta: jax.Array,
    log_k: jax.Array,
    reach: int,
) -> jax.Array:
    """The published equation: what the layer passes on, [..., C], at least float32."""
    return _forward(y, length, alpha, beta, log_k, reach)[0]


def _forward(
    y: jax.Array,
    length: jax.Array,
    alpha: jax.Array,
    beta: jax.Array,
    log_k: jax.Array,
    reach: int,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    squares = jnp.square(wide)
    log = jnp.log1p(neighborhood_sum(squares, alpha / length * _decay(length, reach), False))
    divided = squares * jnp.exp(-beta * (log_k + log))
    return divided, (y, log, length, alpha, beta, log_k)


def _decay(length: jax.Array, reach: int) -> jax.Array:
    """exp(-j / length) for j = 0 ... reach, and 0 beyond four lengths."""
    distance = jnp.arange(reach + 1)
    return jnp.where(distance <= 4 * length, jnp.exp(-distance / length), 0)


def _backward(
    reach: int, saved: tuple[jax.Array, ...], d_divided: jax.Array
) -> tuple[jax.Array, ...]:
    # By hand: autodiff makes the sums over neighbours part of sums over all pixels, which XLA:CPU
    # then computes one element at a time; that took four times as long.
    y, log, length, alpha, beta, log_k = saved
    wide = y.astype(log.dtype)
    power = jnp.exp(-beta * (log_k + log))
    by_result = d_divided * jnp.square(wide) * power
    by_log = by_result * jnp.exp(-log)  # by the energy, but for -beta alpha / length
    # The sum over neighbours is its own transpose; that it ends at 4 lengths has no derivative.
    decay = _decay(length, reach)
    slopes = decay * jnp.arange(reach + 1) / jnp.square(length)
    d_y = d_divided * power - neighborhood_sum(by_log, beta * alpha / length * decay, False)
    longer = _total(jnp.square(wide) * stored(neighborhood_sum(by_log, slopes, False)))
    result = _total(by_result)
    energy = result - _total(by_log)
    d_params = (
        beta / length * (energy - alpha * longer),  # length
        -beta / alpha * energy,  # alpha
        -(log_k * result + _total(by_result * log)),  # beta
        -beta * result,  # log_k
    )
    d_values = [d.astype(p.dtype) for d, p in zip(d_params, saved[2:], strict=True)]
    return (2 * wide * d_y).astype(y.dtype), *d_values


def _total(x: jax.Array) -> jax.Array:
    """The sum of all of x: first of each channel, in vector instructions."""
    return jnp.sum(jnp.sum(x, tuple(range(x.ndim - 1))))


_divided.defvjp(_forward, _backward)


def _init(
    channels: int,
    *,
    length: _Length = 2.0,
    alpha: _Alpha = None,
    beta: Annotated[_Start, Field(description="start of the exponent")] = 1.0,
    k: Annotated[_Start, Field(description="start of k")] = 1.0,
) -> dict[str, np.ndarray]:
    del channels
    alpha = 1.0 if alpha is None else alpha
    starts = {"log_length": np.log(length), "log_alpha": np.log(alpha), "log_k": np.log(k)}
    return {name: np.asarray(x, np.float32) for name, x in {**starts, "beta": beta}.items()}


def _init_without_norm(
    channels: int,
    *,
    length: float = 2.0,
    alpha: _Alpha = None,
    beta: float = 1.0,
    k: float = 1.0,
) -> dict[str, np.ndarray]:
    alpha = 0.1 if alpha is None else alpha
    return _init(channels, length=length, alpha=alpha, beta=beta, k=k)


MILLER = ForceLaw(
    name="miller",
    equation="y[c]^2 / (k (1 + alpha/l sum_j y[c+j]^2 exp(-|j|/l)))^beta - y[c], |j| <= 4 l",
    source="Miller, Chung & Miller, ICLR 2022 (divisive feature normalization in AlexNet)",
    force=_force,
    init=_init,
    init_without_norm=_init_without_norm,
    place="before_late_norm",
    starts_plain=False,
)
