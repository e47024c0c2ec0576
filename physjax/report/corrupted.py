"""Robustness and calibration of a study's runs, and their paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import pandas as pd

from physjax.evaluate.record import RobustnessRecord
from physjax.report.statistics import PAIRED, paired

ERROR = "corruption_error"
MEASURES = {
    ERROR: "mean corruption error",
    "calibration_error": "calibration error, clean",
    "corrupted_calibration_error": "calibration error, corrupted",
}
"""Columns of the runs' frame, and what tables call them; fractions in [0, 1]."""
_UNDER = f"{ERROR}: "
"""Before the name of one corruption."""


def with_robustness(runs: pd.DataFrame, found: Mapping[str, RobustnessRecord]) -> pd.DataFrame:
    """`runs` with the columns `MEASURES`, and the mean error under each corruption.

    Args:
        runs: a line a run, with its name in `run`.
        found: what runs did, by their names; NaN for the others. Empty: there are no such columns.
    """
    if not found:
        return runs
    lines = pd.DataFrame.from_dict({name: _line(r) for name, r in found.items()}, orient="index")
    return runs.join(lines, on="run")


def _line(record: RobustnessRecord) -> dict[str, float]:
    by_name = record.corruptions
    error = record.mean_corruption_error
    assert error is not None
    return {
        ERROR: error,
        "calibration_error": record.clean.calibration_error,
        "corrupted_calibration_error": fmean(
            fmean(metrics.calibration_error for metrics in severities)
            for severities in by_name.values()
        ),
        **{
            f"{_UNDER}{name}": fmean(1 - metrics.accuracy for metrics in severities)
            for name, severities in by_name.items()
        },
    }


def _measures(pairs: pd.DataFrame) -> dict[str, str]:
    """Those that some run has: the column, and what a table calls it."""
    single = {c: f"error, {c.removeprefix(_UNDER)}" for c in pairs if str(c).startswith(_UNDER)}
    return {c: name for c, name in {**MEASURES, **single}.items() if f"{c}_control" in pairs}


def robustness_frame(pairs: pd.DataFrame, arm: list[str]) -> pd.DataFrame:
    """A line a comparison and measure, over the pairs of which both runs were evaluated.

    Columns: `arm`'s, `control`, `title`, `measure`, `n`, the means `mean` and `control_mean`, and
    of the differences, arm minus control, `difference`, `sd`, `t_low`, `t_high` and `p_value`
    (:func:`physjax.report.statistics.paired`).

    Args:
        pairs: of a study's frames.
        arm: the columns by which runs are of one arm.
    """
    lines = []
    for key, group in pairs.groupby([*arm, "arm_control"], sort=False):
        for column, name in _measures(pairs).items():
            known = group.dropna(subset=[column, f"{column}_control"])
            if known.empty:
                continue
            found = paired(known[column], known[f"{column}_control"])
            lines.append(
                {
                    **dict(zip([*arm, "control"], key, strict=True)),
                    "title": known["title"].iloc[0],
                    "measure": name,
                    "mean": known[column].mean(),
                    "control_mean": known[f"{column}_control"].mean(),
                    **{name: found[name] for name in PAIRED},
                }
            )
    return pd.DataFrame(lines)
