"""Variables of a network by their names with dots: `params.conv1.kernel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax.traverse_util import unflatten_dict

Arrays = Mapping[str, npt.NDArray[np.float32]]
"""By their names with dots."""


def flat(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays, or what stands in their place, by their names."""
    paths, _ = jax.tree_util.tree_flatten_with_path(variables)
    return {".".join(str(key.key) for key in path): leaf for path, leaf in paths}


def replaced(variables: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """`variables` with some of their arrays replaced, by name."""
    leaves = {
        name: jnp.asarray(arrays[name]) if name in arrays else leaf
        for name, leaf in flat(variables).items()
    }
    return unflatten_dict(leaves, sep=".")
