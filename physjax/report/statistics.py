"""Statistics of a study: differences between runs of equal seeds, and what they could show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
"""Of the confidence intervals."""
RESAMPLES = 9999
POWER = 0.8
"""Of a test: how often it shall find an effect that is there."""
MOST_PAIRS = 100_000


PAIRED = ("n", "difference", "sd", "t_low", "t_high", "p_value")
"""Of what :func:`paired` gives, that which a table of many measures has room for."""


def paired(treatment: Sequence[float], control: Sequence[float]) -> dict[str, float]:
    """Compare values that belong together one by one, such as accuracies of equal seeds.

    Both intervals are two-sided. The bootstrap resamples pairs with a fixed seed, so that a table
    can be made again; with a handful of pairs it is narrower than it ought to be, and the t
    interval is the one to quote.

    Returns:
        n pairs: `n`; mean and sample standard deviation of the differences: `difference`, `sd`;
        Student's interval for the mean of normally distributed differences: `t_low`, `t_high`; the
        percentiles of the means of resampled pairs: `bootstrap_low`, `bootstrap_high`; the
        two-sided paired t test of no difference: `p_value`; :func:`detectable` of these n and sd;
        and `improvement_rate`, the difference divided by the mean of `control`. NaN is what a
        single pair does not tell, and the p value and the detectable effect of differences that
        are all equal.

    Raises:
        ValueError: the lengths differ, or are zero.
    """
    treated, plain = np.asarray(treatment, float), np.asarray(control, float)
    if len(treated) != len(plain) or not len(treated):
        raise ValueError(f"{len(treated)} values cannot be paired with {len(plain)}")
    differences = treated - plain
    n, mean = len(differences), float(np.mean(differences))
    sd = float(np.std(differences, ddof=1)) if n > 1 else math.nan
    t = resampled = (math.nan, math.nan)
    p_value = math.nan
    # Differences of equal accuracies differ by rounding; they count as equal.
    if sd <= 1e-12:
        sd, t, resampled = 0.0, (mean, mean), (mean, mean)
    elif n > 1:
        test = stats.ttest_rel(treated, plain)
        p_value, t = test.pvalue, test.confidence_interval(LEVEL)
        resampled = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return {
        "n": n,
        "difference": mean,
        "sd": sd,
        **dict(zip(("t_low", "t_high"), map(float, t), strict=True)),
        **dict(zip(("bootstrap_low", "bootstrap_high"), map(float, resampled), strict=True)),
        "p_value": float(p_value),
        "detectable": detectable(n, sd),
        "improvement_rate": float(np.sum(differences) / np.sum(plain)),
    }


def power(n: int, effect: float, sd: float) -> float:
    """How often the two-sided paired t test of n pairs finds a mean difference that is there.

    Exact for normal differences of standard deviation `sd`: t is noncentral, with the parameter
    effect sqrt(n) / sd (Cohen, Statistical Power Analysis, 1988, chapter 2). 0 for a single pair.
    """
    if n < 2:
        return 0.0
    limit = stats.t.ppf((1 + LEVEL) / 2, n - 1)
    shifted = abs(effect) / sd * math.sqrt(n)
    above, below = stats.nct.sf(limit, n - 1, shifted), stats.nct.cdf(-limit, n - 1, shifted)
    # Where it is far from all that could come out, nct knows no number of what is practically zero.
    return float(above + (0.0 if math.isnan(below) else below))


def detectable(n: int, sd: float) -> float:
    """The smallest mean difference that n pairs of that deviation show with the power `POWER`.

    NaN for a single pair, and without a deviation.
    """
    if n < 2 or not sd > 0:
        return math.nan
    highest = 1.0
    while power(n, highest, 1.0) < POWER:
        highest *= 2
    found = optimize.brentq(lambda effect: power(n, effect, 1.0) - POWER, 0.0, highest)
    return float(sd * found)


def pairs_needed(effect: float, sd: float) -> int | None:
    """The fewest pairs that show this mean difference with the power `POWER`.

    None: more than `MOST_PAIRS`. Raises ValueError where `effect` or `sd` is not above zero.
    """
    if not (effect > 0 and sd > 0):
        raise ValueError(f"an effect of {effect} with a deviation of {sd} has no number of pairs")
    if power(MOST_PAIRS, effect, sd) < POWER:
        return None
    low, high = 1, 2
    while power(high, effect, sd) < POWER:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, effect, sd) >= POWER else (middle, high)
    return high


def deviation_interval(n: int, sd: float) -> tuple[float, float]:
    """The confidence interval of the standard deviation of normal values, from n of them.

    By the chi-squared distribution of n - 1 degrees of freedom; NaN for a single value.
    """
    if n < 2:
        return math.nan, math.nan
    low, high = stats.chi2.interval(LEVEL, n - 1)
    return sd * math.sqrt((n - 1) / high), sd * math.sqrt((n - 1) / low)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values of a family of tests, adjusted so that all hold at once (Holm 1979).

    The smallest of m is multiplied by m, the next one by m - 1, and so on; none is smaller than the
    one before it, or larger than 1. NaN, of a test that was none, stays and does not count.
    """
    values = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(values), math.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return [float(p) for p in adjusted]
