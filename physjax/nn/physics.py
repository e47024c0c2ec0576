"""PhysicsLayer: a convolution whose output channels act on each other by a force law.

Paper: Cheng, Wang & Lu, *Physic-Driven AlexNet*, section III C. With C output channels on a ring,

    y = norm(conv(x)) + s F(f),    F(f)[c] = f[c-1] + f[c+1], indices modulo C,

where the paper's norm is the identity. The force comes after the norm, since a batch norm would
subtract any constant per channel that came before it. A force that is linear in what it acts on
comes before the norm: there it can act on the kernel, which is far smaller than the activations.
Any other force acts where its law says (`physjax.forces.ForceLaw.place`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from physjax.forces import ForceLaw, Params, check_law, get_law
from physjax.nn.connection import connection_params
from physjax.nn.conv import Conv
from physjax.nn.initializers import BiasInitializer, zero_bias_init

DIAGNOSTICS = "diagnostics"
"""The collection in which a layer leaves `force_rms` and what else its law says, where a caller
makes it mutable."""


class PhysicsLayer(Conv):
    """A convolution whose output channels, arranged on a ring, act on each other by a force law.

    Order: convolution, norm, force, activation, pool. A linear law comes before the norm, where
    conv(x, K) + force(conv(x, K)) = conv(x, K + force(K)), and other laws may say another place:
    after the activation, last, on what the pool leaves, or before a norm that comes after the
    activation (`physjax.forces.ForceLaw.place`). With law `none` this is the plain convolution, and
    with any other law that starts plain and is at its start values it computes the same, bit for
    bit.

    Parameters (one dictionary): `kernel` [kh, kw, in, out]; `bias` [out], absent where a norm
    follows; those of the law, for `ring`: `interaction_strength` [], `neighbor_forces` [out]; and
    those of the connection, for Eq. (1) `resistances` [in, out] (`physjax.rules`).

    Attributes, beside those of `Conv`:
      law: a name in `physjax.forces.LAWS`, or a ForceLaw.
      interaction_strength: start value of s.
      learn_strength: whether s is trained; else it stays where it starts.
      norm: makes a normalisation module that takes `use_running_average`, or None.
      activation: the nonlinearity, or None.
      pool: what pools the pixels after the activation, [N, H, W, C] -> [N, H', W', C], or None.
      pool_first: pool right after the convolution, before the norm.

    Raises ValueError for input that is not [N, H, W, C] and for arguments out of range.
    """

    law: str | ForceLaw = "ring"
    interaction_strength: float = 2.8
    learn_strength: bool = True
    norm: Callable[..., nn.Module] | None = None
    activation: Callable[[jax.Array], jax.Array] | None = None
    pool: Callable[[jax.Array], jax.Array] | None = None
    pool_first: bool = False
    bias_init: BiasInitializer = zero_bias_init

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        law = get_law(self.law) if isinstance(self.law, str) else self.law
        check_law(law)

        # In this order: each parameter draws the next numbers of the layer's stream.
        kernel_HWIO = self.stored_kernel(images_NHWC)
        bias = None
        if self.norm is None:
            start = self.bias_init(math.prod(kernel_HWIO.shape[:-1]))
            bias = self.param("bias", start, (self.features,), jnp.float32)
        params = self._force_params(law)
        own = connection_params(self, self.connection, kernel_HWIO.shape)
        kernel_HWIO = self.connection.effective_kernel(kernel_HWIO, own)
        images_NHWC = self.tap_input(images_NHWC)

        linear = law.form == "linear"
        # On the kernel, unless somebody asks for the force itself.
        on_kernel = linear and not self.is_mutable_collection(DIAGNOSTICS)
        if on_kernel:
            with jax.named_scope("force"):
                kernel_HWIO = kernel_HWIO + law(params, kernel_HWIO)
                bias = None if bias is None else bias + law(params, bias)
        y = self.convolve(images_NHWC, kernel_HWIO, own)
        if bias is not None:
            y = y + jnp.broadcast_to(bias.astype(y.dtype), y.shape)
        if linear and not on_kernel:
            y = self._add_force(law, params, y)
        if self.pool is not None and self.pool_first:
            y = self.pool(y)
        y = self.tap_output(self._norm_force_activation(law, params, y, train))
        pool_last = self.pool is not None and not self.pool_first
        if self.pool is not None and pool_last:
            y = self.pool(y)
        if law.acts == "after_pool":
            y = self._add_force(law, params, y)
        if law.acts == "after_pool" or (law.acts == "after_activation" and not pool_last):
            # Without the barrier XLA computes the force again for each pixel that a window of the
            # next layer reads.
            y = jax.lax.optimization_barrier(y)
        return y

    def _norm_force_activation(
        self, law: ForceLaw, params: Params, y: jax.Array, train: bool
    ) -> jax.Array:
        if law.acts == "before_late_norm":
            wide = self._activated(y).astype(jnp.promote_types(y.dtype, jnp.float32))
            # What is divided may be left with a hundredth of its value: the sum of value and force
            # needs the digits.
            return self._normed(self._add_force(law, params, wide).astype(y.dtype), train)
        if law.acts == "before_norm" and law.form != "linear":
            y = self._add_force(law, params, y)
        y = self._normed(y, train)
        if law.acts == "after_norm":
            y = self._add_force(law, params, y)
        y = self._activated(y)
        if law.acts == "after_activation":
            y = self._add_force(law, params, y)
        return y

    def _normed(self, y: jax.Array, train: bool) -> jax.Array:
        if self.norm is None:
            return y
        normed: jax.Array = self.norm(name="norm")(y, use_running_average=not train)
        return normed

    def _activated(self, y: jax.Array) -> jax.Array:
        if self.activation is None:
            return y
        with jax.named_scope("activation"):
            return self.activation(y)

    def _force_params(self, law: ForceLaw) -> dict[str, jax.Array]:
        params = {}
        for name, value in law.init(self.features).items():
            start = value if callable(value) else partial(_fixed, value)
            params[name] = self.param(name, start)
        if law.has_strength:
            strength = self.param(
                "interaction_strength", nn.initializers.constant(self.interaction_strength), ()
            )
            # A fixed strength stays in the pytree; it only gets no gradient.
            params["interaction_strength"] = (
                strength if self.learn_strength else jax.lax.stop_gradient(strength)
            )
        return params

    def _add_force(self, law: ForceLaw, params: Params, y: jax.Array) -> jax.Array:
        with jax.named_scope("force"):
            force = law(params, y)
            # Kept only by a caller that makes the collection mutable.
            mean_square = jnp.mean(jnp.square(force.astype(jnp.float32)))
            self._report("force_rms", jnp.sqrt(mean_square))
            if self.is_mutable_collection(DIAGNOSTICS):
                for name, figure in law.diagnose(params, y).items():
                    self._report(name, figure)
            return y + jnp.broadcast_to(force, y.shape)

    def _report(self, name: str, figure: jax.Array) -> None:
        self.sow(DIAGNOSTICS, name, figure, reduce_fn=lambda _, new: new)


def _fixed(value: np.ndarray, key: jax.Array) -> jax.Array:
    del key
    return jnp.asarray(value)
