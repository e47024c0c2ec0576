"""A trained physics model -> an equal plain model: the forces merge into kernels and biases.

A force that is constant or linear in the layer's values leaves the layer affine. It folds exactly,
up to rounding: a folded model costs what the plain one costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from physjax.forces import ForceLaw, check_law, get_law
from physjax.nn.connection import PLAIN, Connection


def foldable(law: str | ForceLaw) -> bool:
    """Whether :func:`fold` can merge this law. Raises ConfigError where there is none."""
    return _law(law).form in ("constant", "linear")


def _law(law: str | ForceLaw) -> ForceLaw:
    return get_law(law) if isinstance(law, str) else law


def fold(
    variables: Mapping[str, Any], law: str | ForceLaw, connection: Connection = PLAIN
) -> dict[str, Any]:
    """Variables of the plain model (law `none`) that gives the same logits in evaluation.

    `variables` holds `params` and, for a model with batch norm, `batch_stats`; nothing in it is
    changed. A constant force goes into the bias, of the norm where there is one, and a linear force
    into kernel and bias, K + force(K). Kernels become those that `connection` computes with,
    and its own parameters go. What has no force, a convolution alone or a norm that stands alone,
    stays as it is.

    Raises ValueError for a law that is neither constant nor linear, or that only says so.
    """
    law = _law(law)
    if not foldable(law):
        raise ValueError(
            f"the force law {law.name!r} is neither constant nor linear and cannot be folded"
        )
    check_law(law)
    return {**variables, "params": _fold_tree(variables["params"], law, connection)}


def _fold_tree(params: Mapping[str, Any], law: ForceLaw, connection: Connection) -> dict[str, Any]:
    dimensions = getattr(params.get("kernel"), "ndim", 0)
    if dimensions == 4:
        return _fold_layer(params, law, connection)
    if dimensions == 2 and connection.dense:
        return _stored(params, connection)
    return {
        name: _fold_tree(value, law, connection) if isinstance(value, Mapping) else value
        for name, value in params.items()
    }


def _stored(layer: Mapping[str, Any], connection: Connection) -> dict[str, Any]:
    """Kernel, bias and norm of the layer as the plain one has them, its force left out."""
    kept = {name: layer[name] for name in ("kernel", "bias", "norm") if name in layer}
    return {**kept, "kernel": connection.effective_kernel(layer["kernel"], layer)}


def _has_force(layer: Mapping[str, Any], law: ForceLaw) -> bool:
    """Not a convolution alone, nor a layer that its network builds without the law."""
    own = {*law.init(1), *(("interaction_strength",) if law.has_strength else ())}
    return ("bias" in layer or "norm" in layer) and own <= set(layer)


def _fold_layer(layer: Mapping[str, Any], law: ForceLaw, connection: Connection) -> dict[str, Any]:
    folded = _stored(layer, connection)
    if not _has_force(layer, law):
        return folded
    if law.form == "linear":
        for name in ("kernel", "bias"):
            if name in folded:
                folded[name] = folded[name] + law(layer, folded[name])
        return folded
    where, old = ("norm", layer["norm"]["bias"]) if "norm" in layer else ("bias", layer["bias"])
    bias = old + law(layer, old)
    folded[where] = {**layer["norm"], "bias": bias} if where == "norm" else bias
    return folded
