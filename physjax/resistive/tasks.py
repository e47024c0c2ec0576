"""The tasks on which coupled learning has been shown, as examples for a wiring.

A network of resistors can only average: every output is a weighted mean of the source voltages,
with weights that are positive and sum to one. Two tricks make this less of a limit. A quantity x
in [0, 1] can be presented twice, as x volts and as 1 - x volts, so that an output may also fall
when x rises; and ground (0 V) and supply (1 V) can be sources, so that the weights of the other
sources may sum to less than one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.datasets import load_digits, load_iris

from physjax.resistive.checks import NetworkError, check_choice, check_integer, check_seed
from physjax.resistive.examples import Examples
from physjax.resistive.network import Floats, Ints

MAX_EXAMPLES = 1_000_000
"""Examples of a task that are drawn at random; more would fill the memory."""


def allostery(
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    voltages: ArrayLike = (0.0, 1.0),
    targets: ArrayLike = (0.3, 0.7),
) -> Examples:
    """One example: with the sources at `voltages`, the outputs shall be at `targets`.

    Args:
      sources: node numbers, S of them.
      outputs: node numbers, T of them.
      voltages: of the sources in volts, [S].
      targets: desired voltages of the outputs in volts, [T].

    Returns:
      The example, as both training and test set.

    Raises:
      NetworkError: see :class:`physjax.resistive.examples.Examples`.
    """
    inputs = np.array(voltages, dtype=np.float64).reshape(1, -1)
    wanted = np.array(targets, dtype=np.float64).reshape(1, -1)
    return Examples("allostery", sources, outputs, inputs, wanted, inputs, wanted)


def regression(
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    coefficients: ArrayLike = ((0.2, 0.3), (0.1, 0.5)),
    examples: int = 20,
    test_examples: int = 100,
    seed: int = 0,
    name: str = "regression",
) -> Examples:
    """targets = coefficients @ x with x uniform on (0, 1) volts; the last source is ground.

    The defaults are the task of the power-efficient learning study (64 nodes, 20 examples).

    Args:
      sources: one node for each component of x, and one for ground.
      outputs: one node for each row of `coefficients`.
      coefficients: [T, S - 1]; not negative, and rows summing to at most 1: a network averages.
      examples: number of training examples.
      test_examples: number of test examples.
      seed: of the random x.
      name: of the task.

    Returns:
      The examples.

    Raises:
      NetworkError: for coefficients that no network can have, or wrong numbers of nodes.
    """
    check_seed(seed)
    check_integer("number of training examples", examples, 1, MAX_EXAMPLES)
    check_integer("number of test examples", test_examples, 0, MAX_EXAMPLES)
    matrix = np.array(coefficients, dtype=np.float64)
    if matrix.ndim != 2:
        raise NetworkError(f"coefficients must be a matrix (T, S - 1), not of shape {matrix.shape}")
    # Written so that NaN fails.
    if not (matrix >= 0).all() or not (matrix.sum(axis=1) <= 1).all():
        raise NetworkError(
            "a resistor network averages: coefficients must not be negative, and each row may sum "
            f"to at most 1, but they are {matrix.tolist()}"
        )
    x = np.random.default_rng(seed).uniform(0, 1, (examples + test_examples, matrix.shape[1]))
    inputs = np.concatenate([x, np.zeros((len(x), 1))], axis=1)
    targets = x @ matrix.T
    parts = (inputs[:examples], targets[:examples], inputs[examples:], targets[examples:])
    return Examples(name, sources, outputs, *parts)


def iris(
    sources: tuple[int, ...],
    outputs: tuple[int, ...],
    seed: int = 0,
    per_class: int = 10,
    levels: tuple[float, float] = (0.25, 0.75),
) -> Examples:
    """Fisher's irises (scikit-learn's copy): by default 30 flowers to train on, 120 to test.

    The four measurements, scaled to [0, 1] by the training flowers' extremes, enter as x and as
    1 - x: eight sources. One output shall show the class as a voltage level. The levels are the
    class means of the measurements along the direction in which those means differ most, scaled to
    `levels`; they are computed from training flowers alone. Since regression shrinks outputs
    towards the mean, an output is compared with the class means of the trained outputs, not with
    the targets. (One output per class with one-hot targets would fail: versicolor lies between the
    other two, so no linear read-out raises it above both.)

    Args:
      sources: eight node numbers.
      outputs: one node number.
      seed: of the choice of training flowers.
      per_class: training flowers of each species, 1 to 49.
      levels: lowest and highest target in volts.

    Returns:
      The examples.

    Raises:
      NetworkError: for wrong numbers of nodes or flowers.
    """
    check_seed(seed)
    check_integer("training flowers per class", per_class, 1, 49)
    if len(sources) != 8 or len(outputs) != 1:
        raise NetworkError(
            f"iris needs 8 sources and 1 output, not {len(sources)} and {len(outputs)}"
        )
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
) -> Examples:
    """The digits 0, 1, 2 of scikit-learn's 8x8 images, after Stern's three-digit MNIST task.

    64 sources are held at the pixels' values (0 to 1 V). The output of the image's own digit shall
    be at the upper of `levels`, the other two at the lower one. There are 537 images.

    Args:
      sources: 64 node numbers.
      outputs: three node numbers.
      seed: of the choice of training images.
      examples: number of training images, 1 to 536; the others are for the test.
      levels: lower and upper target in volts.

    Returns:
      The examples.

    Raises:
      NetworkError: for wrong numbers of nodes or images.
    """
    check_seed(seed)
    check_integer("number of training images", examples, 1, 536)
    if len(sources) != 64 or len(outputs) != 3:
        raise NetworkError(
            f"digits needs 64 sources and 3 outputs, not {len(sources)} and {len(outputs)}"
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
) -> Examples:
    """A truth table: sources a, b, 1 - a, 1 - b, ground and supply; one output.

    `and` and `or` can be computed by a weighted mean and a threshold. `xor` cannot: the mean of
    the outputs for (0, 0) and (1, 1) equals the mean for (0, 1) and (1, 0), whatever the
    resistors are, so the squared error is at least a quarter of the levels' distance squared.

    Args:
      sources: six node numbers.
      outputs: one node number.
      gate: `xor`, `and` or `or`.
      levels: targets for false and true in volts.

    Returns:
      The four examples, as both training and test set.

    Raises:
      NetworkError: for an unknown gate, or wrong numbers of nodes.
    """
    tables = {"xor": (0, 1, 1, 0), "and": (0, 0, 0, 1), "or": (0, 1, 1, 1)}
    check_choice("gate", gate, tuple(tables))
    if len(sources) != 6 or len(outputs) != 1:
        raise NetworkError(
            f"a gate needs 6 sources and 1 output, not {len(sources)} and {len(outputs)}"
        )
    x = np.array([(a, b) for a in (0.0, 1.0) for b in (0.0, 1.0)])
    inputs = np.concatenate([x, 1 - x, np.zeros((4, 1)), np.ones((4, 1))], axis=1)
    every = np.arange(4)
    class_voltages = np.array(levels, dtype=np.float64)[:, None]
    labels = np.array(tables[gate])
    return _classification(gate, sources, outputs, inputs, labels, class_voltages, every, every)


def _split(labels: Ints, per_class: int, seed: int) -> tuple[Ints, Ints]:
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
    labels: Ints,
    class_voltages: Floats,
    train: Ints,
    test: Ints,
) -> Examples:
    targets = class_voltages[labels]
    return Examples(
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
