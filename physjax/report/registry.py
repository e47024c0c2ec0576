"""Figures by name: a new one is a function, and a line in the table of the report it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from physjax import plotting

Subject = TypeVar("Subject")


def draw_figures(
    plots: Mapping[str, Callable[[Subject, Figure], None]],
    subject: Subject,
    folder: Path,
    formats: Sequence[plotting.Format],
) -> list[Path]:
    """Draw each of `plots` from `subject` on an empty figure, and write it by its name.

    A plot whose subject has nothing for it adds no axes to its figure; no file is written, and one
    that was drawn before is removed.

    Returns:
        The files: for each figure as many as there are formats.
    """
    written = []
    for name, plot in plots.items():
        with plotting.figure(folder / name, formats=formats) as fig:
            plot(subject, fig)
        if fig.axes:
            written += plotting.figure_files(folder / name, formats)
        else:
            for file in plotting.figure_files(folder / name, plotting.FORMATS):
                file.unlink(missing_ok=True)
    return written
