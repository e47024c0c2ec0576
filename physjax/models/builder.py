"""A network made of a config: which base, of which size, with which force law."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.config import ConfigError, ModelConfig
from physjax.forces import ForceLaw, get_law
from physjax.models import MODELS
from physjax.models.base import Classifier, ModelSpec
from physjax.nn.connection import PLAIN, Connection
from physjax.nn.conv import Conv
from physjax.nn.dense import Dense
from physjax.nn.initializers import (
    dirac_kernel_init,
    he_kernel_init,
    torch_bias_init,
    torch_kernel_init,
    zero_bias_init,
)
from physjax.nn.physics import PhysicsLayer

BATCH_NORM_EPSILON = 1e-5
_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": nn.gelu,
    "celu": partial(nn.celu, alpha=0.3),
}


def get_spec(config: ModelConfig) -> ModelSpec:
    """The registry entry of `config.name`.

    Raises ConfigError for a name, a size or auxiliary heads that do not exist, with those that do.
    """
    spec = MODELS.get_named(config.name)
    if config.size not in spec.networks:
        raise ConfigError(
            f"model {config.name!r} has no size {config.size!r}; it has {', '.join(spec.networks)}"
        )
    if config.auxiliary_weight and not spec.auxiliary:
        able = ", ".join(name for name, other in MODELS.items() if other.auxiliary)
        raise ConfigError(
            f"auxiliary_weight is {config.auxiliary_weight}, but model {config.name!r} has no "
            f"auxiliary heads; leave it out, or choose {able}"
        )
    return spec


def law_name(config: ModelConfig) -> str:
    """The force law that `config` asks for. Raises ConfigError with the names that exist."""
    spec = get_spec(config)
    name = spec.law if config.law == "default" else config.law
    return get_law(name).name


def image_size(config: ModelConfig) -> int:
    """Side in pixels of the images that the network sees."""
    return get_spec(config).image_sizes[config.size]


def build(
    config: ModelConfig,
    num_classes: int,
    *,
    dtype: jnp.dtype = jnp.float32,
    axis_name: str | None = None,
    law: str | ForceLaw | None = None,
    connection: Connection = PLAIN,
    remat: bool = False,
) -> Classifier:
    """The network that `config` describes.

    Args:
      config: of the network.
      num_classes: K.
      dtype: of the arithmetic.
      axis_name: the mapped axis over which batch-norm statistics are averaged; None: there is none.
      law: used in place of the configured one, whose settings are at their defaults; "none" gives
        the plain twin.
      connection: what a learning rule needs in every layer.
      remat: keep only the input of each layer for the backward pass, and compute the rest again.

    Raises:
      ConfigError: a name does not exist.
    """
    spec = get_spec(config)
    own_start = spec.torch_init and config.size == "imagenet"
    torch_init = own_start or config.kernel_start == "uniform"
    bias_init = torch_bias_init if torch_init else zero_bias_init
    batch_norm = partial(
        nn.BatchNorm,
        momentum=config.norm_momentum,
        epsilon=BATCH_NORM_EPSILON,
        use_scale=config.norm_scale,
        dtype=dtype,
        axis_name=axis_name,
    )
    norm = batch_norm if config.norm == "batch" else None
    kernel: dict[str, Any] = {
        "kernel_init": torch_kernel_init if torch_init else he_kernel_init,
        "connection": connection,
        "dtype": dtype,
    }
    layer = partial(
        # `train`, after the module itself and the images, is no array.
        nn.remat(PhysicsLayer, static_argnums=(2,)) if remat else PhysicsLayer,
        law=law if isinstance(law, ForceLaw) else get_law(law or law_name(config)),
        interaction_strength=config.interaction_strength,
        learn_strength=config.learn_strength,
        norm=norm,
        pool_first=config.pool_first,
        algorithm=config.algorithm,
        bias_init=bias_init,
        **kernel,
    )
    if config.kernel_start == "dirac":
        layer = partial(layer, kernel_init=dirac_kernel_init)
    options = dict(spec.options or {})
    if spec.auxiliary:
        options["auxiliary"] = config.auxiliary_weight > 0
    return spec.networks[config.size](
        num_classes=num_classes,
        layer=layer,
        convolution=partial(Conv, algorithm=config.algorithm, **kernel),
        dense=partial(Dense, bias_init=bias_init, **kernel),
        norm=norm,
        activation=_ACTIVATIONS[config.activation],
        dropout=config.dropout,
        logit_scale=config.logit_scale,
        width=config.width,
        **options,
    )


def init_variables(model: Classifier, key: jax.Array, size: int) -> dict:
    """Fresh variables (params and, with a norm, batch_stats) for images of size x size x 3."""
    images = jnp.zeros((1, size, size, 3))
    variables = jax.jit(partial(model.init, train=False, mutable=["params", "batch_stats"]))
    return dict(variables(key, images))


def first_layer(model: Classifier, size: int) -> tuple[str, ...]:
    """Where the variables of the layer that sees the images lie: the names on the way to it."""
    found: list[tuple[str, ...]] = []

    def look(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if getattr(context.module, "source", False) and context.method_name == "__call__":
            found.append(context.module.path)
        return method(*args, **kwargs)

    with nn.intercept_methods(look):
        images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    return found[0]
