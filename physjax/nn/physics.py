"""PhysicsLayer, and the small blocks that the models share.

Paper: Cheng, Wang & Lu, *Physic-Driven AlexNet*, section III C. With C output channels on a ring,

    y = norm(conv(x)) + s F(f),    F(f)[c] = f[c-1] + f[c+1], indices modulo C,

where the paper's norm is the identity. The force comes after the norm, since a batch norm would
subtract any constant per channel that came before it. A force that is linear in what it acts on
comes before the norm: there it can act on the kernel, which is far smaller than the activations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.forces import ForceLaw, Params, check_law, get_law
from physjax.nn.connection import PLAIN, Connection
from physjax.nn.taps import SOURCE, tap
from physjax.ops.conv import conv
from physjax.ops.conv_algorithm import Method

Initializer = Callable[..., jax.Array]
BiasInitializer = Callable[[int], Initializer]

DIAGNOSTICS = "diagnostics"
"""The collection in which a layer leaves `force_rms`, where a caller makes it mutable."""


class LayerFactory(Protocol):
    """What a model builds its convolutions with: PhysicsLayer, most of its arguments bound."""

    def __call__(self, features: int, **arguments: Any) -> nn.Module: ...


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


def _pair(value: int | Sequence[int], name: str, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < least for v in pair):
        raise ValueError(f"{name} is {value!r}; it must be one or two integers of at least {least}")
    return pair[0], pair[1]


class PhysicsLayer(nn.Module):
    """A convolution whose output channels, arranged on a ring, act on each other by a force law.

    Order: convolution, norm, force, activation, pool. A linear law comes before the norm, where
    conv(x, K) + force(conv(x, K)) = conv(x, K + force(K)), and a law that acts after the activation
    comes last, on what the pool leaves (see `physjax.forces.ForceLaw`). With law `none` this is the
    plain convolution, and with any other law whose parameters are at their start values it computes
    the same, bit for bit.

    Parameters (one dictionary): `kernel` [kh, kw, in, out]; `bias` [out], absent where a norm
    follows; those of the law, for `ring`: `interaction_strength` [], `neighbor_forces` [out]; and
    those of the connection, for Eq. (1) `resistances` [in, out] (`physjax.rules`).

    Attributes:
      features: output channels C.
      kernel_size: one integer or (height, width).
      strides: one integer or (vertical, horizontal), at least 1.
      padding: "SAME", "VALID", pixels on every side, or ((top, bottom), (left, right)).
      in_features: input channels, if they are to be checked; None: whatever comes.
      law: a name in `physjax.forces.LAWS`, or a ForceLaw.
      interaction_strength: start value of s.
      learn_strength: whether s is trained; else it stays where it starts.
      norm: makes a normalisation module that takes `use_running_average`, or None.
      activation: the nonlinearity, or None.
      pool: what pools the pixels after the activation, [N, H, W, C] -> [N, H', W', C], or None.
      pool_first: pool right after the convolution, before the norm.
      connection: how a learning rule connects input and kernel; the plain way by default.
      source: whether the layer's input is the network's own, which a learning rule holds fixed.
      bare: the kernel alone, without bias, norm, force, activation and pool, for the convolutions
        of a pre-activation network, whose output meets its norm and nonlinearity elsewhere.
      method: how the convolution is computed, see `physjax.ops.conv.conv`.
      dtype: of the arithmetic; parameters are float32.

    Raises ValueError for input that is not [N, H, W, in_features] and for arguments out of range.
    """

    features: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: str | int | Sequence[tuple[int, int]] = "SAME"
    in_features: int | None = None
    law: str | ForceLaw = "ring"
    interaction_strength: float = 2.8
    learn_strength: bool = True
    norm: Callable[..., nn.Module] | None = None
    activation: Callable[[jax.Array], jax.Array] | None = None
    pool: Callable[[jax.Array], jax.Array] | None = None
    pool_first: bool = False
    connection: Connection = PLAIN
    source: bool = False
    bare: bool = False
    method: Method = "auto"
    dtype: Any = jnp.float32
    kernel_init: Initializer = he_kernel_init
    bias_init: BiasInitializer = zero_bias_init

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return _pair(self.kernel_size, "kernel_size", 1)

    @property
    def steps(self) -> tuple[int, int]:
        """Vertical and horizontal stride."""
        return _pair(self.strides, "strides", 1)

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        if self.features < 1:
            raise ValueError(f"features is {self.features}; a layer needs at least 1 channel")
        if images_NHWC.ndim != 4:
            raise ValueError(f"images have shape {images_NHWC.shape}; they must be [N, H, W, C]")
        channels = images_NHWC.shape[-1]
        if self.in_features is not None and channels != self.in_features:
            raise ValueError(
                f"images have {channels} channels; this layer was made for in_features="
                f"{self.in_features}"
            )
        law = get_law(self.law) if isinstance(self.law, str) else self.law
        check_law(law)

        shape = (*self.window, channels, self.features)
        kernel_HWIO = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = None
        if self.norm is None and not self.bare:
            start = self.bias_init(math.prod(shape[:-1]))
            bias = self.param("bias", start, (self.features,), jnp.float32)
        params = {} if self.bare else self._force_params(law)
        own = connection_params(self, self.connection, shape)
        kernel_HWIO = self.connection.effective_kernel(kernel_HWIO, own)
        if self.connection.taps:
            images_NHWC = tap(self, SOURCE if self.source else "input", images_NHWC)

        linear = law.form == "linear" and not self.bare
        # On the kernel, unless somebody asks for the force itself.
        on_kernel = linear and not self.is_mutable_collection(DIAGNOSTICS)
        if on_kernel:
            with jax.named_scope("force"):
                kernel_HWIO = kernel_HWIO + law(params, kernel_HWIO)
                bias = None if bias is None else bias + law(params, bias)
        apply = partial(conv, strides=self.steps, padding=self.padding, method=self.method)
        y = self.connection.connect(
            apply, images_NHWC.astype(self.dtype), kernel_HWIO.astype(self.dtype), own
        )
        if bias is not None:
            y = y + jnp.broadcast_to(bias.astype(y.dtype), y.shape)
        if linear and not on_kernel:
            y = self._add_force(law, params, y)
        pool = None if self.bare else self.pool
        if pool is not None and self.pool_first:
            y = pool(y)
        if not self.bare:
            y = self._norm_force_activation(law, params, y, train)
        if self.connection.taps:
            y = tap(self, "output", y)
        if pool is not None and not self.pool_first:
            y = pool(y)
        if law.after_activation and not self.bare:
            # Without the barrier XLA computes the force again for each pixel that a window of the
            # next layer reads.
            y = jax.lax.optimization_barrier(self._add_force(law, params, y))
        return y

    def _norm_force_activation(
        self, law: ForceLaw, params: Params, y: jax.Array, train: bool
    ) -> jax.Array:
        if self.norm is not None:
            y = self.norm(name="norm")(y, use_running_average=not train)
        if law.form != "linear" and not law.after_activation:
            y = self._add_force(law, params, y)
        if self.activation is not None:
            with jax.named_scope("activation"):
                y = self.activation(y)
        return y

    def _force_params(self, law: ForceLaw) -> dict[str, jax.Array]:
        params = {}
        for name, value in law.init(self.features).items():
            params[name] = self.param(name, lambda _, value=value: jnp.asarray(value))
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
            self.sow(DIAGNOSTICS, "force_rms", jnp.sqrt(mean_square), reduce_fn=lambda _, new: new)
            return y + jnp.broadcast_to(force, y.shape)


def connection_params(
    module: nn.Module, connection: Connection, kernel_shape: tuple[int, ...]
) -> dict[str, jax.Array]:
    """The parameters of `connection` in `module`, by name."""
    return {
        name: module.param(name, start, kernel_shape, jnp.float32)
        for name, start in (connection.params or {}).items()
    }


class Dense(nn.Module):
    """x @ kernel + bias, with the bias' start allowed to depend on the fan-in, as PyTorch's does.

    Attributes:
      features: outputs.
      pool_first: pool right after the convolution, before the norm.
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
