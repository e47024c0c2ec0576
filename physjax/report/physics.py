"""The course of the forces and resistances that the layers learned, from the epochs' records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from physjax import plotting
from physjax.records import EpochRecord

NAMED = 12
"""So many layers have a name each; of more, the colour says how deep they lie."""
LABELS = {
    "strength": "strength s",
    "force_rms": "RMS force",
    "resistance_mean": "mean resistance",
    "resistance_sd": "sd of resistances",
    "resistance_change": "mean |resistance − 1|",
}


def physics_frame(epochs: Iterable[EpochRecord]) -> pd.DataFrame:
    """One line for each epoch, layer and quantity of `EpochRecord.physics`, with its value."""
    return pd.DataFrame(
        [
            (epoch.epoch, layer, quantity, value)
            for epoch in epochs
            for layer, quantities in epoch.physics.items()
            for quantity, value in quantities.items()
        ],
        columns=["epoch", "layer", "quantity", "value"],
    )


def plot_physics(fig: Figure, frame: pd.DataFrame) -> None:
    """A row of panels for each quantity, a column for each arm, and in them a line for each layer.

    Args:
        fig: an empty figure, whose size is set.
        frame: as :func:`physics_frame` makes it, with a column `arm`, the heading of its panels;
            of several runs of an arm the mean is drawn, with few layers in a band from the lowest
            to the highest.
    """
    quantities, arms, layers = (
        list(dict.fromkeys(frame[name])) for name in ("quantity", "arm", "layer")
    )
    depth = colormaps["viridis"].resampled(len(layers))
    styles = plotting.series_styles(layers)
    if len(layers) > NAMED:
        styles = {layer: {"color": depth(i)} for i, layer in enumerate(layers)}
    fig.set_size_inches(3.0 + 3.4 * len(arms), 0.8 + 2.3 * len(quantities))
    grid = fig.subplots(len(quantities), len(arms), squeeze=False, sharex=True, sharey="row")
    lines = {}
    for (quantity, arm, layer), part in frame.groupby(["quantity", "arm", "layer"], sort=False):
        axes = grid[quantities.index(str(quantity)), arms.index(str(arm))]
        lines[str(layer)] = plotting.plot_band(
            *(axes, part, "value", styles[str(layer)]),
            band=len(layers) <= NAMED,  # Those of many layers would cover each other.
            linewidth=1.2,
        )
    for row, quantity in zip(grid, quantities, strict=True):
        row[0].set_ylabel(LABELS.get(quantity, quantity))
    for axes, arm in zip(grid[0], arms, strict=True):
        axes.set_title(arm)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(layers) <= NAMED:
        fig.legend(lines.values(), lines.keys(), loc="outside right center", fontsize="small")
    else:
        scale = ScalarMappable(Normalize(0.5, len(layers) + 0.5), depth)
        bar = fig.colorbar(scale, ax=grid)
        bar.set_ticks([1, len(layers)], labels=[layers[0], layers[-1]])
        bar.ax.tick_params(labelsize="small")


def plot_law_parameters(fig: Figure, parameters: Mapping[str, Mapping[str, list[float]]]) -> None:
    """A panel for each layer: the law's own parameters by channel, around the ring.

    One parameter is drawn as bars from zero, several as lines.

    Args:
        fig: an empty figure, whose size is set.
        parameters: as in :class:`physjax.records.Result`.
    """
    columns = min(4, len(parameters))
    rows = -(-len(parameters) // columns)
    styles = plotting.series_styles([name for own in parameters.values() for name in own])
    fig.set_size_inches(max(7.0, 1.0 + 3.0 * columns), 0.9 + 1.9 * rows)
    panels = fig.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(parameters) :]:
        axes.remove()
    for axes, (layer, own) in zip(panels, parameters.items(), strict=False):
        for name, values in own.items():
            color = styles[name]["color"]
            if len(own) == 1:
                axes.bar(range(len(values)), values, width=1.0, color=color, label=name)
            else:
                # With few channels a line alone hides where the points are.
                marker = styles[name]["marker"] if len(values) <= 32 else ""
                axes.plot(values, color=color, marker=marker, linewidth=1.0, label=name)
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set_title(layer, fontsize="medium")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    fig.supxlabel("channel; the last one's neighbour is the first", fontsize="medium")
