"""Figures of a network that settles: how it comes to rest, and its states free and driven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec
from matplotlib.ticker import MaxNLocator

from physjax import plotting
from physjax.records import RecordError, RunFolder, RunRecord
from physjax.records.relaxation import Relaxation, read_relaxation
from physjax.report.physics import physics_frame
from physjax.report.registry import draw_figures
from physjax.report.titles import run_title

Subject = tuple[Relaxation, RunRecord]
COSINES = ("gradient_cosine", "moved_cosine")
UNITS_DRAWN = 40
"""Of a layer without maps: so many units that move the most."""


def report_relaxation(path: Path, formats: Sequence[plotting.Format] = plotting.PNG) -> list[Path]:
    """Draw how the run in `path` comes to rest into its folder; the files.

    Raises:
        RecordError: the folder holds no run, or one whose relaxation was not looked at.
    """
    files, found = RunFolder(path), read_relaxation(path)
    if found is None:
        raise RecordError(f"{path} has no relaxation yet: `physjax evaluate --relaxation`")
    return draw_figures(FIGURES, (found, files.read()), files.figures, formats)


def draw_rounds(subject: Subject, fig: Figure) -> None:
    """Energy and residual of each layer by round; by epoch the cosine, where the run noted it."""
    found, record = subject
    frame = physics_frame(record.epochs)
    frame = frame[frame["quantity"] == COSINES[0]]
    panels = 2 if frame.empty else 3
    fig.set_size_inches(1.4 + 3.5 * panels, 4.0)
    axes = fig.subplots(1, panels)
    styles = plotting.series_styles(list(found.layers))
    rounds = np.arange(len(found.energy))
    lines = {}
    for k, layer in enumerate(found.layers):
        style = {**styles[layer], "linewidth": 1.4}
        (lines[layer],) = axes[0].plot(rounds, found.energy[:, k], **style)
        if found.residual[:, k].any():
            # The start is at rest but for the output, and a log scale has no zero.
            shown = np.where(found.residual[:, k] > 0, found.residual[:, k], np.nan)
            axes[1].plot(rounds, shown, **style)
    axes[0].plot(rounds, found.energy.sum(axis=1), "k--", linewidth=1.2, label="all layers")
    axes[0].legend(fontsize="small")
    axes[0].set(ylabel="energy of an image", xlabel="round")
    axes[1].set(yscale="log", ylabel="residual |∂E/∂h|, rms over images", xlabel="round")
    if panels == 3:
        for layer, part in frame.groupby("layer", sort=False):
            style = styles.get(str(layer), {"color": "0.6"})
            axes[2].plot(part["epoch"], part["value"], **style, linewidth=1.4)
        axes[2].axhline(1, color="0.7", linewidth=0.8)
        axes[2].set(ylabel="cosine with backpropagation", xlabel="epoch")
    for each in axes:
        each.xaxis.set_major_locator(MaxNLocator(integer=True))
    fig.legend(lines.values(), lines.keys(), loc="outside right center", fontsize="small")
    fig.suptitle(_heading(subject), wrap=True)


def draw_states(subject: Subject, fig: Figure) -> None:
    """The first image's states: free, driven, and the difference, a row for each layer."""
    found, record = subject
    names = None if record.result is None else record.result.data.class_names
    label = str(found.label) if names is None else names[found.label]
    rows = len(found.layers) + 1
    fig.set_size_inches(11.0, 1.1 + 0.85 * rows)
    grid = fig.add_gridspec(rows, 3, wspace=0.04)
    head = fig.add_subplot(grid[0, 1])
    head.imshow(found.image)
    head.axis("off")
    head.set_title(f"the image: {label}", fontsize="small")
    for k, layer in enumerate(found.layers):
        free, settled = found.free[k], found.settled[k]
        _draw_row(fig, [grid[k + 1, column] for column in range(3)], layer, free, settled)
    fig.suptitle(_heading(subject), wrap=True)


def _draw_row(
    fig: Figure,
    cells: Sequence[SubplotSpec],
    layer: str,
    free: np.ndarray,
    settled: np.ndarray,
) -> None:
    moved = settled - free
    if free.ndim < 3:  # the units that move the most, or all logits
        most = np.sort(np.argsort(-np.abs(moved), kind="stable")[:UNITS_DRAWN])
        free, settled, moved = free[most], settled[most], moved[most]
    top = float(max(np.abs(free).max(), np.abs(settled).max())) or 1.0
    change = float(np.abs(moved).max()) or 1.0
    columns = (("free", free, top), ("driven", settled, top), ("driven − free", moved, change))
    for cell, (title, values, limit) in zip(cells, columns, strict=True):
        heading = f"{title} (to ±{limit:.2g})"
        if values.ndim < 3:
            axes = fig.add_subplot(cell)
            axes.bar(range(len(values)), values, color=plotting.COLORS[0], width=0.8)
            axes.axhline(0, color="0.5", linewidth=0.6)
            axes.set(ylim=(-limit, limit), xticks=[], yticks=[])
            axes.set_title(heading, fontsize="x-small")
            parts = [axes]
        else:
            inner = GridSpecFromSubplotSpec(1, values.shape[-1], cell, wspace=0.05)
            parts = [fig.add_subplot(inner[0, number]) for number in range(values.shape[-1])]
            for number, axes in enumerate(parts):
                axes.imshow(values[..., number], cmap="RdBu_r", vmin=-limit, vmax=limit)
                axes.set(xticks=[], yticks=[])
                axes.grid(visible=False)
                axes.spines[:].set_visible(False)
            parts[len(parts) // 2].set_title(heading, fontsize="x-small")
        if title == "free":
            parts[0].set_ylabel(layer, fontsize="small")


FIGURES: dict[str, Callable[[Subject, Figure], None]] = {
    "relaxation": draw_rounds,
    "states": draw_states,
}
"""By the name of the file in the run's folder figures/."""


def _heading(subject: Subject) -> str:
    found, record = subject
    data = None if record.result is None else record.result.data
    images = "1 image" if found.examples == 1 else f"{found.examples} images"
    return f"{run_title(record.config, data)}\n{found.rule}, {images}"
