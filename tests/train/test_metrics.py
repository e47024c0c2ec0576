"""Scores against numbers worked out by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from physjax.train.metrics import BINS, classification_metrics


def test_numbers_worked_out_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    found = classification_metrics(np.log(probabilities), np.array([0, 0, 1, 1]), 2)
    assert found.accuracy == 0.75
    assert found.confusion == [[2, 0], [1, 1]]
    assert found.per_class == [1.0, 0.5]
    assert found.loss == pytest.approx(-np.log([0.9, 0.9, 0.1, 0.6]).mean())
    # Bin of 0.9: 3 examples, 2/3 right; of 0.6: 1 example, right.
    expected = 3 / 4 * abs(2 / 3 - 0.9) + 1 / 4 * abs(1 - 0.6)
    assert found.calibration_error == pytest.approx(expected)
    assert found.confidence[13] == pytest.approx(0.9)
    assert found.bin_accuracy[13] == pytest.approx(2 / 3)
    assert sum(c is not None for c in found.confidence) == 2
    assert {i: n for i, n in enumerate(found.bin_examples) if n} == {8: 1, 13: 3}


def test_bins_are_closed_on_the_right() -> None:
    found = classification_metrics(
        np.array([np.log([2 / 3, 1 / 3]), [0.0, -200.0]]), np.array([0, 0]), 2
    )
    assert [i for i, c in enumerate(found.confidence) if c is not None] == [9, BINS - 1]


def test_labels_drawn_from_the_probabilities_are_calibrated_and_sharper_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 20_000)
    labels = (probabilities.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    assert classification_metrics(np.log(probabilities), labels, 4).calibration_error < 0.01
    sharp = probabilities**4 / (probabilities**4).sum(1, keepdims=True)
    assert classification_metrics(np.log(sharp), labels, 4).calibration_error > 0.15


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    probabilities, labels = rng.dirichlet(np.ones(5), 300), rng.integers(0, 5, 300)
    found, guesses = (
        classification_metrics(np.log(probabilities), labels, 5),
        probabilities.argmax(1),
    )
    assert found.confusion == metrics.confusion_matrix(labels, guesses).tolist()
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, guesses))
    assert found.loss == pytest.approx(metrics.log_loss(labels, probabilities))
    recalls = metrics.recall_score(labels, guesses, average=None)
    assert found.per_class == pytest.approx(list(recalls))


def test_a_certain_mistake_has_a_finite_loss_and_an_absent_class_no_accuracy() -> None:
    """float32 has no probability of exp(-200), but its logarithm."""
    found = classification_metrics(np.array([[0.0, -200.0, -300.0]]), np.array([1]), 3)
    assert found.loss == 200
    assert found.per_class == [None, 0.0, None]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 1 labels of 3 classes"):
        classification_metrics(np.array([[1.0, 0.0]]), np.array([1]), 3)
    with pytest.raises(ValueError, match="for 0 labels"):
        classification_metrics(np.zeros((0, 3)), np.zeros(0, int), 3)


def test_what_is_not_a_number_shows_in_the_loss_and_the_calibration_error() -> None:
    found = classification_metrics(np.log([[0.5, 0.5], [np.nan, np.nan]]), np.array([0, 1]), 2)
    assert np.isnan(found.loss)
    assert np.isnan(found.calibration_error)
