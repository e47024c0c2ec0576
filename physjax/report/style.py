"""One look for all figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physjax import files

# Okabe & Ito's palette, which most colour-blind readers can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TRAIN, TEST, VALIDATION = COLORS[0], COLORS[1], COLORS[2]

_RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 2,
}


@contextmanager
def figure(path: Path, width: float = 7.0, height: float = 4.3, **layout: Any) -> Iterator[Figure]:
    """A figure to draw on, in inches, that is written to `path` when the block ends well."""
    # The Agg canvas draws without a screen, and leaves a user's own backend as it is.
    with plt.rc_context(_RC):
        drawing = plt.figure(figsize=(width, height), layout="constrained", **layout)
        try:
            yield drawing
            with files.atomic_file(path) as file:
                drawing.savefig(file, format=path.suffix.removeprefix("."))
        finally:
            plt.close(drawing)


def head(drawing: Figure, text: str) -> None:
    """Head a figure with `text`, on as many lines as its width asks for, broken at commas."""
    # Letters of 12 points are a tenth of an inch wide, or less.
    width = int(9.5 * drawing.get_figwidth())
    lines: list[str] = []
    for part in text.replace(", ", ",\n").split("\n"):
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    drawing.suptitle("\n".join(textwrap.fill(line, width) for line in lines), fontsize=12)


def scale_losses(axes: Axes) -> None:
    """Scale an axis of losses so that the small ones can be read: from zero, or logarithmic.

    In the first epochs of a network with batch norm, whose averages are still those of the start,
    losses can be a hundred times those of the end.
    """
    losses = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    low, high = np.min(losses), np.max(losses)
    if high > 50 * low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low / 2, high * 2)
    else:
        axes.set_ylim(bottom=0)
