"""What the records of a run say of the physics in each layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from physjax.rules import LearningRule
from physjax.train import multihost
from physjax.train.callbacks import Callback

if TYPE_CHECKING:
    from physjax.train.predict import Evaluation
    from physjax.train.trainer import Trainer


class LayerDiagnostics(Callback):
    """Adds what :func:`diagnostics` finds in each layer to the epochs' records."""

    def layer_metrics(
        self, trainer: Trainer, evaluation: Evaluation
    ) -> dict[str, dict[str, float]]:
        params = multihost.fetch(trainer.state.params)
        return diagnostics(params, evaluation.diagnostics, trainer.setup.rule)


def diagnostics(params: Any, sown: Any, rule: LearningRule) -> dict[str, dict[str, float]]:
    """By layer: `force_rms` and `strength` of a force, what its law says beside, and what the
    learning rule says.

    `params` are a network's, and `sown` is what its layers left in the collection
    `physjax.nn.physics.DIAGNOSTICS`. A layer that exerts no force and has no strength says nothing.
    """
    by_layer: dict[str, dict[str, float]] = {}
    own = set(rule.connection.params or ())

    def walk(node: Mapping[str, Any], sown: Mapping[str, Any], path: tuple[str, ...]) -> None:
        figures = {}
        if "force_rms" in sown:
            # Laws without a strength push too; the plain layer's force is exactly zero.
            if "interaction_strength" in node:
                figures["strength"] = float(node["interaction_strength"])
            if figures or sown["force_rms"] > 0:
                figures["force_rms"] = float(sown["force_rms"])
            figures |= {
                name: float(value)
                for name, value in sown.items()
                if name != "force_rms" and not isinstance(value, Mapping)
            }
        if own and own <= set(node):
            figures |= rule.diagnostics(node)
        if figures:
            by_layer["/".join(path)] = figures
        for name, value in node.items():
            if isinstance(value, Mapping):
                walk(value, sown.get(name, {}), (*path, name))

    walk(params, sown, ())
    return by_layer


def law_parameters(params: Any, names: Collection[str]) -> dict[str, dict[str, list[float]]]:
    """By layer and name: the values of a force law's own parameters, one for each channel.

    Args:
        params: a network's.
        names: of the law's own parameters (`ForceLaw.init`).

    Returns:
        Four significant digits of each value, by channel: what a figure needs. A parameter with a
        row for each neighbour has a name for each row: `weights[-1]`, `weights[0]`, `weights[1]`.
    """
    by_layer: dict[str, dict[str, list[float]]] = {}

    def rows(name: str, value: Any) -> dict[str, np.ndarray]:
        value = np.asarray(value, float)
        if value.ndim < 2:
            return {name: value.ravel()}
        return {f"{name}[{i - len(value) // 2}]": row.ravel() for i, row in enumerate(value)}

    def walk(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
        own: dict[str, np.ndarray] = {}
        for name in names:
            if name in node:
                own |= rows(name, node[name])
        if own:
            by_layer["/".join(path)] = {
                name: [float(f"{value:.4g}") for value in values] for name, values in own.items()
            }
        for name, value in node.items():
            if isinstance(value, Mapping):
                walk(value, (*path, name))

    walk(params, ())
    return by_layer
