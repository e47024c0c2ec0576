"""The runs of a study as frames: a line a run, an arm, a pair of runs, an epoch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from physjax.config import Config
from physjax.plotting import series_styles
from physjax.records.ledger import goodput
from physjax.report.paper import has_the_papers_images, is_the_papers, published
from physjax.report.physics import physics_frame, shared_frame
from physjax.report.statistics import holm, paired
from physjax.report.titles import common_setting, setting
from physjax.study.arms import base_arm
from physjax.study.controls import compared_with, controls_of
from physjax.study.design import Cell, Study
from physjax.study.folder import StudyRecord

ARM = ["dataset", "model", "arm"]
"""The columns by which runs are of one arm; such runs differ in the seed."""
_RESULT = ["train_accuracy", "test_accuracy", "best_test_accuracy", "epochs", "parameters"]
TTA = "test_accuracy_tta"
VALIDATION = "validation_accuracy"
_PAPER = ["train_mean", "train_best", "test_mean", "test_best"]


@dataclass(frozen=True)
class StudyFrames:
    """What a study's report is made of. Accuracies are fractions in [0, 1]; NaN: not known."""

    runs: pd.DataFrame
    """A line a run that has ended, by arm and seed: `run`, the columns `ARM`, `seed`, `failed`,
    `title` (of the images), `setting`, `controls` (the runs that it is compared with), `table`
    (the paper's, in which it has a place, or None), the figures of its result, `test_accuracy_tta`
    (over the study's views), `validation_accuracy` (where images were held out), and the paper's
    figures."""
    pairs: pd.DataFrame
    """A line a run and one of its controls, both of which ended well: the columns of `runs`, and
    those of the control with the suffix `_control`; the `difference` of the accuracies that
    the study judges by (:func:`judged`), and `difference_tta`."""
    epochs: pd.DataFrame
    """A line an epoch of a run that ended well: the columns `ARM`, `seed`, and the record's."""
    physics: pd.DataFrame
    """Likewise: `ARM`, `seed`, and those of :func:`physjax.report.physics.physics_frame`."""
    parameters: pd.DataFrame
    """A line a run that ended well, a layer and a parameter of its law that the layer's channels
    share: `ARM`, `seed`, and those of :func:`physjax.report.physics.shared_frame`."""
    styles: dict[str, dict[str, Any]]
    """Colour and marker of each arm, the same in all figures."""

    def by(self, columns: Sequence[str]) -> Iterator[tuple[str, StudyFrames]]:
        """(name, frames) of each part of the study with equal values of some of the columns `ARM`.

        Parts in which no run ended well are left out: there is nothing to draw. Without columns it
        is the whole study, whose name is empty.
        """
        ended = self.runs[~self.runs["failed"]]
        for values in ended[list(columns)].drop_duplicates().to_dict("records"):
            parts = {
                name: select(frame, **values)
                for name, frame in vars(self).items()
                if isinstance(frame, pd.DataFrame)
            }
            yield "_".join(values.values()), dataclasses.replace(self, **parts)

    @property
    def title(self) -> str:
        """The images, and what all runs share of the setting."""
        ended = self.runs[~self.runs["failed"]]
        titles = list(dict.fromkeys(ended["title"]))
        return ", ".join([*titles, *filter(None, [common_setting(ended["setting"])])])


def judged(runs: pd.DataFrame) -> str:
    """What a study compares runs by: "validation" where all have held images out, else "test".

    Who chooses among arms by the test images has none left to report.
    """
    ended = runs[~runs["failed"].astype(bool)]
    return "validation" if len(ended) and ended[VALIDATION].notna().all() else "test"


