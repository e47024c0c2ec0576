"""A trained physics model -> an equal plain model: the forces merge into kernels and biases.

A force that is affine in the layer's values, force(y) = y @ M + v, is part of an affine layer. It
folds exactly (up to rounding): a folded model costs what the plain one costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from physjax.forces import ForceLaw, get_law
from physjax.models import BATCH_NORM_EPSILON


def foldable(law: str) -> bool:
    """Whether :func:`fold` can merge this law. Raises ValueError for a name that does not exist."""
    return get_law(law).affine is not None


def fold(variables: Mapping[str, Any], law: str) -> dict[str, Any]:
    """Variables of the plain model (law `none`) that gives the same logits in evaluation.

    `variables` holds `params` and, for a model with batch norm, `batch_stats`; nothing in it is
    changed. A constant force goes into the bias, of the norm where there is one. A force with a
    matrix M goes into the kernel, K (I + M), after the norm's running statistics have. Resistances
    between channels (`physjax.channels`) divide the kernel. What has no
    force, a bare convolution or a norm that stands alone, stays as it is.

    Raises ValueError for a law that is not affine.
    """
    rule = get_law(law)
    if rule.affine is None:
        raise ValueError(f"the force law {law!r} is not affine and cannot be folded")
    params, stats = _fold_tree(variables["params"], variables.get("batch_stats", {}), rule)
    return {"params": params, "batch_stats": stats} if stats else {"params": params}


def _fold_tree(params: Mapping[str, Any], stats: Mapping[str, Any], law: ForceLaw) -> Any:
    if getattr(params.get("kernel"), "ndim", 0) == 4:
        return _fold_layer(params, stats, law)
    new_params: dict[str, Any] = {}
    # The statistics of a norm that stands alone stay as they are.
    new_stats = {name: v for name, v in stats.items() if not isinstance(v, Mapping)}
    for name, value in params.items():
        if isinstance(value, Mapping):
            new_params[name], below = _fold_tree(value, stats.get(name, {}), law)
            if below:
                new_stats[name] = below
        else:
            new_params[name] = value
    return new_params, new_stats


def _fold_layer(layer: Mapping[str, Any], stats: Mapping[str, Any], law: ForceLaw) -> Any:
    assert law.affine is not None
    layer = dict(layer)
    if "resistances" in layer:
        layer["kernel"] = layer["kernel"] / layer.pop("resistances")[None, None]
    kernel, channels = layer["kernel"], layer["kernel"].shape[-1]
    if set(layer) == {"kernel"}:  # a bare convolution has no force
        return {"kernel": kernel}, stats
    matrix, offset = law.affine(layer, channels)
    if matrix is None:
        if "norm" in layer:
            norm = {**layer["norm"], "bias": layer["norm"]["bias"] + offset}
            return {"kernel": kernel, "norm": norm}, stats
        return {"kernel": kernel, "bias": layer["bias"] + offset}, stats

    mix = jnp.eye(channels) + matrix
    if "norm" not in layer:
        return {"kernel": kernel @ mix, "bias": layer["bias"] @ mix + offset}, stats
    mean, variance = stats["norm"]["mean"], stats["norm"]["var"]
    gain = layer["norm"]["scale"] * jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
    bias = (layer["norm"]["bias"] - mean * gain) @ mix + offset
    # The plain model has a norm too: one that changes nothing but for the bias.
    norm = {"scale": jnp.ones_like(gain), "bias": bias}
    still = {"mean": jnp.zeros_like(mean), "var": jnp.full_like(variance, 1 - BATCH_NORM_EPSILON)}
    return {"kernel": kernel @ (gain[:, None] * mix), "norm": norm}, {"norm": still}
