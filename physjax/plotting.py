"""One look for all figures, and the way they are written."""

from __future__ import annotations

import itertools
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from physjax.files import atomic_write

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = ("png", "svg", "pdf")
PNG: tuple[Format, ...] = ("png",)

# Okabe & Ito's palette, which most colour-blind readers can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TRAIN, TEST, VALIDATION = COLORS[0], COLORS[1], COLORS[2]
# With 6 markers and 7 colours, which share no factor, 42 series differ in one or the other.
_MARKERS = "osD^vP"

_RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 11,
    "figure.titlesize": 12,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 4,
    # The same figure is the same file, whenever it is drawn.
    "svg.hashsalt": "physjax",
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


@contextmanager
def figure(
    path: Path, width: float = 7.0, height: float = 4.3, formats: Sequence[Format] = PNG
) -> Iterator[Figure]:
    """A figure to draw on, in inches, which is written when the block ends without an error.

    It becomes one file for each of `formats`: those of :func:`figure_files`. A figure without axes
    is not written.
    """
    # Not by pyplot, which would choose a user's own backend and keep the figure.
    with matplotlib.rc_context(_RC):
        fig = Figure(figsize=(width, height), layout="constrained")
        yield fig
        for file in figure_files(path, formats) if fig.axes else ():
            buffer, kind = BytesIO(), file.suffix[1:]
            with warnings.catch_warnings():
                # A letter that the font lacks, in a name somebody chose, becomes a box.
                warnings.filterwarnings("ignore", "Glyph .* missing from font")
                fig.savefig(buffer, format=kind, metadata=_METADATA[kind])
            atomic_write(file, _with_palette(buffer) if kind == "png" else buffer.getvalue())


def _with_palette(png: BytesIO) -> bytes:
    """The PNG in 256 colours, which do for lines and text: half the bytes or fewer."""
    smaller = BytesIO()
    with Image.open(png) as image:
        flat = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        flat.save(smaller, "PNG", optimize=True, dpi=image.info["dpi"])
    return smaller.getvalue()


def figure_files(path: Path, formats: Sequence[Format]) -> list[Path]:
    """The files that a figure becomes: `path` with one suffix more."""
    return [path.with_name(f"{path.name}.{kind}") for kind in formats]


def series_styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each name, as arguments of `Axes.plot`; no two of 42 names are alike."""
    cycle = zip(itertools.cycle(COLORS), itertools.cycle(_MARKERS), strict=False)
    return {
        name: {"color": color, "marker": marker}
        for name, (color, marker) in zip(dict.fromkeys(names), cycle, strict=False)
    }


def label_width(labels: Iterable[str]) -> float:
    """About the inches that the longest of `labels` takes."""
    return 0.09 * max(map(len, labels), default=0)


def broken(label: str, width: float) -> str:
    """`label` in lines of about `width` inches: broken after hyphens and spaces."""
    return textwrap.fill(label, max(8, int(width / 0.11)), break_long_words=False)


def start_at_zero(*panels: Axes) -> None:
    """Let the y axes of what was plotted begin at zero, with room above their highest point."""
    _, highest = _y_range(panels)
    for axes in panels:
        axes.set_ylim(0, 1.08 * highest or 1.0)


def plot_band(
    axes: Axes,
    lines: pd.DataFrame,
    quantity: str,
    style: dict[str, Any],
    *,
    band: bool = True,
    **how: Any,
) -> Line2D:
    """Plot the mean of several runs by epoch, in a band from the lowest to the highest of them.

    Of a few runs that says more than a standard deviation, and losses and accuracies stay what they
    can be.

    Args:
        axes: to draw on.
        lines: of a run and epoch each, with the column `epoch`.
        quantity: the column that is drawn; epochs where it is NaN have no point, and break no line.
        style: of :func:`series_styles`.
        band: whether there is a band.
        how: more arguments of `Axes.plot`.

    Returns:
        The line of the mean.
    """
    by_epoch = lines.dropna(subset=quantity).groupby("epoch")[quantity].agg(["mean", "min", "max"])
    # With few epochs a line alone hides where the points are, and one is no line.
    points = {**style, "marker": ""} if len(by_epoch) > 30 else style
    if len(by_epoch) == 1:
        points = {"marker": "o", **style}
    (line,) = axes.plot(by_epoch.index, by_epoch["mean"], **points, **how)
    if band:
        low, high = by_epoch["min"], by_epoch["max"]
        axes.fill_between(by_epoch.index, low, high, color=style["color"], alpha=0.2, linewidth=0)
    return line


def set_loss_scale(*panels: Axes) -> None:
    """Scale panels of losses alike, so that small ones can be read: from zero, or logarithmic.

    In the first epochs of a network with batch norm, whose averages are still those of the start,
    losses can be a hundred times those of the end.
    """
    low, high = _y_range(panels)
    if high > 50 * low > 0:
        for axes in panels:
            axes.set_yscale("log")
            axes.set_ylim(low / 2, high * 2)
    else:
        start_at_zero(*panels)


def _y_range(panels: Sequence[Axes]) -> tuple[float, float]:
    """The lowest and the highest point of what was plotted, bands included."""
    limits = [axes.dataLim for axes in panels]
    return min(limit.y0 for limit in limits), max(limit.y1 for limit in limits)
