"""The table of a model's layers: output shape, parameters, FLOPs, and how convolutions are done."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from rich import box
from rich.console import Console
from rich.table import Table

from physjax.config import ModelConfig
from physjax.models import build, get_spec, image_size, law_name
from physjax.nn.conv import Conv
from physjax.ops.conv_algorithm import choose


@dataclass(frozen=True)
class Layer:
    """A layer, or a block of layers, of a network."""

    name: str
    output: tuple[int, ...]
    """Shape of what it makes of one image, without the batch."""
    parameters: int
    """Numbers that are trained."""
    statistics: int
    """Numbers that batch norm keeps, and which no gradient trains."""
    flops: int
    """Of the forward pass of one image, as XLA counts them."""


def summary(
    config: ModelConfig, num_classes: int, batch_size: int, width: int | None = None
) -> str:
    """A table of every layer's output shape, parameters and forward FLOPs for one image.

    FLOPs are XLA's count for direct convolutions, whatever algorithm is configured; below
    the table stands the algorithm of each, which depends on the platform and the batch.

    Args:
      config: of the model.
      num_classes: K.
      batch_size: of a training step.
      width: in characters, at most; None: the terminal's. What is longer goes on below.
    """
    size = image_size(config)
    *layers, whole = layer_table(config, num_classes)
    console = Console(
        file=io.StringIO(), width=width or shutil.get_terminal_size().columns, highlight=False
    )
    console.print(
        f"{get_spec(config).title} ({config.name}, size {config.size}), force law "
        f"{law_name(config)}, {size}x{size} images, {num_classes} classes",
        markup=False,
    )
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
    table.add_column("layer", "total", overflow="fold")
    table.add_column("output", str(list(whole.output)), overflow="fold")
    table.add_column("parameters", f"{whole.parameters:,}", justify="right", overflow="fold")
    table.add_column("FLOPs", f"{whole.flops:,}", justify="right", overflow="fold")
    for layer in layers:
        counts = (f"{layer.parameters:,}", f"{layer.flops:,}")
        table.add_row(layer.name, str(list(layer.output)), *counts)
    console.print(table)
    if whole.statistics:
        console.print(f"Beside them {whole.statistics:,} running statistics of batch norm.\n")
    console.print(
        f"How convolutions are computed on {jax.default_backend()}, batch {batch_size} (one "
        "algorithm, or output/input gradient/kernel gradient):",
    )
    grid = Table.grid(padding=(0, 2))
    for name, (kernel, plan) in algorithms(config, num_classes, batch_size).items():
        grid.add_row(f"  {name}", kernel, plan)
    for column in grid.columns:
        column.overflow = "fold"
    console.print(grid)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines)


def layer_table(config: ModelConfig, num_classes: int) -> list[Layer]:
    """The layers and blocks with parameters that a network consists of, and last the whole.

    FLOPs are those of direct convolutions.
    """
    size, calls = image_size(config), dict[tuple[str, ...], tuple[Any, ...]]()
    model = build(dataclasses.replace(config, algorithm="direct"), num_classes)
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)

    def note(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        output, path = call(*args, **kwargs), context.module.path
        if len(path) < 2 and context.method_name == "__call__" and path not in calls:
            module = context.module.clone(parent=None)
            calls[path] = (module, jax.tree.map(_shape, args), kwargs, output.shape[1:])
        return output

    with nn.intercept_methods(note):
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
    layers = []
    for path, (module, args, kwargs, output) in calls.items():
        own = {
            kind: tree[path[0]] if path else tree
            for kind, tree in variables.items()
            if not path or path[0] in tree
        }
        if own:
            flops = _flops(module, own, args, kwargs)
            counts = (_size(own.get("params")), _size(own.get("batch_stats")))
            layers.append(Layer("/".join(path), output, *counts, flops))
    return layers


def _shape(x: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, jax.Array) else x


def _size(tree: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def _flops(module: nn.Module, variables: Any, args: Any, kwargs: Any) -> int:
    """XLA's count for a call whose arrays are given as shapes."""
    spots = [i for i, x in enumerate(args) if isinstance(x, jax.ShapeDtypeStruct)]

    def apply(variables: Any, arrays: list[jax.Array]) -> Any:
        words = list(args)
        for i, x in zip(spots, arrays, strict=True):
            words[i] = x
        return module.apply(variables, *words, **kwargs)

    cost = jax.jit(apply).lower(variables, [args[i] for i in spots]).cost_analysis()
    return int(cost.get("flops", 0)) if isinstance(cost, dict) else 0


def algorithms(
    config: ModelConfig, num_classes: int, batch_size: int
) -> dict[str, tuple[str, str]]:
    """By layer, its kernel and how its convolution is computed here.

    It is :func:`physjax.ops.conv_algorithm.choose` that chooses.
    """
    by_layer: dict[str, tuple[str, str]] = {}

    def note(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        layer = context.module
        if isinstance(layer, Conv) and context.method_name == "__call__":
            shape = args[0].shape
            kernel = layer.kernel_shape(shape[-1])
            plan = choose(shape, kernel, layer.stride_pair, layer.padding, layer.algorithm)
            by_layer["/".join(layer.path)] = f"{kernel[0]}x{kernel[1]}", str(plan)
        return call(*args, **kwargs)

    size = image_size(config)
    with nn.intercept_methods(note):
        jax.eval_shape(
            lambda: build(config, num_classes).init(
                jax.random.key(0), jnp.zeros((batch_size, size, size, 3))
            )
        )
    return by_layer
