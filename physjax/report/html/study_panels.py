"""The panels of a study: a new one is a function, and a line in `PANELS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from physjax.report.comparison import difference_frame
from physjax.report.frames import StudyFrames, judged
from physjax.report.html import charts, study_charts
from physjax.report.html.panel import chart, heading, joined, paragraph
from physjax.report.physics import LABELS
from physjax.report.sections import study_sections
from physjax.report.study import table_frames
from physjax.report.tables import render
from physjax.study.design import Study, plan


@dataclass(frozen=True)
class StudySubject:
    """A study that the page shows."""

    name: str
    """Of its folder."""
    frames: StudyFrames
    ended: int
    """Runs that have ended."""
    study: Study
    """Its grid."""


def overview(study: StudySubject) -> Markup | None:
    """How much of it there is, and the accuracies."""
    by = judged(study.frames.runs)
    ended = study.frames.runs[~study.frames.runs["failed"].astype(bool)]
    parts = [
        paragraph(
            f"{study.ended} of {len(plan(study.study))} runs have ended: {study.frames.title}."
        ),
        paragraph(
            "Arms see the same batches at equal seeds. "
            + (
                "They are judged on training images that were held out; the test images decide "
                "nothing."
                if by == "validation"
                else "Accuracies are the last epoch's: nothing is selected on the test set."
            ),
            "statement",
        ),
    ]
    if len(ended):
        names = ended[["dataset", "model", "arm"]].drop_duplicates()
        parts.append(chart(study_charts.arms(ended, by), 120 + 34 * len(names)))
    return joined(parts)


def tables(study: StudySubject) -> Markup | None:
    """Those of tables.md."""
    parts = []
    for section in study_sections(
        table_frames(study.frames, study.study), study.frames.title, study.study
    ):
        if section.heading:
            parts.append(heading(section.heading))
        # tabulate escapes what comes from names.
        body = Markup(render(section.frame, section.columns, "html"))
        parts += [
            paragraph(section.caption),
            Markup('<div class="scroll">{}</div>').format(body),
            paragraph(section.notes) if section.notes else Markup(""),
        ]
    return joined(parts)


def differences(study: StudySubject) -> Markup | None:
    """Arm minus control, with intervals."""
    if study.frames.pairs.empty:
        return None
    frame = difference_frame(study.frames.pairs, study.study.families)
    text = (
        "Each point is the mean difference between an arm and its control over the seeds, with "
        "Student's 95 % interval. An interval that holds zero says that the study cannot tell the "
        "two apart, not that they are the same."
    )
    figure = study_charts.differences(frame, judged(study.frames.runs))
    return paragraph(text) + chart(figure, 140 + 34 * len(frame))


def curves(study: StudySubject) -> Markup | None:
    """The course of training, by arm."""
    parts = []
    for _, part in study.frames.by(("model", "dataset")):
        line = part.runs.iloc[0]
        parts.append(heading(f"{line['model']} on {line['title']}"))
        parts += [chart(study_charts.arm_curves(part.epochs, q), 460) for q in ("accuracy", "loss")]
    return joined(parts) if parts else None


def forces(study: StudySubject) -> Markup | None:
    """Strength and force by epoch and layer for each arm that has them: means over the seeds."""
    physics = study.frames.physics
    if physics.empty:
        return None
    parts = []
    keys = ["dataset", "model", "arm"]
    for names, part in physics.groupby(keys, sort=False):
        mean = part.groupby(["epoch", "layer", "quantity"], sort=False)["value"].mean()
        frame = mean.reset_index()
        parts.append(heading(f"{names[1]}, {names[2]} ({names[0]})"))
        for quantity in dict.fromkeys(frame["quantity"]):
            figure = charts.by_layer(frame, quantity, LABELS.get(quantity, quantity))
            parts.append(chart(figure, 320))
    return joined(parts)


PANELS: dict[str, Callable[[StudySubject], Markup | None]] = {
    "Overview": overview,
    "Tables": tables,
    "Differences": differences,
    "Curves": curves,
    "Forces": forces,
}
"""By the title of the tab; one that gives None has no tab."""
