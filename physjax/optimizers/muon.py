"""Muon: the momentum of each convolution's kernel, orthogonalised; everything else by SGD.

The momentum M [in kh kw, out] is replaced by U V^T of its singular value decomposition, which a few
Newton-Schulz steps come close to: all directions of the kernel learn equally fast. Behind a norm
the length of a filter does nothing but slow its learning down, so there the kernel is brought back
to Frobenius norm sqrt(out) after each step, and a step turns it by about `rate`: with smaller
batches there are more steps, each by less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon
from pydantic import Field

from physjax.config import OptimConfig
from physjax.optimizers.masks import Tree
from physjax.optimizers.optimizer import Optimizer, Parts, l2_penalty, momentum, rates

_CONVOLUTION = MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)


def _labels(params: Tree) -> Tree:
    return jax.tree_util.tree_map_with_path(
        lambda path, x: "muon" if path[-1].key == "kernel" and x.ndim == 4 else "sgd", params
    )


def _dimensions(params: Tree) -> Tree:
    return jax.tree.map(lambda _: _CONVOLUTION, params)


def _renewed(params: Mapping[str, Any]) -> dict[str, Any]:
    """`params` with the kernels that a norm follows at Frobenius norm sqrt(out)."""

    def walk(node: Mapping[str, Any]) -> dict[str, Any]:
        found = {k: walk(v) if isinstance(v, Mapping) else v for k, v in node.items()}
        if "norm" in node and getattr(node.get("kernel"), "ndim", 0) == 4:
            kernel = node["kernel"]
            found["kernel"] = kernel * (jnp.sqrt(kernel.shape[-1]) / jnp.linalg.norm(kernel))
        return found

    return walk(params)


def _renew_norms() -> optax.GradientTransformation:
    """After a step, the length of filters that a norm follows is what it was meant to be."""

    def update(updates: Tree, params: Tree) -> Tree:
        after = _renewed(optax.apply_updates(params, updates))
        return jax.tree.map(jnp.subtract, after, params)

    return optax.stateless(update)


_Rate = Annotated[
    Annotated[float, Field(gt=0, le=10)] | None,
    Field(
        description="peak learning rate of the convolutions' kernels; left out: 0.24 with batches"
        " of 2,000, and as the root of the batch size"
    ),
]


def kernel_rate(config: OptimConfig, rate: float | None = None) -> float:
    """The peak learning rate of the convolutions' kernels.

    Where none is chosen: that of airbench94_muon, 0.24 with batches of 2,000, times the root of the
    batch size over 2,000. Kernels of fixed length walk at random on a sphere, by the root of the
    number of steps.
    """
    return 0.24 * math.sqrt(config.batch_size / 2000) if rate is None else rate


def _parts(
    config: OptimConfig,
    schedule: optax.Schedule,
    *,
    rate: _Rate = None,
    beta: Annotated[float, Field(ge=0, lt=1, description="decay of their momentum")] = 0.6,
    newton_schulz_steps: Annotated[
        int, Field(ge=1, le=20, description="steps of the orthogonalisation")
    ] = 3,
    renew: Annotated[
        bool, Field(description="keep the length of the filters that a norm follows")
    ] = True,
) -> Parts:
    muon = optax.chain(
        scale_by_muon(
            ns_steps=newton_schulz_steps, beta=beta, weight_dimension_numbers=_dimensions
        ),
        # The common learning rate follows.
        optax.scale(kernel_rate(config, rate) / config.learning_rate),
    )
    sgd = optax.chain(l2_penalty(config), momentum(config))
    direction = optax.partition({"muon": muon, "sgd": sgd}, _labels)
    return [direction, *rates(config, schedule), *([_renew_norms()] if renew else [])]


MUON = Optimizer(
    name="muon",
    source="Jordan et al. 2024, kellerjordan.github.io/posts/muon; rates and renewed norms as in"
    " airbench94_muon",
    parts=_parts,
)
