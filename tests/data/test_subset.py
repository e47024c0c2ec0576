"""Subsets: stratified, fixed, nested, and refused where they cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physjax.data import DataError, Split
from physjax.data.split import hold_out, take_stratified


def numbered(counts: list[int]) -> Split:
    """counts[k] images of class k, sorted by class; each image carries its number."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return Split(images, labels)


def numbers(split: Split) -> list[int]:
    return split.images.ravel().tolist()


@settings(derandomize=True, deadline=None, max_examples=20)
@given(counts=st.lists(st.integers(4, 20), min_size=2, max_size=8), each=st.integers(1, 4))
def test_equally_many_of_each_class(counts: list[int], each: int) -> None:
    train = numbered(counts)
    taken = take_stratified(train, each * len(counts), len(counts))
    np.testing.assert_array_equal(np.bincount(taken.labels), [each] * len(counts))
    np.testing.assert_array_equal(taken.labels, train.labels[numbers(taken)])
    assert numbers(taken) == sorted(set(numbers(taken)))
    assert numbers(take_stratified(train, each * len(counts), len(counts))) == numbers(taken)


def test_a_smaller_selection_is_part_of_a_larger_one() -> None:
    train = numbered([25, 25, 25, 25])
    chosen = [set(numbers(take_stratified(train, count, 4))) for count in (8, 20, 60, 100)]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]
    assert chosen[0] != {0, 1, 25, 26, 50, 51, 75, 76}, "not merely the first of each class"


@pytest.mark.parametrize("count", [0, -10, 7, 101])
def test_counts_that_do_not_divide_are_refused(count: int) -> None:
    with pytest.raises(DataError, match=f"train_examples is {count}, .* multiple of 10"):
        take_stratified(numbered([20] * 10), count, 10)


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(DataError, match="12 images of each class, but class 2 has 9: at most 27"):
        take_stratified(numbered([20, 15, 9]), 36, 3)


def test_hold_out_is_stratified_fixed_and_disjoint() -> None:
    train = numbered([100, 50, 10])
    rest, validation = hold_out(train, 0.2)
    assert validation is not None
    np.testing.assert_array_equal(np.bincount(validation.labels), [20, 10, 2])
    assert sorted(numbers(rest) + numbers(validation)) == list(range(160))
    assert numbers(validation) == sorted(numbers(validation))
    np.testing.assert_array_equal(rest.labels, train.labels[numbers(rest)])
    again = hold_out(train, 0.2)[1]
    assert again is not None
    assert numbers(again) == numbers(validation)


def test_no_hold_out_is_the_whole() -> None:
    train = numbered([5, 5])
    assert hold_out(train, 0.0) == (train, None)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, 0.01, float("nan")])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(DataError, match=f"holdout (is )?{fraction}"):
        hold_out(numbered([10] * 5), fraction)
