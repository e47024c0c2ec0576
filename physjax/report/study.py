"""The tables and figures of a study, from its folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from physjax import plotting
from physjax.files import atomic_write
from physjax.records import RecordError
from physjax.records.provenance import summarize
from physjax.report.figures import FIGURES
from physjax.report.frames import ARM, StudyFrames, arm_frame, difference_frame, study_frames
from physjax.report.registry import draw_figures
from physjax.report.tables import accuracy_columns, difference_columns, render
from physjax.study.design import PLAIN, plan
from physjax.study.folder import StudyFolder

_NOTES = """\
Accuracies in percent, of the last epoch: nothing is selected on the test set. `train` is measured
while the parameters move, augmentation and dropout on. Mean ± sample standard deviation over n runs
with different seeds; `best` is the best run's.{paper}
"""
_PAPER_NOTE = " The paper's figures come from its own recipes."
_PAIRED_NOTES = """\
An arm with a force law is compared with the run of the same settings without it; an arm with a
learning rule alone, with the run without the rule; an arm that changes settings alone, with `none`.
Runs of equal seeds saw the same batches and, where the arms share parameters, began with the same
values; each pair gives one difference. The t interval (Student, n − 1 degrees of freedom) is the
one to quote; the bootstrap (percentiles over resampled pairs) is too narrow for a handful of pairs.
p is the two-sided paired t test's, for one comparison by itself. Improvement rate: difference over
the control's mean.{paper}
"""
_PAPER_DIFFERENCE_NOTE = " The paper's difference is unpaired and between two recipes."

_CSV = {
    "accuracy": [
        *(*ARM, "n", "failed"),
        *(f"{split}_{name}" for split in ("train", "test") for name in ("mean", "sd", "best")),
        *(f"paper_{split}_{name}" for split in ("train", "test") for name in ("mean", "best")),
    ],
    "runs": [
        *(*ARM, "seed", "train_accuracy", "test_accuracy", "best_test_accuracy", "epochs"),
        *("parameters", "seconds", "images_per_second", "device"),
    ],
    "differences": [
        *(*ARM, "control", "n", "difference", "sd", "t_low", "t_high", "bootstrap_low"),
        *("bootstrap_high", "p_value", "improvement_rate"),
        *("paper_difference", "paper_improvement_rate"),
    ],
}
"""The columns of each CSV file."""


def report_study(
    path: Path,
    formats: Sequence[plotting.Format] = plotting.PNG,
    *,
    latex: bool = False,
    paper: bool = False,
) -> list[Path]:
    """Write tables.md, the CSV files and the figures of the study in `path`.

    Args:
        path: the study's folder.
        formats: of the figures.
        latex: write tables.tex too, for the package booktabs.
        paper: show the paper's figures beside all arms that it has, not only beside those which
            were trained by its recipe on its images.

    Returns:
        The files.

    Raises:
        RecordError: there is no study, none of its runs has ended, or its records do not belong
            together.
    """
    folder = StudyFolder(path)
    runs = plan(folder.read_study())
    records = folder.read(runs)
    if not records:
        raise RecordError(
            f"no run of the study in {path} has ended yet; run it: physjax study --name {path.name}"
        )
    frames = study_frames(list(records.values()), runs, paper=paper)
    tables = {"accuracy": arm_frame(frames.runs), "runs": frames.runs[~frames.runs["failed"]]}
    columns = {"accuracy": accuracy_columns(tables["accuracy"])}
    with_paper = bool(tables["accuracy"]["paper_test_mean"].notna().any())
    text = [
        f"# Study {path.name}\n",
        f"{len(records)} of {len(runs)} runs have ended. Made by "
        f"`physjax study --name {path.name}` from the grid in study.toml.\n",
        *([f"{frames.title}.\n"] if frames.title else []),
        "## Accuracy\n",
        render(tables["accuracy"], columns["accuracy"]),
        _NOTES.format(paper=_PAPER_NOTE if with_paper else ""),
    ]
    if not frames.pairs.empty:
        tables["differences"] = difference_frame(frames.pairs)
        columns["differences"] = difference_columns(tables["differences"])
        text += [
            "## Difference to the control, paired by seed\n",
            render(tables["differences"], columns["differences"]),
            _PAIRED_NOTES.format(paper=_PAPER_DIFFERENCE_NOTE if with_paper else ""),
        ]
    lone = _without_control(frames.runs)
    if lone:
        text.append(
            "Not compared, since the study has no runs of the same settings without the law or "
            f"rule: {', '.join(lone)}. An arm with these settings and law `{PLAIN}` would be the "
            "control.\n"
        )
    made = summarize(records.values())
    if made:
        text.append(f"{made}\n")
    written = [path / "tables.md", *(path / f"{name}.csv" for name in tables)]
    atomic_write(written[0], "\n".join(text))
    for file, (name, table) in zip(written[1:], tables.items(), strict=True):
        atomic_write(file, table.to_csv(columns=_CSV[name], index=False, lineterminator="\n"))
    for name in _CSV.keys() - tables.keys():
        (path / f"{name}.csv").unlink(missing_ok=True)
    if latex:
        written.append(path / "tables.tex")
        parts = [render(tables[name], c, "latex_booktabs") for name, c in columns.items()]
        atomic_write(written[-1], "\n".join(parts))
    return written + _draw(frames, folder.figures, formats)


def _without_control(runs: pd.DataFrame) -> list[str]:
    """`model arm` of the arms that nothing in the study's grid can be compared with."""
    # With axes, their values follow the arm's name.
    plain = runs["arm"].str.split("@").str[0] == PLAIN
    lone = runs[runs["control"].isna() & ~plain]
    return [f"{line.model} `{line.arm}`" for line in lone[ARM].drop_duplicates().itertuples()]


def _draw(frames: StudyFrames, folder: Path, formats: Sequence[plotting.Format]) -> list[Path]:
    written = []
    for name, (by, plot) in FIGURES.items():
        for part, subject in frames.by(by) if by else [("", frames)]:
            file = f"{name}_{part}" if part else name
            written += draw_figures({file: plot}, subject, folder, formats)
    return written
