"""The runs of a study as frames: a line a run, an arm, a pair of runs, an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from physjax.config import Config
from physjax.config.names import in_folder_name
from physjax.evaluate.record import RobustnessRecord
from physjax.plotting import series_styles
from physjax.records.ledger import goodput
from physjax.report.corrupted import with_robustness
from physjax.report.paper import (
    PUBLISHED_FIGURES,
    has_the_papers_images,
    is_the_papers,
    published,
)
from physjax.report.physics import physics_frame, shared_frame
from physjax.report.titles import common_setting, setting
from physjax.study.controls import compared_with, controls_of
from physjax.study.design import Cell, Study
from physjax.study.folder import StudyRecord

ARM = ["dataset", "model", "arm"]
"""The columns by which runs are of one arm; such runs differ in the seed."""
_RESULT = ["train_accuracy", "test_accuracy", "best_test_accuracy", "epochs", "parameters"]
TTA = "test_accuracy_tta"
VALIDATION = "validation_accuracy"


@dataclass(frozen=True)
class StudyFrames:
    """What a study's report is made of. Accuracies are fractions in [0, 1]; NaN: not known."""

    runs: pd.DataFrame
    """A line a run that has ended, by arm and seed: `run`, the columns `ARM`, `seed`, `failed`,
    `title` (of the images), `setting`, `controls` (the runs that it is compared with), `table`
    (the paper's, in which it has a place, or None), the figures of its result, `test_accuracy_tta`
    (over the study's views), `validation_accuracy` (where images were held out), the paper's
    figures, and where runs were evaluated under corruptions the columns of
    :func:`physjax.report.corrupted.with_robustness`."""
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
            yield in_folder_name("_".join(values.values())), dataclasses.replace(self, **parts)

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
    robustness: Mapping[Cell, RobustnessRecord] | None = None,
) -> StudyFrames:
    """The frames of some `records` of a study.

    Args:
        records: those of runs that have ended, well or not; at least one.
        runs: all runs of the study.
        study: the grid, which may name further arms to compare with; None: it names none.
        paper: have the paper's figures for all arms that it has, not only for those which were
            trained as the paper's were.
        tta: the views of the study (`Study.tta`): accuracies over any others are left out.
        robustness: what runs did under corruptions; None: nobody asked.
    """
    frame = _by_arm(pd.DataFrame([_run(record, runs, paper, tta) for record in records]))
    if study is not None:
        controls = {
            record.cell.name: [c.name for c in compared_with(record.cell, study, runs)]
            for record in records
        }
        frame = frame.assign(controls=frame["run"].map(controls))
    frame = with_robustness(frame, {c.name: r for c, r in (robustness or {}).items()})
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
        line |= {f"paper_{name}": getattr(known, name) for name in PUBLISHED_FIGURES}
    return line


def _by_arm(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` in the order of its data sets, then of its arms, then of the seeds."""
    kinds: dict[str, Any] = {"epochs": "Int64", "parameters": "Int64"}
    kinds |= {"restarts": "Int64", "lost_steps": "Int64"}
    accuracies = [f"paper_{name}" for name in PUBLISHED_FIGURES]
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
