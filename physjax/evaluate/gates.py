"""Which channels a trained network opens and closes for which class: the mean of its gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from physjax.data import augment
from physjax.data.lazy import Images
from physjax.nn.physics import GATES
from physjax.train.setup import TrainSetup


def gates_by_class(
    setup: TrainSetup,
    variables: Mapping[str, Any],
    images: Images,
    labels: npt.NDArray[np.integer],
) -> dict[str, list[list[float | None]]]:
    """By layer, in the network's order of names: the mean gate of each class and channel, [K, C].

    Args:
        setup: of the run, whose law has a gate.
        variables: as they were trained.
        images: uint8 [N, S, S, 3].
        labels: [N], of K classes.

    Returns:
        Four significant digits of each; None for a class without an image.
    """
    model, info = setup.model(), setup.info

    @jax.jit
    def gates(variables: Mapping[str, Any], batch: jax.Array) -> Any:
        inputs = augment.preprocess(
            batch, setup.image_size, info.mean, info.std, setup.config.augment
        )
        return model.apply(variables, inputs, train=False, mutable=[GATES])[1][GATES]

    size, classes = setup.config.run.eval_batch_size, info.num_classes
    sums: dict[str, np.ndarray] = {}
    for start in range(0, len(images), size):
        batch, known = images[start : start + size], labels[start : start + size]
        filled = np.pad(batch, ((0, size - len(batch)), (0, 0), (0, 0), (0, 0)), mode="edge")
        of_class = np.eye(classes)[known]
        for path, each in jax.tree_util.tree_leaves_with_path(gates(variables, filled)):
            layer = "/".join(key.key for key in path[:-1])
            own = of_class.T @ np.asarray(each, float)[: len(batch)]
            sums[layer] = sums.get(layer, 0) + own
    counts = np.bincount(labels, minlength=classes)
    return {
        layer: [
            [float(f"{value / count:.4g}") if count else None for value in row]
            for row, count in zip(total, counts, strict=True)
        ]
        for layer, total in sums.items()
    }
