"""The charts of the page, made with plotly: zoom by dragging, values under the pointer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from physjax.plotting import COLORS
from physjax.records import EpochRecord

_DASHES = {"train": "dot", "validation": "dash", "test": "solid"}


def layout(title: str, **more: Any) -> go.Layout:
    """One look for all charts; the page sets the title above, where it can wrap."""
    return go.Layout(
        **{
            "meta": title,
            "template": "simple_white",
            "font": {"family": "system-ui, sans-serif", "size": 12},
            "margin": {"l": 60, "r": 20, "t": 28, "b": 45},
            "legend": {"orientation": "h", "y": -0.2},
            "hoverlabel": {"namelength": -1},
            "colorway": list(COLORS),
            **more,
        }
    )


def curves(runs: Mapping[str, Sequence[EpochRecord]], quantity: str) -> go.Figure:
    """Loss or accuracy by epoch, of one run or several.

    Args:
        runs: the epochs of each, by name; a colour each, and a dash for each split.
        quantity: `loss` or `accuracy`.
    """
    percent = quantity == "accuracy"
    figure = go.Figure(
        layout=layout(
            "Accuracy" if percent else "Loss [nat]",
            xaxis=epoch_axis(max((e.epoch for epochs in runs.values() for e in epochs), default=0)),
            yaxis={"tickformat": ".0%"} if percent else {"rangemode": "tozero"},
            hovermode="x unified",
        )
    )
    for (name, epochs), color in zip(runs.items(), color_cycle(len(runs)), strict=True):
        for number, (split, dash) in enumerate(_DASHES.items()):
            values = [(e.epoch, getattr(e, f"{split}_{quantity}")) for e in epochs]
            values = [(x, y) for x, y in values if y is not None]
            if not values:
                continue
            x, y = zip(*values, strict=True)
            figure.add_scatter(
                x=x,
                y=y,
                name=f"{name} {split}" if len(runs) > 1 else split,
                line={"dash": dash, "color": color if len(runs) > 1 else COLORS[number]},
                mode="lines+markers" if len(x) <= 30 else "lines",
                hovertemplate="%{y:.2%}" if percent else "%{y:.4f}",
            )
    return figure


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> go.Figure:
    """Which class is taken for which: shares of each true class."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    few = len(names) <= 20
    return go.Figure(
        go.Heatmap(
            z=shares,
            x=list(names),
            y=list(names),
            customdata=counts,
            text=counts if few else None,
            texttemplate="%{text}" if few else None,
            colorscale="Blues",
            showscale=False,
            hovertemplate="%{y} taken for %{x}: %{customdata} (%{z:.1%})<extra></extra>",
        ),
        layout(
            "Confusion on the test images",
            xaxis={"title": "predicted", "tickangle": -45},
            yaxis={"title": "true class", "autorange": "reversed"},
        ),
    )


def by_layer(frame: pd.DataFrame, quantity: str, title: str) -> go.Figure:
    """A quantity of the layers by epoch: a line each.

    Args:
        frame: of :func:`physjax.report.physics.physics_frame`.
        quantity: a value of its column of that name.
        title: of the chart.
    """
    part = frame[frame["quantity"] == quantity]
    layers = list(dict.fromkeys(part["layer"]))
    figure = go.Figure(layout=layout(title, xaxis=epoch_axis(int(part["epoch"].max()))))
    for layer, color in zip(layers, color_cycle(len(layers)), strict=True):
        line = part[part["layer"] == layer]
        figure.add_scatter(
            x=line["epoch"],
            y=line["value"],
            name=layer,
            mode="lines+markers",
            line={"color": color},
            hovertemplate="%{y:.4g}",
        )
    return figure


def ring(layers: Mapping[str, Mapping[str, npt.ArrayLike]]) -> go.Figure:
    """The channels of a layer around a circle, and what is learned at each; a menu of layers.

    Args:
        layers: by layer and name, values by channel.
    """
    figure, traces = go.Figure(), 0
    menu: list[dict[str, Any]] = []
    ranges = []
    total = sum(len(own) + 1 for own in layers.values())
    for number, (layer, own) in enumerate(layers.items()):
        arrays = {name: np.asarray(values, float) for name, values in own.items()}
        count = max(len(values) for values in arrays.values())
        most = max(float(np.abs(values).max()) for values in arrays.values()) or 1.0
        visible = [False] * total
        circle = np.linspace(0, 360, 181)
        figure.add_scatterpolar(
            r=np.zeros(len(circle)),
            theta=circle,
            mode="lines",
            line={"color": "gray", "width": 1},
            hoverinfo="skip",
            showlegend=False,
            visible=number == 0,
        )
        for (name, values), color in zip(arrays.items(), color_cycle(len(arrays)), strict=True):
            # Once around: the last channel's neighbour is the first.
            around = np.append(np.arange(len(values)), 0)
            figure.add_scatterpolar(
                r=values[around],
                theta=360 * around / count,
                customdata=around,
                name=name,
                mode="lines+markers" if count <= 128 else "lines",
                marker={"size": 4},
                line={"color": color, "width": 1.2},
                hovertemplate="channel %{customdata}: %{r:.4g}",
                visible=number == 0,
            )
        visible[traces : traces + len(arrays) + 1] = [True] * (len(arrays) + 1)
        traces += len(arrays) + 1
        ranges.append([-1.6 * most, 1.1 * most])
        scale = {"polar.radialaxis.range": ranges[-1]}
        menu.append({"label": layer, "method": "update", "args": [{"visible": visible}, scale]})
    figure.update_layout(
        layout(
            "Around the ring",
            polar={
                "radialaxis": {
                    "range": ranges[0],
                    "angle": 90,
                    "tickfont": {"size": 9},
                },
                "angularaxis": {"showticklabels": False, "ticks": ""},
            },
            updatemenus=[{"buttons": menu, "x": 0, "xanchor": "left", "y": 1.08}],
        )
    )
    return figure


def epoch_axis(last: int) -> dict[str, Any]:
    """An axis of epochs, which are whole."""
    return {"title": "epoch", **({"dtick": 1} if last <= 20 else {"tickformat": "d"})}


def color_cycle(count: int) -> list[str]:
    """So many colours, in the order of all figures."""
    return [COLORS[i % len(COLORS)] for i in range(count)]
