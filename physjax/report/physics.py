"""The course of the forces and resistances that the layers learned, from the epochs' records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from physjax import plotting
from physjax.records import EpochRecord, Result

NAMED = 12
"""So many layers have a name each; of more, the colour says how deep they lie."""
LABELS = {
    "strength": "strength s",
    "force_rms": "RMS force",
    "gate_mean": "mean gate",
    "gate_sd": "sd of gates",
    "gate_image_sd": "sd of gates between images",
    "gradient_cosine": "gradient: cosine",
    "gradient_length": "gradient: length",
    "moved_cosine": "own steps: cosine",
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


def measured_once(frame: pd.DataFrame) -> bool:
    """Whether no arm of a :func:`physics_frame` has values of two epochs: there is no course."""
    return bool((frame.groupby("arm")["epoch"].nunique() < 2).all())


def shared_frame(result: Result | None) -> pd.DataFrame:
    """A line for each layer and parameter that its channels share, such as a gate's weights.

    Columns `layer`, `parameter`, `value`: those of `Result.law_parameters` that are one number in
    every layer.
    """
    parameters = {} if result is None else result.law_parameters or {}
    return pd.DataFrame(
        [
            (layer, name, own[name][0])
            for name in _shared(parameters)
            for layer, own in parameters.items()
            if name in own
        ],
        columns=["layer", "parameter", "value"],
    )


def _shared(parameters: Mapping[str, Mapping[str, list[float]]]) -> list[str]:
    names = dict.fromkeys(name for own in parameters.values() for name in own)
    return [n for n in names if all(len(own[n]) == 1 for own in parameters.values() if n in own)]


def _panels_by_layer(
    fig: Figure, rows: int, columns: int, count: int, layers: Sequence[str]
) -> list[Axes]:
    """The first `count` panels of a grid, each with the layers' names below it."""
    panels = fig.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[:count]:
        axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize="small")
        axes.tick_params(labelbottom=True)
    return list(panels[:count])


