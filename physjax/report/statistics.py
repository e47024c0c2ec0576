"""Statistics of a study: differences between runs of equal seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Of the confidence intervals."""
RESAMPLES = 9999


def paired(treatment: Sequence[float], control: Sequence[float]) -> dict[str, float]:
    """Compare values that belong together one by one, such as accuracies of equal seeds.

    Both intervals are two-sided. The bootstrap resamples pairs with a fixed seed, so that a table
    can be made again; with a handful of pairs it is narrower than it ought to be, and the t
    interval is the one to quote.

    Returns:
        n pairs: `n`; mean and sample standard deviation of the differences: `difference`, `sd`;
        Student's interval for the mean of normally distributed differences: `t_low`, `t_high`; the
        percentiles of the means of resampled pairs: `bootstrap_low`, `bootstrap_high`; the
        two-sided paired t test of no difference: `p_value`; and `improvement_rate`, the difference
        divided by the mean of `control`. NaN is what a single pair does not tell, and the p value
        of differences that are all equal.

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
        "improvement_rate": float(np.sum(differences) / np.sum(plain)),
    }
