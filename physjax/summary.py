"""The table of a model's layers: output shape, parameters, FLOPs."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from physjax.config import ModelConfig
from physjax.models import build, get_spec, image_size, law_name


def summary(config: ModelConfig, num_classes: int) -> str:
    """A table of every layer's output shape, parameters and forward FLOPs for one image.

    FLOPs are XLA's count for direct convolutions, whatever way of computing them is configured.
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
    return f"{head}\n{table}"
