"""Feedback alignment: the error travels back through fixed random weights.

Backpropagation sends the error of a layer's output back through the transpose of the very kernel
that it came through, which no physical or biological synapse could know. Here it goes through the
transpose of another kernel B of the same shape, random and fixed:

    y = W x,    dL/dW = dL/dy x^T as ever,    dL/dx := B^T dL/dy.

W comes to align with B while it learns, and what travels back then points downhill
(Lillicrap, Cownden, Tweed & Akerman, Nature Communications 7, 13276 (2016), Eqs. 1 to 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from physjax.nn.connection import Apply, Connection
from physjax.nn.initializers import he_kernel_init
from physjax.rules.backprop import gradient_update
from physjax.rules.rule import LearningRule


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _aligned(apply: Apply, x: jax.Array, kernel: jax.Array, feedback: jax.Array) -> jax.Array:
    del feedback
    return apply(x, kernel)


def _forward(
    apply: Apply, x: jax.Array, kernel: jax.Array, feedback: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    return apply(x, kernel), (x, kernel, feedback)


def _backward(
    apply: Apply, saved: tuple[jax.Array, jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, kernel, feedback = saved
    d_kernel = jax.vjp(lambda k: apply(x, k), kernel)[1](dy)[0]
    d_x = jax.vjp(lambda v: apply(v, feedback), x)[1](dy)[0]
    return d_x, d_kernel, jnp.zeros_like(feedback)


_aligned.defvjp(_forward, _backward)


def _feedback_init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    # A fifth of the kernel's own start. At its full size the hidden layers move far along the
    # feedback before the layers above have aligned with it: on the digits the loss then rose to
    # thousands in the first epochs.
    return 0.2 * he_kernel_init(key, shape, dtype)


def _connect(
    apply: Apply, x: jax.Array, kernel: jax.Array, params: Mapping[str, jax.Array]
) -> jax.Array:
    return _aligned(apply, x, kernel, params["feedback"].astype(kernel.dtype))


FEEDBACK_ALIGNMENT = LearningRule(
    name="feedback-alignment",
    equation="d W = -dL/dy x^T, with dL/dx := B^T dL/dy through fixed random B",
    source="Lillicrap, Cownden, Tweed & Akerman, Nature Communications 7, 13276 (2016)",
    update=gradient_update,
    connection=Connection(params={"feedback": _feedback_init}, connect=_connect, dense=True),
)
