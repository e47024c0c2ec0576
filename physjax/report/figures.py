"""The figures of a study: accuracy of each arm, paired differences, and the courses of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter, StrMethodFormatter

from physjax import plotting
from physjax.report.comparison import arm_frame, difference_frame
from physjax.report.frames import ARM, StudyFrames, judged, select
from physjax.report.physics import (
    NAMED,
    measured_once,
    plot_physics,
    plot_physics_at_end,
    plot_shared,
)


def draw_accuracy(frames: StudyFrames, fig: Figure) -> None:
    """Test accuracy of one data set's runs by base model and arm: every run, the mean, ± sd.

    Crosses are the paper's means.
    """
    arms = arm_frame(frames.runs)
    arms = arms[arms["n"] > 0]
    by = judged(frames.runs)
    models, names = (list(dict.fromkeys(arms[column])) for column in ("model", "arm"))
    step = 0.8 / len(names)
    width = len(models) * max(1.05, 0.38 * len(names))
    labelled = plotting.label_width([*names, "paper, mean"])
    fig.set_size_inches(max(6.0, 1.7 + width + labelled), max(4.3, 0.6 + 0.24 * len(names)))
    axes = fig.subplots()
    labels: dict[str, Any] = {}
    for arm in arms.itertuples():
        x = models.index(arm.model) + (names.index(arm.arm) - (len(names) - 1) / 2) * step
        style = frames.styles[arm.arm]
        runs = select(frames.runs, model=arm.model, arm=arm.arm)
        each = runs[f"{by}_accuracy"].dropna()
        axes.plot([x] * len(each), each, **style, linestyle="", alpha=0.45)
        labels[arm.arm] = axes.errorbar(
            x + 0.2 * step,
            getattr(arm, f"{by}_mean"),
            yerr=None if pd.isna(sd := getattr(arm, f"{by}_sd")) else sd,
            **style,
            linestyle="",
            markersize=6,
            capsize=3,
        )
        if not pd.isna(arm.paper_test_mean):
            (labels["paper, mean"],) = axes.plot(
                x, arm.paper_test_mean, "x", color="0.3", markersize=8
            )
    axes.set_xticks(range(len(models)), models)
    axes.set_xlim(-0.6, len(models) - 0.4)
    axes.grid(False, axis="x")
    axes.set(ylabel=f"{by} accuracy, last epoch")
    _set_percent(axes)
    axes.legend(labels.values(), labels, loc="center left", bbox_to_anchor=(1.0, 0.5))
    over = _over("mean ± sd", frames.runs.dropna(subset=[f"{by}_accuracy"]))
    fig.suptitle(f"{frames.title}\n{over}", wrap=True)


def draw_curves(frames: StudyFrames, fig: Figure) -> None:
    """Training and test loss, and accuracy, by epoch for the arms of one base model and data set.

    These are the paper's Fig. 1 (above) and Fig. 2 (below). The line is the mean over the seeds,
    the band reaches from the lowest to the highest.
    """
    names = frames.epochs["arm"].unique()
    fig.set_size_inches(10.2 + plotting.label_width(names), max(6.6, 0.6 + 0.24 * len(names)))
    grid = fig.subplots(2, 2, sharex=True, sharey="row")
    for name, epochs in frames.epochs.groupby("arm", sort=False):
        style, runs = frames.styles[str(name)], epochs["seed"].nunique()
        for row, quantity in zip(grid, ("loss", "accuracy"), strict=True):
            for axes, split in zip(row, ("train", "test"), strict=True):
                label = f"{name} (n = {runs})"
                plotting.plot_band(axes, epochs, f"{split}_{quantity}", style, label=label)
    for axes, title in zip(grid[0], ("training", "test"), strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[0, 0].set_ylabel("mean cross-entropy [nat]")
    grid[1, 0].set_ylabel("accuracy")
    plotting.set_loss_scale(*grid[0])
    _set_percent(grid[1, 0])
    fig.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right center")
    model = frames.runs["model"].iloc[0]
    over = _over("mean and range", frames.epochs)
    fig.suptitle(
        f"{model} on {frames.title}\n{over}; nothing is selected on the test curves", wrap=True
    )


def draw_differences(frames: StudyFrames, fig: Figure) -> None:
    """Paired differences of accuracy: every pair, the mean, and the 95 % intervals.

    The solid line is Student's t interval, the dotted one the bootstrap's.
    """
    if frames.pairs.empty:
        return
    differences = difference_frame(frames.pairs)
    several = differences["dataset"].nunique() > 1
    axes = fig.subplots()
    labels = []
    for y, line in enumerate(differences.itertuples()):
        style, arm = frames.styles[line.arm], {name: getattr(line, name) for name in ARM}
        each = 100 * select(frames.pairs, **arm, arm_control=line.control)["difference"]
        color = style["color"]
        axes.plot(each, [y] * len(each), "|", color=color, markersize=9, alpha=0.6)
        axes.plot(100 * line.difference, y, **style | {"markersize": 6})
        axes.plot([100 * line.t_low, 100 * line.t_high], [y, y], color=color)
        ends = [100 * line.bootstrap_low, 100 * line.bootstrap_high]
        axes.plot(ends, [y + 0.22] * 2, ":", color=color, linewidth=1.5)
        where = f" ({line.dataset})" if several else ""
        labels.append(f"{line.model}, {line.arm} − {line.control}{where}")
    axes.axvline(0, color="k", linewidth=1)
    fig.set_size_inches(5.0 + plotting.label_width(labels), 2.0 + 0.42 * len(labels))
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(False, axis="y")
    scale, means = "", 100 * differences["difference"].abs()
    if means.max() > 20 * means.median():
        # An arm that does not train at all would leave no room for the others.
        linear = max(1.0, float(np.ceil(5 * means.median())))
        axes.set_xscale("symlog", linthresh=linear, linscale=2)
        axes.xaxis.set_major_locator(FixedLocator(_symmetric_ticks(linear)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_xlim(*(1.5 * end for end in axes.get_xlim()))
        scale = f"\nlogarithmic beyond ±{linear:.0f}"
    axes.set(xlabel=f"difference in {judged(frames.runs)} accuracy [percentage points]{scale}")
    over = _over("mean", frames.pairs, "arm_control")
    fig.suptitle(
        f"{frames.title}\narm minus control, paired by seed; {over}\n"
        "95 % intervals: t solid, bootstrap dotted",
        wrap=True,
    )


def draw_physics(frames: StudyFrames, fig: Figure) -> None:
    """What the forces and resistances of one base model came to, by layer.

    It is the mean and the range over the seeds; with many layers by epoch the mean alone.
    """
    if not frames.physics.empty:
        shown = "mean and range"
        if measured_once(frames.physics):
            plot_physics_at_end(fig, frames.physics, frames.styles)
        else:
            plot_physics(fig, frames.physics)
            if frames.physics["layer"].nunique() > NAMED:
                shown = "means"
        model = frames.runs["model"].iloc[0]
        over = _over(shown, frames.physics)
        fig.suptitle(f"{model} on {frames.title}\n{over}", wrap=True)


def draw_parameters(frames: StudyFrames, fig: Figure) -> None:
    """What laws learned that have one set of numbers for a layer, such as a gate's weights."""
    if not frames.parameters.empty:
        plot_shared(fig, frames.parameters)
        model = frames.runs["model"].iloc[0]
        over = _over("mean and range", frames.parameters)
        fig.suptitle(f"{model} on {frames.title}\n{over}", wrap=True)


