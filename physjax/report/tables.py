"""Tables of frames: Markdown for people, LaTeX for papers, and CSV for programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from tabulate import tabulate

NOTHING = "–"
"""Where there is no figure: a single run has no deviation, and the paper not every arm."""


@dataclass(frozen=True)
class Column:
    """A column for people: what it says of a line of a frame."""

    header: str
    source: str
    """The column of the frame that it is about: if that holds numbers, it is set flush right."""
    text: Callable[[Any], str] | None = None
    """Of a line, as `DataFrame.itertuples` gives it; None: the source as it is."""


def render(frame: pd.DataFrame, columns: Sequence[Column], style: str = "pipe") -> str:
    """`columns` of `frame` as a table that ends in a newline.

    Args:
        frame: a line for each line of the table.
        columns: what stands in it.
        style: of tabulate: `pipe` is Markdown, `latex_booktabs` LaTeX.
    """
    rows = [
        [str(getattr(line, c.source)) if c.text is None else c.text(line) for c in columns]
        for line in frame.itertuples()
    ]
    numbers = [pd.api.types.is_numeric_dtype(frame[c.source]) for c in columns]
    text = tabulate(
        rows,
        headers=[c.header for c in columns],
        tablefmt=style,
        colalign=["right" if number else "left" for number in numbers],
        disable_numparse=True,
    )
    return f"{_known_letters(text) if style.startswith('latex') else text}\n"


def latex_float(caption: str, table: str) -> str:
    """A LaTeX table with a caption, of one that :func:`render` made in the style latex_booktabs.

    Args:
        caption: as in Markdown: `code`, and no other markup.
        table: the tabular.
    """
    text = caption.translate(_LATEX_ESCAPES)
    text = re.sub(r"`([^`]*)`", r"\\texttt{\1}", text)
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_known_letters(text)}}}\n{table}\\end{{table}}\n"
    )


_LATEX_ESCAPES = str.maketrans({letter: f"\\{letter}" for letter in "%&_#$"})


def _known_letters(text: str) -> str:
    """Without the letters that pdfLaTeX does not know by itself."""
    for letter, command in (("−", "$-$"), ("±", r"$\pm$"), ("–", "--"), ("…", r"\dots")):
        text = text.replace(letter, command)
    return text


def accuracy_columns(arms: pd.DataFrame) -> list[Column]:
    """Train and test accuracy over the seeds, for a frame of :func:`comparison.arm_frame`.

    The paper's are among them where it has some, and those over several views where there are any.
    """
    columns = [
        Column("data set", "title"),
        Column("base", "model"),
        Column("arm", "arm"),
        Column("n", "n", lambda a: f"{a.n}" + (f" ({a.failed} failed)" if a.failed else "")),
        Column("train", "train_mean", lambda a: _spread(_percent, a.train_mean, a.train_sd)),
        Column("best", "train_best", lambda a: _percent(a.train_best)),
    ]
    if arms["validation_n"].any():
        columns += [
            Column("validation", "validation_mean", _validation),
            Column("best", "validation_best", lambda a: _percent(a.validation_best)),
        ]
    columns += [
        Column("test", "test_mean", lambda a: _spread(_percent, a.test_mean, a.test_sd)),
        Column("best", "test_best", lambda a: _percent(a.test_best)),
    ]
    if arms["tta_n"].any():
        columns += [
            Column("test, TTA", "tta_mean", lambda a: _some(a.tta_n, a.n, a.tta_mean, a.tta_sd)),
            Column("best", "tta_best", lambda a: _percent(a.tta_best)),
        ]
    if arms["paper_test_mean"].notna().any():
        columns += [
            Column(
                "paper: train, best",
                "paper_train_mean",
                lambda a: _several(" / ", _percent, a.paper_train_mean, a.paper_train_best),
            ),
            Column(
                "paper: test, best",
                "paper_test_mean",
                lambda a: _several(" / ", _percent, a.paper_test_mean, a.paper_test_best),
            ),
        ]
    return columns


def _validation(arm: Any) -> str:
    return _some(arm.validation_n, arm.n, arm.validation_mean, arm.validation_sd)


def difference_columns(differences: pd.DataFrame) -> list[Column]:
    """Paired differences in points, for a frame of :func:`comparison.difference_frame`."""
    columns = [
        Column("data set", "title"),
        Column("base", "model"),
        Column("arm", "arm", lambda d: f"{d.arm} − {d.control}"),
        Column("n", "n"),
        Column("difference [pp]", "difference", lambda d: _spread(_points, d.difference, d.sd)),
        Column("95 % t", "t_low", lambda d: _several(" … ", _points, d.t_low, d.t_high)),
        Column(
            "95 % bootstrap",
            "bootstrap_low",
            lambda d: _several(" … ", _points, d.bootstrap_low, d.bootstrap_high),
        ),
        Column("p", "p_value", lambda d: _or_nothing("{:.2g}", d.p_value)),
        Column("p, Holm", "p_holm", lambda d: _or_nothing("{:.2g}", d.p_holm)),
        Column("n shows [pp]", "detectable", lambda d: _or_nothing("{:.2f}", 100 * d.detectable)),
        Column("improvement rate", "improvement_rate", lambda d: _rate(d.improvement_rate)),
    ]
    if differences["tta_n"].any():
        columns += [
            Column(
                "with TTA [pp]",
                "tta_difference",
                lambda d: _some(d.tta_n, d.n, d.tta_difference, d.tta_sd, _points),
            ),
            Column(
                "95 % t", "tta_t_low", lambda d: _several(" … ", _points, d.tta_t_low, d.tta_t_high)
            ),
        ]
    if differences["paper_difference"].notna().any():
        columns.append(
            Column(
                "paper (unpaired)",
                "paper_difference",
                lambda d: (
                    NOTHING
                    if pd.isna(d.paper_difference)
                    else f"{_points(d.paper_difference)}, {_rate(d.paper_improvement_rate)}"
                ),
            )
        )
    return columns


VERDICT_COLUMNS = [
    Column("data set", "title"),
    Column("base", "model"),
    Column("arm", "arm", lambda d: f"{d.arm} − {d.control}"),
    Column("n", "n"),
    Column("difference", "difference", lambda d: _spread(_points, d.difference, d.sd)),
    Column(
        "standard errors", "standard_errors", lambda d: _or_nothing("{:+.1f}", d.standard_errors)
    ),
    Column("beaten", "beaten", lambda d: "yes" if d.beaten else "no"),
]
"""Those of :func:`verdicts.verdict_frame`."""


def seed_columns(seeds: Sequence[int]) -> list[Column]:
    """The difference of every pair, for a frame of :func:`comparison.seed_frame`."""
    columns = [
        Column("data set", "title"),
        Column("base", "model"),
        Column("arm", "arm", lambda d: f"{d.arm} − {d.control}"),
    ]
    for seed in seeds:
        source = f"seed_{seed}"
        columns.append(Column(f"seed {seed}", source, partial(_seed, source)))
    return columns


def _seed(source: str, line: Any) -> str:
    return _points(getattr(line, source))


PAPER_COLUMNS = [
    Column("dataset", "split", lambda p: p.split + (f" (n = {p.n})" if p.n < p.runs else "")),
    Column("average accuracy, paper", "paper_mean", lambda p: _percent(p.paper_mean)),
    Column("average accuracy, ours", "mean", lambda p: _spread(_percent, p.mean, p.sd)),
    Column("max accuracy, paper", "paper_max", lambda p: _percent(p.paper_max)),
    Column("max accuracy, ours", "max", lambda p: _percent(p.max)),
]
"""Those of the paper's tables and ours beside them, for a part of :func:`paper.paper_frame`."""


