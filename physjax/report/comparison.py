"""What the frames of a study's runs and pairs come to: a line an arm, or an arm and its control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from physjax.report.frames import ARM, TTA, VALIDATION
from physjax.report.paper import PUBLISHED_FIGURES
from physjax.report.statistics import PAIRED, holm, paired
from physjax.study.arms import base_arm


def arm_frame(runs: pd.DataFrame) -> pd.DataFrame:
    """A line an arm: `n` runs that ended well, how many `failed`, and their accuracies.

    Those of `tta` and `validation` are of the `tta_n` and `validation_n` runs that have them. `sd`
    is the sample standard deviation (divisor n - 1), `best` the largest; NaN where there is none.
    """
    columns: dict[str, Any] = {
        **{name: (name, "first") for name in ("title", "setting", "table")},
        "n": ("failed", lambda failed: int((~failed).sum())),
        "failed": ("failed", "sum"),
        "tta_n": (TTA, "count"),
        "validation_n": (VALIDATION, "count"),
    }
    sources = {"train": "train_accuracy", "test": "test_accuracy"}
    for split, source in {**sources, "tta": TTA, "validation": VALIDATION}.items():
        for name, how in (("mean", "mean"), ("sd", "std"), ("best", "max")):
            columns[f"{split}_{name}"] = (source, how)
    columns |= {f"paper_{name}": (f"paper_{name}", "first") for name in PUBLISHED_FIGURES}
    frame = runs.groupby(ARM, sort=False).agg(**columns).reset_index()
    return frame.assign(title=frame["title"].fillna(frame["dataset"]))


def difference_frame(
    pairs: pd.DataFrame, families: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """A line an arm and a control: what :func:`physjax.report.statistics.paired` makes of them.

    `p_holm` is the p value corrected for the comparisons of the line's `family`: those of the arms
    that one of `families` names (`Study.families`), or of all others. `tta_n` to `tta_p_value` are
    of the accuracies over the study's views. The paper's difference is that of its mean test
    accuracies: unpaired, and of two recipes.
    """
    lines = []
    families = families or {}
    family_of = {arm: name for name, arms in families.items() for arm in arms}
    rest = "others" if families else "all"
    for key, group in pairs.groupby([*ARM, "arm_control"], sort=False):
        first = group.iloc[0]
        difference = first["paper_test_mean"] - first["paper_test_mean_control"]
        lines.append(
            {
                **dict(zip([*ARM, "control"], key, strict=True)),
                "title": first["title"],
                "family": family_of.get(base_arm(first["arm"]), rest),
                **paired(group[first["judged"]], group[f"{first['judged']}_control"]),
                **_paired_tta(group.dropna(subset="difference_tta")),
                "paper_difference": difference,
                "paper_improvement_rate": difference / first["paper_test_mean_control"],
            }
        )
    frame = pd.DataFrame(lines)
    if frame.empty:
        return frame
    return frame.assign(
        p_holm=frame.groupby("family")["p_value"].transform(lambda p: holm(list(p)))
    )


def seed_frame(pairs: pd.DataFrame) -> pd.DataFrame:
    """A line an arm and a control, and in it the difference of every pair: `seed_0` and so on."""
    pivot = pairs.pivot(
        index=["title", "model", "arm", "arm_control", "dataset"],
        columns="seed",
        values="difference",
    )
    order = pairs[list(pivot.index.names)].drop_duplicates()
    pivot = pivot.loc[list(order.itertuples(index=False, name=None))].add_prefix("seed_")
    return pivot.reset_index().rename(columns={"arm_control": "control"})


def _paired_tta(group: pd.DataFrame) -> dict[str, float]:
    if group.empty:
        return {"tta_n": 0} | dict.fromkeys((f"tta_{name}" for name in PAIRED[1:]), math.nan)
    found = paired(group[TTA], group[f"{TTA}_control"])
    return {f"tta_{name}": found[name] for name in PAIRED}
