"""Tables of a study, in Markdown for people and as CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from physjax.report.comparison import Arm, Comparison
from physjax.report.statistics import Interval, Summary

NOTHING = "–"
"""Where there is no figure: a single run has no deviation, and the paper not every arm."""


@dataclass(frozen=True)
class Table:
    """One table: what people read, and the same as unrounded numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    """Column names of `values`."""
    values: tuple[tuple[Any, ...], ...]
    """Accuracies are fractions in [0, 1] here; None is an empty field."""

    def markdown(self) -> str:
        """As a Markdown table; columns from the first number on are set flush right."""
        words = sum(name in ("data set", "base", "arm") for name in self.header)
        rule = ["---" if i < words else "---:" for i in range(len(self.header))]
        lines = [self.header, rule, *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def csv(self) -> str:
        """As CSV with a header line."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.names, *self.values])
        return text.getvalue()


def accuracy_table(arms: Sequence[Arm]) -> Table:
    """One line an arm: train and test accuracy over the seeds, beside the paper's."""
    rows, values = [], []
    for arm in arms:
        train, test, paper = arm.train, arm.test, arm.paper
        names = (arm.title, arm.model, arm.arm)
        count = f"{len(arm.records)}" + (f" ({arm.failed} failed)" if arm.failed else "")
        theirs: list[float | None] = [None] * 4
        if paper is not None:
            theirs = [paper.train_mean, paper.train_best, paper.test_mean, paper.test_best]
        rows.append(
            (
                *names,
                count,
                *(cell for summary in (train, test) for cell in _summary(summary)),
                *(f"{_percent(a)} / {_percent(b)}" if a else NOTHING for a, b in _twos(theirs)),
            )
        )
        figures = [
            value
            for s in (train, test)
            for value in ((s.mean, s.sd, s.best) if s is not None else (None,) * 3)
        ]
        values.append((arm.dataset, *names[1:], len(arm.records), arm.failed, *figures, *theirs))
    header = ("data set", "base", "arm", "n", "train", "best", "test", "best")
    columns = [f"{split}_{what}" for split in ("train", "test") for what in ("mean", "sd", "best")]
    paper_columns = [f"paper_{s}_{what}" for s in ("train", "test") for what in ("mean", "best")]
    return Table(
        (*header, "paper: train, best", "paper: test, best"),
        tuple(rows),
        ("dataset", "model", "arm", "n", "failed", *columns, *paper_columns),
        tuple(values),
    )


def difference_table(pairs: Sequence[Comparison]) -> Table:
    """One line a comparison: the paired difference in test accuracy, in percentage points."""
    rows, values = [], []
    for pair in pairs:
        arm, d = pair.treatment, pair.difference
        theirs, their_rate = pair.published_difference, pair.published_rate
        rows.append(
            (
                *(arm.title, arm.model, f"{arm.arm} − {pair.control.arm}", str(d.n)),
                _points(d.mean) + ("" if d.sd is None else f" ± {100 * d.sd:.2f}"),
                *(_interval(d.t_interval), _interval(d.bootstrap)),
                NOTHING if d.p_value is None else f"{d.p_value:.2g}",
                _signed_percent(d.improvement_rate),
                NOTHING
                if theirs is None or their_rate is None
                else f"{_points(theirs)}, {_signed_percent(their_rate)}",
            )
        )
        bounds = [
            bound
            for interval in (d.t_interval, d.bootstrap)
            for bound in ((interval.low, interval.high) if interval else (None, None))
        ]
        values.append(
            (
                *(arm.dataset, arm.model, arm.arm, pair.control.arm, d.n, d.mean, d.sd, *bounds),
                *(d.p_value, d.improvement_rate, theirs, their_rate),
            )
        )
    return Table(
        (
            *("data set", "base", "arm", "n", "difference [pp]", "95 % t", "95 % bootstrap"),
            *("p", "improvement rate", "paper (unpaired)"),
        ),
        tuple(rows),
        (
            *("dataset", "model", "arm", "control", "n", "difference", "sd", "t_low", "t_high"),
            *("bootstrap_low", "bootstrap_high", "p_value", "improvement_rate"),
            *("paper_difference", "paper_improvement_rate"),
        ),
        tuple(values),
    )


def run_table(arms: Sequence[Arm]) -> Table:
    """One line a run that ended well."""
    rows, values = [], []
    for arm in arms:
        for record, result in zip(arm.records, arm.results, strict=True):
            line = (
                *(arm.dataset, arm.model, arm.arm, record.cell.seed),
                *(result.train_accuracy, result.test_accuracy, result.best_test_accuracy),
                *(result.epochs, result.parameters, round(result.wall_seconds, 1)),
                *(round(result.images_per_second, 1), result.device["kind"]),
            )
            values.append(line)
            rows.append(tuple(str(value) for value in line))
    names = (
        *("dataset", "model", "arm", "seed", "train_accuracy", "test_accuracy"),
        *("best_test_accuracy", "epochs", "parameters", "seconds", "images_per_second", "device"),
    )
    return Table(names, tuple(rows), names, tuple(values))


def _twos(values: Sequence[float | None]) -> list[tuple[float | None, float | None]]:
    return [(values[i], values[i + 1]) for i in range(0, len(values), 2)]


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"


def _signed_percent(value: float) -> str:
    return f"{100 * value:+.2f} %".replace("-", "−")


def _points(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


def _summary(summary: Summary | None) -> tuple[str, str]:
    if summary is None:
        return NOTHING, NOTHING
    sd = "" if summary.sd is None else f" ± {100 * summary.sd:.2f}"
    return f"{100 * summary.mean:.2f}{sd}", _percent(summary.best)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    return f"{_points(interval.low)} … {_points(interval.high)}"