ROBUSTNESS_COLUMNS = [
    Column("data set", "title"),
    Column("base", "model"),
    Column("arm", "arm", lambda d: f"{d.arm} − {d.control}"),
    Column("measure", "measure"),
    Column("n", "n"),
    Column("control", "control_mean", lambda d: _percent(d.control_mean)),
    Column("arm's", "mean", lambda d: _percent(d.mean)),
    Column("difference [pp]", "difference", lambda d: _spread(_points, d.difference, d.sd)),
    Column("95 % t", "t_low", lambda d: _several(" … ", _points, d.t_low, d.t_high)),
    Column("p", "p_value", lambda d: _or_nothing("{:.2g}", d.p_value)),
]
"""Those of :func:`corrupted.robustness_frame`."""


def _or_nothing(form: str, value: float) -> str:
    text = NOTHING if pd.isna(value) else form.format(value)
    return f"−{text[1:]}" if text.startswith("-") else text


def _percent(value: float) -> str:
    return _or_nothing("{:.2f}", 100 * value)


def _points(value: float) -> str:
    return _or_nothing("{:+.2f}", 100 * value)


def _rate(value: float) -> str:
    return _or_nothing("{:+.2f} %", 100 * value)


def _spread(form: Callable[[float], str], mean: float, sd: float) -> str:
    return form(mean) + ("" if pd.isna(sd) else f" ± {100 * sd:.2f}")


def _some(n: int, of: int, mean: float, sd: float, form: Callable[[float], str] = _percent) -> str:
    """Mean and deviation, and of how many, where those are not all."""
    return _spread(form, mean, sd) + (f" (n = {n})" if 0 < n < of else "")


def _several(between: str, form: Callable[[float], str], *values: float) -> str:
    return NOTHING if pd.isna(values[0]) else between.join(map(form, values))
