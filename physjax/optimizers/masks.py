"""Which parameters are which: what decays, and what a constant force adds to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

Tree = Any


def kernel_mask(params: Tree) -> Tree:
    """True at each `kernel`, the only parameters that decay; same structure as `params`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def path_mask(params: Tree, path: tuple[str, ...]) -> Tree:
    """True at the parameter that lies at `path`, the names on the way to it."""
    return jax.tree_util.tree_map_with_path(
        lambda at, _: tuple(step.key for step in at) == path, params
    )


def convolution_bias_mask(params: Mapping[str, Any]) -> dict[str, Any]:
    """True at the bias of each convolution, or at that of the norm which stands in for it.

    These are the parameters that a constant force adds to, and therefore the ones whose learning
    rate the control arm scales. Dense layers have no force and stay as they are.
    """

    def walk(node: Mapping[str, Any], inside: bool) -> dict[str, Any]:
        inside = inside or getattr(node.get("kernel"), "ndim", 0) == 4
        return {
            name: walk(value, inside and name == "norm")
            if isinstance(value, Mapping)
            else inside and name == "bias"
            for name, value in node.items()
        }

    return walk(params, False)
