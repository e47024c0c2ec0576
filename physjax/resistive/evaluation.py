"""How well a trained network does on examples."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from physjax.resistive.checks import NetworkError, check_choice
from physjax.resistive.examples import Examples
from physjax.resistive.linear_system import Method, linear_system
from physjax.resistive.network import Floats, Network, check_wiring
from physjax.resistive.states import check_residual, jit_solve_free


@dataclass(frozen=True)
class Score:
    """How well outputs meet their targets on a set of examples.

    Attributes:
      squared_error: mean over examples and outputs, in volts squared.
      accuracy: fraction of examples assigned to their class; None for regression.
    """

    squared_error: float
    accuracy: float | None


def evaluate(
    net: Network, examples: Examples, split: str = "test", method: Method = "auto"
) -> Score:
    """Squared error of the free state, and the accuracy where examples have classes.

    An example is assigned to the class whose *training* examples' mean output voltages are nearest
    to its own.

    Args:
      net: one network.
      examples: on what to evaluate it.
      split: `train` or `test`.
      method: of the linear solve, see docs/resistive.md.

    Returns:
      The score.

    Raises:
      NetworkError: see :func:`physjax.resistive.network.check_wiring`; no test examples; a singular
        system.
    """
    check_choice("split", split, ("train", "test"))
    if np.ndim(net.conductances) != 1:
        raise NetworkError("give one network, not a stack of them")
    if split == "test" and len(examples.test_inputs) == 0:
        raise NetworkError(f"{examples.name} has no test examples; evaluate it on `train`")
    check_wiring(net, examples.sources, examples.outputs)
    outputs = _outputs(net, examples, examples.inputs, method)
    if examples.labels is not None:
        classes = np.unique(examples.labels)
        means = np.stack([outputs[examples.labels == c].mean(axis=0) for c in classes])
    targets, labels = examples.targets, examples.labels
    if split == "test":
        outputs = _outputs(net, examples, examples.test_inputs, method)
        targets, labels = examples.test_targets, examples.test_labels
    accuracy = None
    if labels is not None:
        distance = ((outputs[:, None] - means) ** 2).sum(axis=-1)
        accuracy = float((classes[distance.argmin(axis=1)] == labels).mean())
    return Score(float(((outputs - targets) ** 2).mean()), accuracy)


def _outputs(net: Network, examples: Examples, inputs: Floats, method: Method) -> Floats:
    """Output voltages of the free state in volts, [samples, T]."""
    with jax.enable_x64(True):
        system = linear_system(net.graph, examples.sources, examples.outputs, method)
        voltages, residual = jit_solve_free(system, np.asarray(net.effective), inputs)
        check_residual(float(residual))
        return np.asarray(voltages)[list(examples.outputs)].T