def plot_shared(fig: Figure, frame: pd.DataFrame) -> None:
    """A panel for each arm: its law's shared parameters by layer, mean and range over the seeds.

    Args:
        fig: an empty figure, whose size is set.
        frame: of :func:`shared_frame`, with the columns `arm` and `seed`.
    """
    arms, layers = (list(dict.fromkeys(frame[name])) for name in ("arm", "layer"))
    styles = plotting.series_styles(list(dict.fromkeys(frame["parameter"])))
    columns = min(3, len(arms))
    rows = -(-len(arms) // columns)
    fig.set_size_inches(3.0 + 3.4 * columns, 1.2 + 2.6 * rows)
    panels = _panels_by_layer(fig, rows, columns, len(arms), layers)
    lines = {}
    for (arm, name), part in frame.groupby(["arm", "parameter"], sort=False):
        axes, style = panels[arms.index(str(arm))], styles[str(name)]
        by_layer = part.groupby("layer", sort=False)["value"].agg(["mean", "min", "max"])
        x = [layers.index(layer) for layer in by_layer.index]
        (lines[str(name)],) = axes.plot(x, by_layer["mean"], linewidth=1.2, **style)
        axes.fill_between(
            x, by_layer["min"], by_layer["max"], color=style["color"], alpha=0.15, linewidth=0
        )
    for axes, arm in zip(panels, arms, strict=True):
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set_title(arm)
    fig.legend(lines.values(), lines.keys(), loc="outside right center", fontsize="small")


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
    wide = min(3.4, max(1.7, 17 / len(arms)))
    fig.set_size_inches(3.0 + wide * len(arms), 0.8 + 2.3 * len(quantities))
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
        axes.set_title(plotting.broken(arm, wide))
    first, last = frame["epoch"].min(), frame["epoch"].max()
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if first == last:  # a whole number is wanted on each side of it, too
            axes.set_xlim(first - 1, last + 1)
    if len(layers) <= NAMED:
        fig.legend(lines.values(), lines.keys(), loc="outside right center", fontsize="small")
    else:
        scale = ScalarMappable(Normalize(0.5, len(layers) + 0.5), depth)
        bar = fig.colorbar(scale, ax=grid)
        bar.set_ticks([1, len(layers)], labels=[layers[0], layers[-1]])
        bar.ax.tick_params(labelsize="small")


def plot_physics_at_end(
    fig: Figure, frame: pd.DataFrame, styles: Mapping[str, dict[str, Any]]
) -> None:
    """A panel for each quantity by layer, and in it a line for each arm, of runs measured once.

    Args:
        fig: an empty figure, whose size is set.
        frame: as for :func:`plot_physics`, with one epoch of each run; of several runs of an arm
            the mean is drawn, and bars from the lowest to the highest.
        styles: colour and marker of each arm.
    """
    quantities, layers = (list(dict.fromkeys(frame[name])) for name in ("quantity", "layer"))
    arms = [arm for arm in styles if arm in set(frame["arm"])]
    columns = min(2, len(quantities))
    rows = -(-len(quantities) // columns)
    wide = max(3.4, 0.28 * len(layers))
    fig.set_size_inches(1.0 + plotting.label_width(arms) + wide * columns, 1.4 + 2.4 * rows)
    panels = _panels_by_layer(fig, rows, columns, len(quantities), layers)
    lines: dict[str, Any] = {}
    for (quantity, arm), part in frame.groupby(["quantity", "arm"], sort=False):
        by_layer = part.groupby("layer", sort=False)["value"].agg(["mean", "min", "max"])
        # Side by side, so that arms which came to the same hide nothing.
        aside = 0.5 * (arms.index(str(arm)) + 0.5) / len(arms) - 0.25
        lines[str(arm)] = panels[quantities.index(str(quantity))].errorbar(
            [layers.index(layer) + aside for layer in by_layer.index],
            by_layer["mean"],
            yerr=[by_layer["mean"] - by_layer["min"], by_layer["max"] - by_layer["mean"]],
            linewidth=0.8,
            **styles[str(arm)],
        )
    for axes, quantity in zip(panels, quantities, strict=True):
        values = frame.loc[frame["quantity"] == quantity, "value"]
        if values.max() > 50 * values.median() and values.min() > 0:
            axes.set_yscale("log")  # a force that grew without bound would flatten all others
        axes.set_title(LABELS.get(quantity, quantity), fontsize="medium")
    fig.legend(lines.values(), lines.keys(), loc="outside right center", fontsize="small")


def plot_law_parameters(fig: Figure, parameters: Mapping[str, Mapping[str, list[float]]]) -> None:
    """A panel for each layer: the law's own parameters by channel, around the ring.

    One parameter is drawn as bars from zero, several as lines. Parameters that all channels of a
    layer share, such as a gate's weights, stand in one panel together, by layer.

    Args:
        fig: an empty figure, whose size is set.
        parameters: as in :class:`physjax.records.Result`.
    """
    styles = plotting.series_styles([name for own in parameters.values() for name in own])
    shared = _shared(parameters)
    by_channel = {
        layer: {name: values for name, values in own.items() if name not in shared}
        for layer, own in parameters.items()
        if not shared or set(own) - set(shared)
    }
    count = len(by_channel) + bool(shared)
    columns = min(4, count)
    rows = -(-count // columns)
    fig.set_size_inches(max(7.0, 1.0 + 3.0 * columns), 0.9 + 1.9 * max(rows, 2 * bool(shared)))
    panels = fig.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.remove()
    for axes, (layer, own) in zip(panels, by_channel.items(), strict=False):
        _plot_by_channel(axes, own, styles)
        axes.set_title(layer, fontsize="medium")
    if shared:
        _plot_by_layer(panels[count - 1], parameters, shared, styles)
    entries = {
        label: handle
        for axes in panels[:count]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    fig.legend(entries.values(), entries.keys(), loc="outside right center")
    if by_channel:
        fig.supxlabel("channel; the last one's neighbour is the first", fontsize="medium")


def _plot_by_channel(
    axes: Axes, own: Mapping[str, list[float]], styles: Mapping[str, dict[str, Any]]
) -> None:
    for name, values in own.items():
        color = styles[name]["color"]
        if len(own) == 1:
            axes.bar(range(len(values)), values, width=1.0, color=color, label=name)
        else:
            # With few channels a line alone hides where the points are.
            marker = styles[name]["marker"] if len(values) <= 32 else ""
            axes.plot(values, color=color, marker=marker, linewidth=1.0, label=name)
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _plot_by_layer(
    axes: Axes,
    parameters: Mapping[str, Mapping[str, list[float]]],
    shared: Sequence[str],
    styles: Mapping[str, dict[str, Any]],
) -> None:
    for name in shared:
        values = [own[name][0] if name in own else math.nan for own in parameters.values()]
        axes.plot(values, linewidth=1.0, label=name, **styles[name])
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set_xticks(range(len(parameters)), parameters, rotation=90, fontsize="small")
    axes.set_title("of all channels of a layer", fontsize="medium")
