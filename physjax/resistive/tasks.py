"""What a network is asked to do: voltages at its sources, and voltages wanted at its outputs.

A network of resistors can only average: every output is a weighted mean of the source voltages,
with weights that are positive and sum to one. Two habits make that less of a limit. A quantity x
in [0, 1] can be offered twice, as x volts and as 1 - x volts, so that an output may also fall when
x rises; and ground (0 V) and supply (1 V) can be sources, so that the weights of the rest may sum
to less than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.datasets import load_digits, load_iris

from physjax.resistive.network import NetworkError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """Examples for a wiring; voltages in volts.

    Attributes:
      name: for records and figures.
      sources, outputs: node numbers, S and T of them.
      inputs, targets: training examples, shapes (samples, S) and (samples, T).
      test_inputs, test_targets: examples that training never sees; may be empty.
      labels, test_labels: classes 0, 1, ... of the examples; None for regression. The network's
        answer is the class whose training examples' mean outputs are nearest to its outputs.
    """

    name: str
    sources: tuple[int, ...]
    outputs: tuple[int, ...]
    inputs: Floats
    targets: Floats
    test_inputs: Floats
    test_targets: Floats
    labels: NDArray[np.int64] | None = None
    test_labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for what, nodes, wanted in (
            ("inputs", self.sources, self.inputs),
            ("targets", self.outputs, self.targets),
        ):
            if wanted.ndim != 2 or wanted.shape[1] != len(nodes):
                raise NetworkError(
                    f"{what} have shape {wanted.shape}, but there are {len(nodes)} such nodes: "
                    f"give (samples, {len(nodes)})"
                )
        if len(self.inputs) != len(self.targets) or len(self.inputs) == 0:
            raise NetworkError(f"{len(self.inputs)} inputs, but {len(self.targets)} targets")
        if not self.outputs:
            raise NetworkError("a task needs at least one output node")


def allostery(
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    voltages: ArrayLike = (0.0, 1.0),
    targets: ArrayLike = (0.3, 0.7),
) -> Task:
    """One example: with the sources at `voltages`, the outputs shall be at `targets`."""
    inputs = np.array(voltages, dtype=np.float64).reshape(1, -1)
    wanted = np.array(targets, dtype=np.float64).reshape(1, -1)
    return Task("allostery", sources, outputs, inputs, wanted, inputs, wanted)


def regression(
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    coefficients: ArrayLike = ((0.2, 0.3), (0.1, 0.5)),
    examples: int = 20,
    test_examples: int = 100,
    seed: int = 0,
    name: str = "regression",
) -> Task:
    """targets = coefficients @ x with x uniform on (0, 1) volts; the last source is ground.

    The defaults are the task of the power-efficient learning study (64 nodes, 20 examples).

    Args:
      sources: one node for each component of x, and one for ground.
      outputs: one node for each row of `coefficients`.
      coefficients: shape (T, S - 1); not negative, rows summing to at most 1, or no network can.
    """
    matrix = np.array(coefficients, dtype=np.float64)
    if (matrix < 0).any() or (matrix.sum(axis=1) > 1).any():
        raise NetworkError(
            "a resistor network averages: coefficients must not be negative, and each row may sum "
            f"to at most 1, but they are {matrix.tolist()}"
        )
    x = np.random.default_rng(seed).uniform(0, 1, (examples + test_examples, matrix.shape[1]))
    inputs = np.concatenate([x, np.zeros((len(x), 1))], axis=1)
    targets = x @ matrix.T
    parts = (inputs[:examples], targets[:examples], inputs[examples:], targets[examples:])
    return Task(name, sources, outputs, *parts)


def iris(
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    seed: int = 0,
    per_class: int = 10,
    levels: tuple[float, float] = (0.25, 0.75),
) -> Task:
    """Fisher's irises (scikit-learn's copy): 30 training flowers, the other 120 for the test.

    The four measurements, scaled to [0, 1] by the training flowers' extremes, go in as x and as
    1 - x: eight sources. One output shall show the class as a voltage level. The levels are the
    classes' mean measurements along the direction in which those means differ most, scaled to
    `levels`: computed from training flowers alone, and in the order nature has put the species.
    As regression shrinks towards the mean, the read-out compares with the means of the trained
    outputs, not with the targets.
    (One output per class with one-hot targets would fail: no linear read-out lifts versicolor,
    which lies between the other two, above both.)
    """
    if len(sources) != 8 or len(outputs) != 1:
        raise NetworkError(f"iris needs 8 sources and 1 output, not {len(sources)}, {len(outputs)}")
    data = load_iris()
    train, test = _split(data.target, per_class, seed)
    low, high = data.data[train].min(axis=0), data.data[train].max(axis=0)
    x = np.clip((data.data - low) / (high - low), 0, 1)
    means = np.stack([x[train][data.target[train] == c].mean(axis=0) for c in range(3)])
    centred = means - means.mean(axis=0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    along *= np.sign(along[-1] - along[0])
    unit = (along - along.min()) / (along.max() - along.min())
    class_voltages = levels[0] + (levels[1] - levels[0]) * unit[:, None]
    inputs = np.concatenate([x, 1 - x], axis=1)
    return _classification(
        "iris", sources, outputs, inputs, data.target, class_voltages, train, test
    )


def digits(
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    seed: int = 0,
    examples: int = 400,
    levels: tuple[float, float] = (0.25, 0.45),
) -> Task:
    """The digits 0, 1, 2 of scikit-learn's 8x8 images, after Stern's three-digit MNIST task.

    64 sources hold the pixels (0 to 1 V), three outputs shall be at the lower of `levels`, and
    the output of the image's own digit at the upper one. 400 images train, the other 137 test.
    """
    if len(sources) != 64 or len(outputs) != 3:
        raise NetworkError(
            f"digits needs 64 sources and 3 outputs, not {len(sources)}, {len(outputs)}"
        )
    data, labels = load_digits(n_class=3, return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    class_voltages = levels[0] + (levels[1] - levels[0]) * np.eye(3)
    return _classification(
        "digits",
        sources,
        outputs,
        data / 16.0,
        labels,
        class_voltages,
        order[:examples],
        order[examples:],
    )


def logic_gate(
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    gate: str = "xor",
    levels: tuple[float, float] = (0.4, 0.6),
) -> Task:
    """A truth table: sources a, b, 1 - a, 1 - b, ground and supply; one output.

    `and` and `or` can be told apart by one weighted mean and a threshold. `xor` cannot: the mean
    of the outputs for (0, 0) and (1, 1) equals the mean for (0, 1) and (1, 0), whatever the
    resistors are, so the squared error is at least a quarter of the levels' distance squared.
    """
    tables = {"xor": (0, 1, 1, 0), "and": (0, 0, 0, 1), "or": (0, 1, 1, 1)}
    if gate not in tables:
        raise NetworkError(f"unknown gate {gate!r}; one of {', '.join(tables)}")
    if len(sources) != 6 or len(outputs) != 1:
        raise NetworkError(f"a gate needs 6 sources and 1 output, not {len(sources)}")
    x = np.array([(a, b) for a in (0.0, 1.0) for b in (0.0, 1.0)])
    inputs = np.concatenate([x, 1 - x, np.zeros((4, 1)), np.ones((4, 1))], axis=1)
    every = np.arange(4)
    class_voltages = np.array(levels, dtype=np.float64)[:, None]
    labels = np.array(tables[gate])
    return _classification(gate, sources, outputs, inputs, labels, class_voltages, every, every)


def _split(
    labels: NDArray[np.int64], per_class: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    train = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)]
    )
    return train, np.setdiff1d(np.arange(len(labels)), train)


def _classification(
    name: str,
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    inputs: Floats,
    labels: NDArray[np.int64],
    class_voltages: Floats,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> Task:
    targets = class_voltages[labels]
    return Task(
        name,
        sources,
        outputs,
        inputs[train],
        targets[train],
        inputs[test],
        targets[test],
        labels[train],
        labels[test],
    )
