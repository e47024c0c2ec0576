"""The tables of a study as sections of a page: a heading, a caption, a table and what to know."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from physjax.report.comparison import seed_frame
from physjax.report.frames import judged
from physjax.report.paper import TABLES
from physjax.report.tables import (
    PAPER_COLUMNS,
    ROBUSTNESS_COLUMNS,
    VERDICT_COLUMNS,
    Column,
    accuracy_columns,
    difference_columns,
    latex_float,
    render,
    seed_columns,
)
from physjax.report.verdicts import verdicts
from physjax.study.design import Study


@dataclass(frozen=True)
class Section:
    """One table."""

    heading: str
    """Empty: it belongs to the section before."""
    caption: str
    frame: pd.DataFrame
    columns: Sequence[Column]
    notes: str = ""

    def markdown(self) -> str:
        """The section for tables.md."""
        heading = f"## {self.heading}\n\n" if self.heading else ""
        notes = f"\n{self.notes}" if self.notes else ""
        return f"{heading}{_fill(self.caption)}\n{render(self.frame, self.columns)}{notes}"

    def latex(self) -> str:
        """The table for tables.tex: a float, of the package booktabs."""
        return latex_float(self.caption, render(self.frame, self.columns, "latex_booktabs"))


def _fill(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False) + "\n"


def study_sections(tables: Mapping[str, pd.DataFrame], title: str, study: Study) -> list[Section]:
    """The tables of a study: accuracies, the paper's tables, differences, and those by seed.

    Args:
        tables: `accuracy`, `runs`, `paper`, `differences`, `verdicts`, `pairs` and `robustness`, as
            :mod:`physjax.report.study` has them for its CSV files; all but the first two may be
            missing.
        title: of the study (`StudyFrames.title`).
        study: its grid.
    """
    arms = tables["accuracy"]
    with_paper = bool(arms["paper_test_mean"].notna().any())
    where = f"{title}." if title else "No run ended well."
    notes = _NOTES
    if arms["tta_n"].any():
        notes += _TTA_NOTE.format(views=study.tta)
    if with_paper:
        notes += _PAPER_NOTE
    caption = f"Accuracy in percent. {where}"
    sections = [Section("Accuracy", caption, arms, accuracy_columns(arms), _fill(notes))]
    if "paper" in tables:
        sections += _paper_sections(tables["paper"])
    if "pairs" in tables:
        differences, pairs = tables["differences"], tables["pairs"]
        by = judged(tables["runs"]).capitalize()
        sections.append(
            Section(
                "Difference to the control, paired by seed",
                f"{by} accuracy of the arm minus that of its control. {where}",
                differences,
                difference_columns(differences),
                _fill(
                    _PAIRED_NOTES
                    + _family_note(differences)
                    + (_PAPER_DIFFERENCE_NOTE if with_paper else "")
                ),
            )
        )
        if "verdicts" in tables:
            sections.append(_verdict_section(tables["verdicts"], where, study))
        seeds = sorted(pairs["seed"].unique())
        if len(seeds) > 1:
            caption = f"The differences by seed, in percentage points. {where}"
            heading = "Differences by seed" if "verdicts" in tables else ""
            sections.append(Section(heading, caption, seed_frame(pairs), seed_columns(seeds)))
    if "robustness" in tables:
        caption = (
            "Robustness and calibration of the final parameters, in percent and percentage points: "
            f"the arm minus its control. {where}"
        )
        heading, frame = "Robustness and calibration, paired by seed", tables["robustness"]
        notes = _fill(_ROBUSTNESS_NOTE)
        sections.append(Section(heading, caption, frame, ROBUSTNESS_COLUMNS, notes))
    return sections


def _family_note(differences: pd.DataFrame) -> str:
    """What the corrected p values are corrected for; empty: there are none."""
    counts = differences.groupby("family", sort=False)["p_value"].count()
    families = [f"{name}: {count}" for name, count in counts.items() if count]
    if not families:
        return ""
    return _HOLM_NOTE.format(families=", ".join(families))


def _verdict_section(lines: pd.DataFrame, where: str, study: Study) -> Section:
    notes = [f"- {sentence}" for sentence in verdicts(lines, study.must_beat)]
    caption = f"Arms and what each must beat, in percentage points. {where}"
    return Section("Verdicts", caption, lines, VERDICT_COLUMNS, "\n".join(notes) + "\n")


def _paper_sections(lines: pd.DataFrame) -> list[Section]:
    sections: list[Section] = []
    keys = ["table", "title", "setting", "dataset", "model", "arm"]
    for (name, title, setting, _, model, arm), table in lines.groupby(keys, sort=False):
        n = int(table["runs"].iloc[0])
        over = f"mean ± sample standard deviation and maximum over n = {n} runs"
        caption = (
            f"The paper's {name} ({TABLES[name].title}; CIFAR-10, 50 epochs) and ours, in percent: "
            f"{model}, arm `{arm}`, on {title}, {setting}; {over if n > 1 else 'a single run'}, "
            "last epoch."
        )
        heading = "" if sections else "The paper's tables"
        sections.append(Section(heading, caption, table, PAPER_COLUMNS))
    sections[-1] = dataclasses.replace(sections[-1], notes=_fill(_TABLES_NOTE))
    return sections


_NOTES = (
    "Accuracies of the last epoch: nothing is selected on the test set. `train` is measured while "
    "the parameters move, augmentation and dropout on. Mean ± sample standard deviation over n "
    "runs with different seeds; `best` is the best run's."
)
_TTA_NOTE = (
    " `TTA`: the final parameters' probabilities, averaged over the views `{views}` of each test "
    "image, once, when the run had ended."
)
_PAPER_NOTE = " The paper's figures come from its own recipes."
_TABLES_NOTE = (
    "The paper's plain and physics-driven AlexNet were trained by different recipes, so its Tables "
    "II and III differ in more than the force; ours differ in the force alone where their captions "
    "name the same setting."
)
_PAIRED_NOTES = (
    "An arm with a force law is compared with the run of the same settings without it, and with "
    "arms that differ from that run in the rate of their biases alone; an arm with a learning rule "
    "alone, with the run without the rule; an arm that changes settings alone, with `none`. Runs "
    "of equal seeds saw the same batches and, where the arms share parameters, began with the same "
    "values; each pair gives one difference. The t interval (Student, n − 1 degrees of freedom) is "
    "the one to quote; the bootstrap (percentiles over resampled pairs) is too narrow for few "
    "pairs. p is the two-sided paired t test's, for one comparison by itself. Improvement rate: "
    "difference over the control's mean."
)
_ROBUSTNESS_NOTE = (
    "An error is 100 % minus the accuracy, the mean over five severities of a corruption (made by "
    "physjax, not CIFAR-10-C), and for the mean corruption error over the corruptions. The "
    "calibration error is the expected one of 15 bins (Guo et al. 2017). Below zero the arm is "
    "better. The interval is Student's, of n pairs; no p value here is corrected for their number."
)
_HOLM_NOTE = (
    " p, Holm: corrected for all comparisons of the family ({families}), so that a family without "
    "any effect has one below 0.05 in one case of twenty. n shows: the mean difference that the "
    "paired t test of so many pairs of this deviation finds in four cases of five; a smaller one "
    "may well be there where none was found."
)
_PAPER_DIFFERENCE_NOTE = " The paper's difference is unpaired and between two recipes."
