"""The tables and figures of a study, from its folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from physjax import plotting
from physjax.files import atomic_write
from physjax.records import RecordError
from physjax.records.provenance import summarize
from physjax.report.comparison import arm_frame, difference_frame
from physjax.report.corrupted import MEASURES, robustness_frame
from physjax.report.figures import FIGURES
from physjax.report.frames import ARM, StudyFrames, study_frames
from physjax.report.paper import paper_frame
from physjax.report.registry import draw_figures
from physjax.report.sections import study_sections
from physjax.report.verdicts import verdict_frame
from physjax.study.design import PLAIN, Cell, Study, plan
from physjax.study.folder import StudyFolder, StudyRecord
from physjax.study.robustness import read_robustness_of

_SPENT = ("goodput", "restarts", "lost_steps")
_CSV = {
    "accuracy": [
        *(*ARM, "n", "failed"),
        *(f"{split}_{name}" for split in ("train", "test") for name in ("mean", "sd", "best")),
        *("tta_n", "tta_mean", "tta_sd", "tta_best"),
        *("validation_n", "validation_mean", "validation_sd", "validation_best"),
        *(f"paper_{split}_{name}" for split in ("train", "test") for name in ("mean", "best")),
    ],
    "runs": [
        *(*ARM, "seed", "train_accuracy", "test_accuracy", "best_test_accuracy"),
        *("test_accuracy_tta", "validation_accuracy"),
        *("epochs", "parameters", "seconds", "images_per_second", "device"),
        *_SPENT,
        *MEASURES,
    ],
    "robustness": [
        *(*ARM, "control", "measure", "n", "mean", "control_mean", "difference", "sd"),
        *("t_low", "t_high", "p_value"),
    ],
    "paper": [
        *("table", *ARM, "title", "setting", "split", "n", "mean", "sd", "max"),
        *("paper_mean", "paper_max"),
    ],
    "differences": [
        *(*ARM, "control", "n", "difference", "sd", "t_low", "t_high", "bootstrap_low"),
        *("bootstrap_high", "p_value", "family", "p_holm", "detectable", "improvement_rate"),
        *(f"tta_{name}" for name in ("n", "difference", "sd", "t_low", "t_high", "p_value")),
        *("paper_difference", "paper_improvement_rate"),
    ],
    "verdicts": [
        *(*ARM, "control", "n", "difference", "sd", "standard_errors", "detectable", "beaten"),
    ],
    "pairs": [
        *(*ARM, "arm_control", "seed", "test_accuracy", "test_accuracy_control", "difference"),
        *("test_accuracy_tta", "test_accuracy_tta_control", "difference_tta"),
        *("validation_accuracy", "validation_accuracy_control"),
    ],
}
"""The columns of each CSV file; those on held-out images, on what a run's time was spent on, and on
corrupted images only where there are any."""


def read_frames(
    path: Path, *, paper: bool = False
) -> tuple[StudyFrames, dict[Cell, StudyRecord], Study]:
    """The frames of the study in `path`, its records and its grid.

    Raises:
        RecordError: there is no study, none of its runs has ended, or its records do not belong
            together.
    """
    folder = StudyFolder(path)
    study = folder.read_study()
    runs = plan(study)
    records = folder.read(runs)
    if not records:
        raise RecordError(
            f"no run of the study in {path} has ended yet; run it: physjax study --name {path.name}"
        )
    made = list(records.values())
    frames = study_frames(
        made,
        runs,
        study=study,
        paper=paper,
        tta=study.tta,
        robustness=read_robustness_of(folder, made),
    )
    return frames, records, study


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
    frames, records, study = read_frames(path, paper=paper)
    tables = table_frames(frames, study)
    sections = study_sections(tables, frames.title, study)
    text = [
        f"# Study {path.name}\n",
        f"{len(records)} of {len(plan(study))} runs have ended. Made by "
        f"`physjax study --name {path.name}` from the grid in study.toml.\n",
    ]
    if study.screening is not None:
        text.append(
            f"It confirms what the study {study.screening} chose on held-out images, on seeds that "
            "had no part in it.\n"
        )
    text += [section.markdown() for section in sections]
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
        atomic_write(
            file, table.to_csv(columns=_columns(name, table), index=False, lineterminator="\n")
        )
    for name in _CSV.keys() - tables.keys():
        (path / f"{name}.csv").unlink(missing_ok=True)
    if latex:
        written.append(path / "tables.tex")
        atomic_write(written[-1], "\n".join(section.latex() for section in sections))
    return written + _draw(frames, StudyFolder(path).figures, formats)


def _columns(name: str, table: pd.DataFrame) -> list[str]:
    held_out = table.filter(like="validation_").replace(0, None).notna().any(axis=None)
    known = table.filter(items=_SPENT).notna().any(axis=None)
    return [
        c
        for c in _CSV[name]
        if (held_out or not c.startswith("validation_"))
        and (known or c not in _SPENT)
        and (c in table or c not in MEASURES)
    ]


def table_frames(frames: StudyFrames, study: Study) -> dict[str, pd.DataFrame]:
    """By the name of its CSV file; those without a line are left out."""
    arms = arm_frame(frames.runs)
    differences = difference_frame(frames.pairs, study.families)
    tables = {
        "accuracy": arms,
        "paper": paper_frame(arms),
        "differences": differences,
        "verdicts": verdict_frame(differences, study.must_beat),
        "robustness": robustness_frame(frames.pairs, ARM),
        "pairs": frames.pairs,
        "runs": frames.runs[~frames.runs["failed"]],
    }
    # That no run ended well is worth a file.
    return {name: frame for name, frame in tables.items() if len(frame) or name == "runs"}


def _without_control(runs: pd.DataFrame) -> list[str]:
    """`model arm` of the arms that nothing in the study's grid can be compared with."""
    # With axes, their values follow the arm's name.
    plain = runs["arm"].str.split("@").str[0] == PLAIN
    lone = runs[~runs["controls"].astype(bool) & ~plain]
    return [f"{line.model} `{line.arm}`" for line in lone[ARM].drop_duplicates().itertuples()]


def _draw(frames: StudyFrames, folder: Path, formats: Sequence[plotting.Format]) -> list[Path]:
    written = []
    for name, (by, plot) in FIGURES.items():
        for part, subject in frames.by(by) if by else [("", frames)]:
            file = f"{name}_{part}" if part else name
            written += draw_figures({file: plot}, subject, folder, formats)
    return written
