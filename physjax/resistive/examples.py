"""What a network is asked to do: voltages at its sources, and voltages wanted at its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from physjax.resistive.checks import NetworkError
from physjax.resistive.network import Floats, Ints


@dataclass(frozen=True, eq=False)
class Examples:
    """Training and test examples for a wiring; voltages in volts.

    Attributes:
      name: of the task, for records and figures.
      sources: node numbers, S of them.
      outputs: node numbers, T of them.
      inputs: source voltages of the training examples, [samples, S].
      targets: desired output voltages of the training examples, [samples, T].
      test_inputs: source voltages of examples that training never sees, [tests, S]; may be empty.
      test_targets: desired output voltages of those, [tests, T].
      labels: classes 0, 1, ... of the training examples, [samples]; None for regression. The
        network's answer is the class whose training examples' mean outputs are nearest to its own.
      test_labels: classes of the test examples, [tests]; None for regression.

    Raises:
      NetworkError: when shapes disagree, there is no training example or no output, or a voltage is
        not finite.
    """

    name: str
    sources: tuple[int, ...]
    outputs: tuple[int, ...]
    inputs: Floats
    targets: Floats
    test_inputs: Floats
    test_targets: Floats
    labels: Ints | None = None
    test_labels: Ints | None = None

    def __post_init__(self) -> None:
        if not self.outputs:
            raise NetworkError("a task needs at least one output node")
        for name, nodes, voltages in (
            ("inputs", self.sources, self.inputs),
            ("targets", self.outputs, self.targets),
            ("test_inputs", self.sources, self.test_inputs),
            ("test_targets", self.outputs, self.test_targets),
        ):
            if voltages.ndim != 2 or voltages.shape[1] != len(nodes):
                raise NetworkError(
                    f"{name} have shape {voltages.shape}, but there are {len(nodes)} such nodes: "
                    f"give (samples, {len(nodes)})"
                )
            if not np.isfinite(voltages).all():
                raise NetworkError(f"{name} must be finite voltages")
        if len(self.inputs) == 0:
            raise NetworkError("a task needs at least one training example")
        for name, first, second in (
            ("targets", self.inputs, self.targets),
            ("labels", self.inputs, self.labels),
            ("test_targets", self.test_inputs, self.test_targets),
            ("test_labels", self.test_inputs, self.test_labels),
        ):
            if second is not None and len(first) != len(second):
                raise NetworkError(f"{len(first)} inputs, but {len(second)} {name}")
        if (self.labels is None) != (self.test_labels is None):
            raise NetworkError("give labels of training and test examples, or of neither")