def select(frame: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The lines of `frame` that have these values in these columns."""
    return frame[(frame[list(values)] == pd.Series(values)).all(axis=1)]


def study_frames(
    records: Sequence[StudyRecord],
    runs: Mapping[Cell, Config],
    *,
    study: Study | None = None,
    paper: bool = False,
    tta: str | None = None,
) -> StudyFrames:
    """The frames of some `records` of a study.

    Args:
        records: those of runs that have ended, well or not; at least one.
        runs: all runs of the study.
        study: the grid, which may name further arms to compare with; None: it names none.
        paper: have the paper's figures for all arms that it has, not only for those which were
            trained as the paper's were.
        tta: the views of the study (`Study.tta`): accuracies over any others are left out.
    """
    frame = _by_arm(pd.DataFrame([_run(record, runs, paper, tta) for record in records]))
    if study is not None:
        controls = {
            record.cell.name: [c.name for c in compared_with(record.cell, study, runs)]
            for record in records
        }
        frame = frame.assign(controls=frame["run"].map(controls))
    return StudyFrames(
        runs=frame,
        pairs=_pairs(frame),
        epochs=_by_run(records, [pd.DataFrame(map(vars, r.epochs)) for r in records]),
        physics=_by_run(records, [physics_frame(r.epochs) for r in records]),
        parameters=_by_run(records, [shared_frame(r.result) for r in records]),
        styles=series_styles(list(frame["arm"])),
    )


def _run(
    record: StudyRecord, runs: Mapping[Cell, Config], paper: bool, tta: str | None
) -> dict[str, Any]:
    cell, result = record.cell, record.result
    known = published(cell.arm, record.config)
    line: dict[str, Any] = {
        "run": cell.name,
        **dataclasses.asdict(cell),
        "failed": result is None,
        "title": None if result is None else result.data.title,
        "setting": setting(record.config),
        "controls": [control.name for control in controls_of(cell, runs)],
        "table": known.table if known and has_the_papers_images(record.config) else None,
    }
    if result is None:
        return line | dict.fromkeys(
            [*_RESULT, VALIDATION, "seconds", "images_per_second", "device"]
        )
    line |= {name: getattr(result, name) for name in _RESULT}
    line |= {"seconds": round(result.wall_seconds, 1)}
    line |= {"images_per_second": round(result.images_per_second, 1)}
    line |= {"device": result.device.kind, TTA: record.test_accuracy_tta.get(tta or "")}
    line |= {VALIDATION: record.epochs[-1].validation_accuracy}
    if result.spent is not None:
        spent = result.spent
        line |= {"goodput": round(goodput(spent, result.steps), 4)}
        line |= {"restarts": spent.restarts, "lost_steps": spent.lost_steps}
    if known is not None and (paper or is_the_papers(record.config, line["title"])):
        line |= {f"paper_{name}": getattr(known, name) for name in _PAPER}
    return line


def _by_arm(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` in the order of its data sets, then of its arms, then of the seeds."""
    kinds: dict[str, Any] = {"epochs": "Int64", "parameters": "Int64"}
    kinds |= {"restarts": "Int64", "lost_steps": "Int64"}
    accuracies = [f"paper_{name}" for name in _PAPER]
    accuracies += [
        c
        for c in [*_RESULT, TTA, VALIDATION, "seconds", "images_per_second", "goodput"]
        if c not in kinds
    ]
    missing = [c for c in [*accuracies, *kinds] if c not in frame]
    frame = frame.reindex(columns=[*frame.columns, *missing])
    frame = frame.astype(kinds | dict.fromkeys(accuracies, "float64"))
    order = frame.assign(
        dataset=frame.groupby("dataset", sort=False).ngroup(),
        arm=frame.groupby(ARM, sort=False).ngroup(),
    )
    return frame.loc[order.sort_values(["dataset", "arm", "seed"]).index].reset_index(drop=True)


def _by_run(records: Sequence[StudyRecord], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    parts = [
        frame.assign(**dataclasses.asdict(record.cell))
        for record, frame in zip(records, frames, strict=True)
        if record.result is not None and not frame.empty
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*ARM, "seed"])


def _pairs(runs: pd.DataFrame) -> pd.DataFrame:
    ended = runs[~runs["failed"]]
    pairs = ended.explode("controls").merge(
        ended, left_on="controls", right_on="run", suffixes=("", "_control"), how="inner"
    )
    by = f"{judged(runs)}_accuracy"
    return pairs.assign(
        judged=by,
        difference=pairs[by] - pairs[f"{by}_control"],
        difference_tta=pairs[TTA] - pairs[f"{TTA}_control"],
    )


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
    columns |= {f"paper_{name}": (f"paper_{name}", "first") for name in _PAPER}
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
        return {"tta_n": 0} | dict.fromkeys((f"tta_{name}" for name in _TTA_PAIRED[1:]), math.nan)
    found = paired(group[TTA], group[f"{TTA}_control"])
    return {f"tta_{name}": found[name] for name in _TTA_PAIRED}


_TTA_PAIRED = ("n", "difference", "sd", "t_low", "t_high", "p_value")
