"""The charts of a study: its arms' runs, differences and curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from physjax.report.html.charts import color_cycle, epoch_axis, layout


def arm_curves(epochs: pd.DataFrame, quantity: str) -> go.Figure:
    """Loss or accuracy by epoch for the arms of a study: the mean, and the range over the seeds.

    Args:
        epochs: of :class:`physjax.report.frames.StudyFrames`, of one base model and data set.
        quantity: `loss` or `accuracy`.
    """
    percent = quantity == "accuracy"
    figure = go.Figure(
        layout=layout(
            f"Test {quantity}, mean and range over the seeds" + (" [nat]" * (not percent)),
            xaxis=epoch_axis(int(epochs["epoch"].max())),
            yaxis={"tickformat": ".0%"} if percent else {},
        )
    )
    groups = epochs.dropna(subset=f"test_{quantity}").groupby("arm", sort=False)
    for (arm, part), color in zip(groups, color_cycle(groups.ngroups), strict=True):
        by = part.groupby("epoch")[f"test_{quantity}"].agg(["mean", "min", "max"])
        figure.add_scatter(
            x=[*by.index, *by.index[::-1]],
            y=[*by["max"], *by["min"][::-1]],
            fill="toself",
            line={"width": 0, "color": color},
            opacity=0.25,
            hoverinfo="skip",
            showlegend=False,
            legendgroup=arm,
        )
        figure.add_scatter(
            x=by.index,
            y=by["mean"],
            name=f"{arm} (n = {part['seed'].nunique()})",
            mode="lines+markers",
            line={"color": color},
            hovertemplate="%{y:.2%}" if percent else "%{y:.4f}",
            legendgroup=arm,
        )
    return figure


def arms(frame: pd.DataFrame, by: str) -> go.Figure:
    """The accuracy of each run of a study, by arm.

    Args:
        frame: the runs of :class:`physjax.report.frames.StudyFrames` that ended well.
        by: what the study judges by, `test` or `validation`.
    """
    figure = go.Figure(
        layout=layout(
            f"{by.capitalize()} accuracy of every run",
            xaxis={"tickformat": ".1%"},
            yaxis={"autorange": "reversed", "automargin": True},
            showlegend=False,
        )
    )
    lines = frame.groupby(["dataset", "model", "arm"], sort=False)
    one = frame["dataset"].nunique() == 1
    for (names, part), color in zip(lines, color_cycle(lines.ngroups), strict=True):
        figure.add_box(
            x=part[f"{by}_accuracy"],
            name=", ".join(names[1:] if one else names),
            boxpoints="all",
            boxmean=True,
            pointpos=0,
            text=[f"seed {seed}" for seed in part["seed"]],
            marker={"color": color},
            hovertemplate="%{text}: %{x:.2%}<extra></extra>",
        )
    return figure


def differences(frame: pd.DataFrame, by: str) -> go.Figure:
    """Paired differences with their 95 % t intervals, in percentage points.

    Args:
        frame: of :func:`physjax.report.comparison.difference_frame`.
        by: what the study judges by.
    """
    several = frame["dataset"].nunique() > 1
    names = [
        f"{line.model}, {line.arm} − {line.control}" + f" ({line.dataset})" * several
        for line in frame.itertuples()
    ]
    figure = go.Figure(
        go.Scatter(
            x=100 * frame["difference"],
            y=names,
            mode="markers",
            marker={"size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": 100 * (frame["t_high"] - frame["difference"]),
                "arrayminus": 100 * (frame["difference"] - frame["t_low"]),
            },
            customdata=np.stack([frame["n"], 100 * frame["t_low"], 100 * frame["t_high"]], -1),
            hovertemplate=(
                "%{y}: %{x:+.2f} points (n = %{customdata[0]}; "
                "95 %: %{customdata[1]:+.2f} to %{customdata[2]:+.2f})<extra></extra>"
            ),
        ),
        layout(
            f"Arm minus control, paired by seed: {by} accuracy [percentage points]",
            yaxis={"autorange": "reversed", "automargin": True},
        ),
    )
    figure.add_vline(x=0, line={"color": "black", "width": 1})
    return figure
