"""Statistics on cases whose answers are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from physjax.report.statistics import paired


def test_students_sleep_data() -> None:
    """Hours of sleep gained under two drugs by ten patients (Student 1908), as in R's t.test."""
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    difference = paired(one, two)
    assert difference["n"] == 10
    assert difference["difference"] == pytest.approx(-1.58)
    assert difference["p_value"] == pytest.approx(0.002833, abs=1e-6)
    assert difference["t_low"] == pytest.approx(-2.4598858, abs=1e-7)
    assert difference["t_high"] == pytest.approx(-0.7001142, abs=1e-7)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.integers(1, 1000)), min_size=3, max_size=10, unique=True
    ).filter(lambda pairs: len({a - b for a, b in pairs}) > 1)
)
def test_interval_and_p_value_are_scipys(pairs: list[tuple[int, int]]) -> None:
    ours = [a / 1000 for a, _ in pairs]
    theirs = [b / 1000 for _, b in pairs]
    reference = stats.ttest_rel(ours, theirs)
    difference = paired(ours, theirs)
    interval = reference.confidence_interval(0.95)
    assert difference["t_low"] == pytest.approx(interval.low, rel=1e-6, abs=1e-9)
    assert difference["t_high"] == pytest.approx(interval.high, rel=1e-6, abs=1e-9)
    assert difference["p_value"] == pytest.approx(reference.pvalue, rel=1e-6)


def test_bootstrap_of_three_pairs_against_all_resamples() -> None:
    differences = [0.01, 0.02, 0.06]
    means = sorted(float(np.mean(draw)) for draw in itertools.product(differences, repeat=3))
    # Each extreme mean has the share 1/27 > 2.5 % of all 27 resamples: the percentiles are it.
    found = paired([0.5 + d for d in differences], [0.5] * 3)
    assert found["bootstrap_low"] == pytest.approx(means[0])
    assert found["bootstrap_high"] == pytest.approx(means[-1])


def test_bootstrap_of_many_pairs_is_near_the_normal_interval_and_repeats() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.8, 0.01, 200), rng.normal(0.7, 0.01, 200)
    found = paired(list(ours), list(theirs))
    half = 1.96 * np.std(ours - theirs, ddof=1) / np.sqrt(200)
    assert found["bootstrap_low"] == pytest.approx(np.mean(ours - theirs) - half, abs=0.1 * half)
    assert found["bootstrap_high"] == pytest.approx(np.mean(ours - theirs) + half, abs=0.1 * half)
    assert paired(list(ours), list(theirs)) == found


def test_pairing_takes_out_what_the_seeds_share() -> None:
    """Seeds differ by 20 points, the arms by one within each: only pairs can see it."""
    plain = [0.5, 0.6, 0.7]
    difference = paired([0.511, 0.61, 0.709], plain)
    assert difference["t_low"] > 0
    assert difference["sd"] == pytest.approx(0.001)


def test_improvement_rate_is_relative_to_the_plain_mean() -> None:
    # The paper's Tables II and III: 70.24 % and 87.25 %.
    assert paired([0.8725], [0.7024])["improvement_rate"] == pytest.approx(0.24217, abs=1e-5)
    assert paired([0.6, 0.6], [0.4, 0.8])["improvement_rate"] == pytest.approx(0.0)


def test_one_pair_has_a_difference_and_nothing_else() -> None:
    known = {name: value for name, value in paired([0.6], [0.5]).items() if not math.isnan(value)}
    assert known == pytest.approx({"n": 1, "difference": 0.1, "improvement_rate": 0.2})


def test_equal_differences_have_no_p_value() -> None:
    difference = paired([0.6, 0.7], [0.5, 0.6])
    assert math.isnan(difference["p_value"])
    assert difference["sd"] == 0
    assert difference["t_low"] == difference["t_high"] == difference["difference"]


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        paired([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="0 values"):
        paired([], [])
