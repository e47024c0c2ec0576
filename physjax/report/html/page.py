"""The page itself: who is on it, its tabs, and everything that it needs inside one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from physjax.errors import UserError
from physjax.files import atomic_write
from physjax.records import RecordError, RunFolder
from physjax.records.inspection import read_inspection
from physjax.report.html import charts, run_panels, study_panels
from physjax.report.html.panel import Panel, chart, joined, table
from physjax.report.html.run_panels import RunSubject
from physjax.report.html.study_panels import StudySubject
from physjax.report.study import read_frames
from physjax.report.titles import run_title
from physjax.study.folder import StudyFolder

T = TypeVar("T")


@dataclass(frozen=True)
class _Tab:
    """A subject, with its panels."""

    name: str
    title: str
    panels: Sequence[Panel]


def write_page(
    paths: Sequence[Path], output: Path, lacks: Mapping[Path, str] | None = None
) -> None:
    """Write one HTML file about runs and studies.

    Args:
        paths: folders of finished runs and of studies.
        output: the file.
        lacks: of runs that nobody could look into (`physjax.evaluate.inspection`): why.

    Raises:
        RecordError: a folder holds neither a finished run nor a study.
        UserError: none is given, or one twice.
    """
    if not paths:
        raise UserError("name at least one run or study")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a folder is named twice; leave out one of them")
    subjects = [_read(path, (lacks or {}).get(path, "")) for path in paths]
    tabs = [
        _tab(s, s.frames.title, study_panels.PANELS)
        if isinstance(s, StudySubject)
        else _tab(s, run_title(s.record.config, s.result.data), run_panels.PANELS)
        for s in subjects
    ]
    runs = [s for s in subjects if isinstance(s, RunSubject)]
    if len(runs) > 1:
        tabs.insert(0, _Tab("Comparison", f"{len(runs)} runs side by side", _comparison(runs)))
    here = resources.files("physjax.report.html")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    text = template.render(
        heading=tabs[0].title if len(tabs) == 1 else ", ".join(s.name for s in subjects),
        tabs=tabs,
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        script=Markup((here / "page.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )
    atomic_write(output, text)


def _read(path: Path, lack: str) -> RunSubject | StudySubject:
    if StudyFolder(path).grid_file.exists():
        frames, records, study = read_frames(path)
        return StudySubject(path.resolve().name, frames, len(records), study)
    record = RunFolder(path).read()
    if record.result is None:
        raise RecordError(f"{path} has not ended: run the same command again to go on")
    found = read_inspection(path)
    if found is not None and found.step != record.result.steps:
        lack = lack or f"it was looked into at step {found.step}"
        found = None
    return RunSubject(path.resolve().name, record, found, lack)


def _tab(subject: T, title: str, panels: Mapping[str, Callable[[T], Markup | None]]) -> _Tab:
    made = {name: panel(subject) for name, panel in panels.items()}
    name: str = subject.name  # type: ignore[attr-defined]
    return _Tab(name, title, [Panel(k, body) for k, body in made.items() if body is not None])


def _comparison(runs: Sequence[RunSubject]) -> list[Panel]:
    """Several runs side by side."""
    header = ["run", ">test", ">train", ">epochs", ">parameters", ">seed", "images"]
    rows = [
        (
            run.name,
            f"{run.result.test_accuracy:.2%}",
            f"{run.result.train_accuracy:.2%}",
            run.result.epochs,
            f"{run.result.parameters:,}",
            run.record.config.run.seed,
            run.result.data.title,
        )
        for run in runs
    ]
    epochs = {run.name: run.record.epochs for run in runs}
    drawn = joined(chart(charts.curves(epochs, q), 480) for q in ("accuracy", "loss"))
    note = Markup(
        "<p class=statement>Two runs differ by their seeds alone, too. Whether one setting is "
        "better than another, a study says: <code>physjax study</code>.</p>"
    )
    return [Panel("Table", table(header, rows) + note), Panel("Curves", drawn)]
