"""Tables of frames: Markdown for people, LaTeX for papers, and CSV for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    if style.startswith("latex"):
        # The letters that pdfLaTeX does not know by itself.
        for letter, command in (("−", "$-$"), ("±", r"$\pm$"), ("–", "--"), ("…", r"\dots")):
            text = text.replace(letter, command)
    return f"{text}\n"


def accuracy_columns(arms: pd.DataFrame) -> list[Column]:
    """Train and test accuracy over the seeds, for a frame of :func:`frames.arm_frame`.

    The paper's are among them where it has some.
    """
    columns = [
        Column("data set", "title"),
        Column("base", "model"),
        Column("arm", "arm"),
        Column("n", "n", lambda a: f"{a.n}" + (f" ({a.failed} failed)" if a.failed else "")),
        Column("train", "train_mean", lambda a: _spread(_percent, a.train_mean, a.train_sd)),
        Column("best", "train_best", lambda a: _percent(a.train_best)),
        Column("test", "test_mean", lambda a: _spread(_percent, a.test_mean, a.test_sd)),
        Column("best", "test_best", lambda a: _percent(a.test_best)),
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


def difference_columns(differences: pd.DataFrame) -> list[Column]:
    """Paired differences in percentage points, for a frame of :func:`frames.difference_frame`."""
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
        Column("improvement rate", "improvement_rate", lambda d: _rate(d.improvement_rate)),
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


def _several(between: str, form: Callable[[float], str], *values: float) -> str:
    return NOTHING if pd.isna(values[0]) else between.join(map(form, values))
