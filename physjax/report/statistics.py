"""Statistics of a study: means over seeds, and differences between runs of equal seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Of the confidence intervals."""
RESAMPLES = 9999


@dataclass(frozen=True)
class Summary:
    """What n values amount to."""

    n: int
    mean: float
    sd: float | None
    """Sample standard deviation, divisor n - 1; None for a single value."""
    best: float
    """The largest."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval of the level `LEVEL`."""

    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """The difference between two arms over n pairs of runs with equal seeds and batches."""

    n: int
    mean: float
    """Of treatment minus control."""
    sd: float | None
    """Of the differences; None for a single pair."""
    t_interval: Interval | None
    """Student's, for the mean of normally distributed differences; None for a single pair."""
    bootstrap: Interval | None
    """Percentiles of the means of resampled pairs; None for a single pair."""
    p_value: float | None
    """Two-sided paired t test of no difference; None for one pair or for equal differences."""
    improvement_rate: float
    """(mean treatment - mean control) / mean control."""


def summarize(values: Sequence[float]) -> Summary:
    """n, mean, standard deviation and best of `values`. Raises ValueError where there is none."""
    if not values:
        raise ValueError("no values to summarize")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(len(values), float(np.mean(values)), sd, max(values))


def paired(treatment: Sequence[float], control: Sequence[float]) -> Paired:
    """Compare values that belong together one by one, such as accuracies of equal seeds.

    Both intervals are two-sided. The bootstrap resamples pairs with a fixed seed, so that a table
    can be made again; with a handful of pairs it is narrower than it ought to be, and the t
    interval is the one to quote. Raises ValueError where the lengths differ or are zero.
    """
    if len(treatment) != len(control) or not treatment:
        raise ValueError(f"{len(treatment)} values cannot be paired with {len(control)}")
    differences = np.asarray(treatment, float) - np.asarray(control, float)
    n, mean = len(differences), float(np.mean(differences))
    rate = float(np.sum(differences) / np.sum(control))
    if n == 1:
        return Paired(1, mean, None, None, None, None, rate)
    sd = float(np.std(differences, ddof=1))
    # Differences of equal accuracies differ by rounding; they count as equal.
    if sd <= 1e-12:
        point = Interval(mean, mean)
        return Paired(n, mean, 0.0, point, point, None, rate)
    error = sd / math.sqrt(n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    p_value = 2 * float(stats.t.sf(abs(mean) / error, n - 1))
    resampled = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Paired(
        n,
        mean,
        sd,
        Interval(mean - half, mean + half),
        Interval(float(resampled.low), float(resampled.high)),
        p_value,
        rate,
    )
