"""Statistics on cases whose answers are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from physjax.report.statistics import (
    detectable,
    deviation_interval,
    holm,
    paired,
    pairs_needed,
    power,
)


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


@pytest.mark.parametrize(("n", "effect"), [(2, 1.0), (5, 2.0), (10, 1.0), (20, 0.5)])
def test_power_of_the_paired_t_test(n: int, effect: float) -> None:
    """Against the normal power for each deviation that n pairs may show, averaged over these."""
    limit = stats.t.ppf(0.975, n - 1)

    def given(chi: float) -> float:
        cut = limit * chi / np.sqrt(n - 1)
        shift = effect * np.sqrt(n)
        return float(stats.norm.sf(cut - shift) + stats.norm.cdf(-cut - shift))

    assert power(n, effect, 1.0) == pytest.approx(stats.chi(n - 1).expect(given), abs=1e-6)
    assert power(n, -3 * effect, 3.0) == pytest.approx(power(n, effect, 1.0))


def test_power_is_how_often_simulated_studies_find_the_effect() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 0.2, (20_000, 6))
    found = np.mean(stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05)
    assert power(6, 0.3, 0.2) == pytest.approx(found, abs=0.01)
    assert power(6, 0.0, 0.2) == pytest.approx(0.05)
    assert power(1, 5.0, 0.2) == 0


@pytest.mark.parametrize(("effect", "pairs"), [(0.5, 4), (0.3, 6), (0.2, 10), (0.1, 34)])
def test_pairs_needed_at_a_deviation_of_two_tenths(effect: float, pairs: int) -> None:
    assert pairs_needed(effect, 0.2) == pairs
    assert power(pairs, effect, 0.2) >= 0.8 > power(pairs - 1, effect, 0.2)
    assert detectable(pairs, 0.2) <= effect < detectable(pairs - 1, 0.2)


def test_what_no_number_of_pairs_shows() -> None:
    assert pairs_needed(1e-5, 1.0) is None
    assert math.isnan(detectable(1, 0.2))
    assert math.isnan(detectable(5, 0.0))
    with pytest.raises(ValueError, match="no number of pairs"):
        pairs_needed(0.0, 1.0)


def test_a_difference_says_what_its_pairs_could_have_shown() -> None:
    found = paired([0.51, 0.63, 0.68], [0.50, 0.60, 0.70])
    assert found["detectable"] == pytest.approx(detectable(3, found["sd"]))
    assert power(3, found["detectable"], found["sd"]) == pytest.approx(0.8)


def test_interval_of_a_deviation_by_the_table_of_chi_squared() -> None:
    # chi^2 of 9 degrees of freedom: 2.7004 and 19.0228 at 2.5 and 97.5 %.
    low, high = deviation_interval(10, 0.2)
    assert low == pytest.approx(0.2 * np.sqrt(9 / 19.0228), rel=1e-4)
    assert high == pytest.approx(0.2 * np.sqrt(9 / 2.7004), rel=1e-4)
    assert all(map(math.isnan, deviation_interval(1, 0.2)))


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.6: times 4, 3, 2, 1, none smaller than the one before it.
    assert holm([0.03, 0.01, 0.6, 0.02]) == pytest.approx([0.06, 0.04, 0.6, 0.06])
    assert holm([0.4, 0.5]) == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    one, none = holm([0.03, math.nan])
    assert one == pytest.approx(0.03)
    assert math.isnan(none)
    assert holm([]) == []
