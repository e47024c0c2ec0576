"""What a study could have shown, and how many pairs an effect needs: from its records alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from physjax.report.comparison import difference_frame
from physjax.report.frames import ARM
from physjax.report.statistics import POWER, detectable, deviation_interval, pairs_needed
from physjax.report.study import read_frames
from physjax.report.tables import NOTHING, Column, render

EFFECTS = (0.1, 0.2, 0.3, 0.5)
"""In percentage points."""


def power_frame(differences: pd.DataFrame, effects: Sequence[float]) -> pd.DataFrame:
    """A line a comparison, and one for all of a data set and base model together.

    Args:
        differences: of :func:`physjax.report.comparison.difference_frame`.
        effects: mean differences in percentage points, each above 0.

    Returns:
        The columns `ARM`, `control`, `title` and `n`; the standard deviation `sd` of the paired
        differences and its 95 % interval `sd_low`, `sd_high`; `detectable`; and `needed_0` and so
        on, the pairs that each effect needs, NaN where they are more than any study has. All
        together: the root of the mean variance, weighted by the degrees of freedom; it has no
        interval, since arms that share a control are not independent.
    """
    known = differences[(differences["n"] > 1) & (differences["sd"] > 0)]
    lines: list[dict[str, Any]] = []
    for (dataset, model), part in known.groupby(["dataset", "model"], sort=False):
        lines += [_line(line, int(line["n"]), line["sd"], effects) for _, line in part.iterrows()]
        freedom = part["n"] - 1
        pooled = float(((freedom * part["sd"] ** 2).sum() / freedom.sum()) ** 0.5)
        about = {"dataset": dataset, "model": model, "title": part["title"].iloc[0]}
        if len(part) > 1:
            all_of = {**about, "arm": "", "control": "all together"}
            together = _line(all_of, int(part["n"].max()), pooled, effects)
            lines.append({**together, "sd_low": math.nan, "sd_high": math.nan})
    return pd.DataFrame(lines)


def _line(about: Any, n: int, sd: float, effects: Sequence[float]) -> dict[str, Any]:
    low, high = deviation_interval(n, sd)
    needed = {f"needed_{i}": pairs_needed(e / 100, sd) for i, e in enumerate(effects)}
    return {
        **{name: about[name] for name in (*ARM, "control", "title")},
        "n": n,
        "sd": sd,
        "sd_low": low,
        "sd_high": high,
        "detectable": detectable(n, sd),
        **{name: math.nan if pairs is None else pairs for name, pairs in needed.items()},
    }


def report_power(path: Path, effects: Sequence[float] = EFFECTS) -> str:
    """The table of :func:`power_frame` of the study in `path`, as Markdown with what it means.

    Raises:
        RecordError: there is no study, or none of its runs has ended.
    """
    frames, _, study = read_frames(path)
    differences = difference_frame(frames.pairs, study.families)
    frame = power_frame(differences, effects) if len(differences) else differences
    if frame.empty:
        return "No comparison of this study has two pairs that differ: nothing is known yet.\n"
    columns = [
        Column("data set", "title"),
        Column("base", "model"),
        Column("arm", "arm", lambda d: f"{d.arm} − {d.control}" if d.arm else d.control),
        Column("n", "n"),
        Column("sd [pp]", "sd", lambda d: f"{100 * d.sd:.2f}"),
        Column("95 %", "sd_low", _interval),
        Column("n shows [pp]", "detectable", lambda d: f"{100 * d.detectable:.2f}"),
        *(
            Column(f"pairs for {effect:g}", f"needed_{i}", partial(_pairs, f"needed_{i}"))
            for i, effect in enumerate(effects)
        ),
    ]
    return (
        f"{render(frame, columns)}\n"
        f"By the two-sided paired t test at 5 %, with {POWER:.0%} power. `n shows`: the smallest "
        "mean difference that so many\npairs find; `pairs for`: how many find that difference, in "
        "percentage points. A deviation from few pairs is uncertain,\nand the number of pairs "
        "grows with its square: plan with the upper end of its interval.\n"
    )


def _interval(line: Any) -> str:
    return (
        NOTHING if pd.isna(line.sd_low) else f"{100 * line.sd_low:.2f} … {100 * line.sd_high:.2f}"
    )


def _pairs(source: str, line: Any) -> str:
    value = getattr(line, source)
    return NOTHING if pd.isna(value) else f"{int(value)}"