FIGURES: dict[str, tuple[tuple[str, ...], Callable[[StudyFrames, Figure], None]]] = {
    "accuracy": (("dataset",), draw_accuracy),
    "curves": (("model", "dataset"), draw_curves),
    "differences": ((), draw_differences),
    "physics": (("model", "dataset"), draw_physics),
    "parameters": (("model", "dataset"), draw_parameters),
}
"""By the name of the file in the study's folder figures/: for which parts of the study there is a
figure each (() is the whole study), and the function that draws it."""


def _symmetric_ticks(linear: float) -> list[float]:
    """Ticks of an axis that is linear up to `linear` percentage points, and logarithmic beyond."""
    beyond = [tick for tick in (10.0, 100.0) if tick > 1.5 * linear]
    positive = [linear / 2, linear, *beyond]
    return [*(-tick for tick in reversed(positive)), 0.0, *positive]


def _over(shown: str, runs: pd.DataFrame, *more: str) -> str:
    """`mean ± sd over 3 seeds`: what is shown, where there is more than one run.

    Args:
      shown: such as `mean ± sd`.
      runs: what the figure is made of. Some arms may have fewer seeds than others.
      more: columns beside `ARM` whose values have a mean of their own.
    """
    seeds = runs.groupby([*ARM, *more])["seed"].nunique()
    few, many = seeds.min(), seeds.max()
    if seeds.empty or many == 1:
        return "one seed"
    return f"{shown} over {many} seeds" if few == many else f"{shown} over {few} to {many} seeds"


def _set_percent(axes: Axes) -> None:
    """The y axis in percent, without what a mean and its deviation reach outside of 0 to 100."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.015), min(high, 1.015))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
