"""Whether an arm has gained something: above each arm that the grid says it must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from physjax.study.arms import base_arm

STANDARD_ERRORS = 2.0
"""By which an arm must be above another one, of the mean paired difference."""


def verdict_frame(
    differences: pd.DataFrame, must_beat: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """A line an arm and an arm that it must beat, of one data set and base model.

    Args:
        differences: of :func:`physjax.report.comparison.difference_frame`.
        must_beat: of the grid (`Study.must_beat`).

    Returns:
        The lines of `differences` that it names, with `standard_errors`, the difference over its
        standard error (NaN for a single pair), and `beaten`. Without a line: an empty frame.
    """
    if differences.empty:
        return differences
    wanted = [
        base_arm(line.control) in must_beat.get(base_arm(line.arm), ())
        for line in differences.itertuples()
    ]
    lines = differences[wanted]
    # Differences that are all equal have no deviation: above zero they are above it by any factor.
    ratio = (lines["difference"] * lines["n"] ** 0.5).div(lines["sd"]).astype(float)
    return lines.assign(standard_errors=ratio, beaten=ratio >= STANDARD_ERRORS)


def verdicts(frame: pd.DataFrame, must_beat: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each arm of `verdict_frame`, base model and data set.

    An arm with a control of which there are no pairs has no verdict yet.
    """
    sentences = []
    for (title, model, arm), lines in frame.groupby(["title", "model", "arm"], sort=False):
        wanted = must_beat[base_arm(arm)]
        missing = [name for name in wanted if name not in set(lines["control"].map(base_arm))]
        unbeaten = list(lines["control"][~lines["beaten"]])
        n = int(lines["n"].min())
        if missing:
            verdict = f"no verdict yet: there are no pairs with {', '.join(missing)}"
        elif unbeaten:
            least = 100 * lines["detectable"][~lines["beaten"]].max()
            shown = "" if pd.isna(least) else f"; these pairs could have shown {least:.2f} points"
            verdict = f"**null**: not above {', '.join(unbeaten)} by two standard errors{shown}"
        else:
            verdict = f"**gain**: above {', '.join(wanted)} by two standard errors each"
        sentences.append(f"`{arm}`, {model} on {title} (n = {n}): {verdict}.")
    return sentences
