"""Variables of a network that are nowhere at their start values."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def random_like(shapes: Any, seed: int) -> Any:
    """Variables that are nowhere at their start values, of sizes that keep activations alive."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        noise = rng.normal(size=shape.shape)
        name = path[-1].key
        if name == "kernel":
            noise = noise * np.sqrt(2 / np.prod(shape.shape[:-1]))
        elif name in ("scale", "var", "resistances", "interaction_strength"):
            noise = {"interaction_strength": 2.8}.get(name, 1.0) + 0.1 * noise
        elif name == "exponents":
            noise = 0.2 + 0.1 * noise
        else:
            noise = 0.1 * noise
        return np.asarray(noise, np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)
