"""The table of a model's layers: output shape, parameters, FLOPs, and how convolutions are done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.config import ModelConfig
from physjax.models import build, get_spec, image_size, law_name
from physjax.nn.physics import PhysicsLayer
from physjax.ops.conv_algorithm import choose


def summary(config: ModelConfig, num_classes: int, batch_size: int) -> str:
    """A table of every layer's output shape, parameters and forward FLOPs for one image.

    FLOPs are XLA's count for direct convolutions, whatever way of computing them is configured;
    below the table stands the way, which depends on the platform and the batch.
    """
    size = image_size(config)
    direct = dataclasses.replace(config, conv="direct")
    table = nn.tabulate(
        build(direct, num_classes),
        jax.random.key(0),
        depth=1,
        compute_flops=True,
        console_kwargs={"width": 120, "force_terminal": False},
    )(jnp.zeros((1, size, size, 3)))
    head = (
        f"{get_spec(config).title} ({config.name}, size {config.size}), force law "
        f"{law_name(config)}, {size}x{size} images, {num_classes} classes"
    )
    found = ways(config, num_classes, batch_size)
    width = max(len(name) for name in found)
    lines = [f"  {name:{width}}  {way}" for name, way in found.items()]
    title = (
        f"How convolutions are computed on {jax.default_backend()}, batch {batch_size} (one way, "
        "or output/gradient by input/gradient by kernel):"
    )
    return "\n".join([head, table, title, *lines])


def ways(config: ModelConfig, num_classes: int, batch_size: int) -> dict[str, str]:
    """By layer, how its convolution is computed here (`physjax.ops.conv_algorithm.choose`)."""
    found: dict[str, str] = {}

    def note(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        layer = context.module
        if isinstance(layer, PhysicsLayer) and context.method_name == "__call__":
            shape = args[0].shape
            kernel = (*layer.window, shape[-1], layer.features)
            plan = choose(shape, kernel, layer.steps, layer.padding, layer.method)
            found["/".join(layer.path)] = f"{f'{kernel[0]}x{kernel[1]}':5}  {plan}"
        return call(*args, **kwargs)

    size = image_size(config)
    with nn.intercept_methods(note):
        jax.eval_shape(
            lambda: build(config, num_classes).init(
                jax.random.key(0), jnp.zeros((batch_size, size, size, 3))
            )
        )
    return found
