"""The figures of a study: accuracy of each arm, paired differences, and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from physjax.report import style
from physjax.report.comparison import Arm, Comparison


def colors(arms: Sequence[Arm]) -> dict[str, str]:
    """A colour for each arm's name, the same in all figures of a study."""
    names = list(dict.fromkeys(arm.arm for arm in arms))
    return {name: style.COLORS[i % len(style.COLORS)] for i, name in enumerate(names)}


def draw_accuracy(path: Path, arms: Sequence[Arm], palette: dict[str, str]) -> None:
    """Test accuracy of one data set's runs by base model and arm: every run, the mean, ± sd.

    Crosses are the paper's means.
    """
    models = list(dict.fromkeys(arm.model for arm in arms))
    names = list(dict.fromkeys(arm.arm for arm in arms))
    step = 0.8 / len(names)
    with style.figure(path, max(5.0, 1.6 + len(models) * max(1.05, 0.38 * len(names)))) as drawing:
        axes = drawing.subplots()
        labelled = set()
        for arm in arms:
            if arm.test is None:
                continue
            x = models.index(arm.model) + (names.index(arm.arm) - (len(names) - 1) / 2) * step
            runs = [result.test_accuracy for result in arm.results]
            color = palette[arm.arm]
            axes.plot([x] * len(runs), runs, "o", color=color, alpha=0.45, markersize=4)
            label = None if arm.arm in labelled else arm.arm
            labelled.add(arm.arm)
            axes.errorbar(
                x + 0.2 * step,
                arm.test.mean,
                yerr=arm.test.sd,
                fmt="D",
                color=color,
                markersize=6,
                capsize=3,
                label=label,
            )
            if arm.paper is not None:
                label = None if "paper" in labelled else "paper, mean"
                labelled.add("paper")
                axes.plot(x, arm.paper.test_mean, "x", color="0.3", markersize=8, label=label)
        axes.set_xticks(range(len(models)), models)
        axes.set_xlim(-0.6, len(models) - 0.4)
        axes.grid(False, axis="x")
        axes.set(ylabel="test accuracy, last epoch", title=f"{arms[0].title}: mean ± sd over seeds")
        _fractions(axes)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw_differences(path: Path, pairs: Sequence[Comparison], palette: dict[str, str]) -> None:
    """Paired differences of test accuracy: every pair, the mean, and the 95 % intervals.

    The solid line is Student's t interval, the dotted one the bootstrap's.
    """
    with style.figure(path, 7.0, 1.5 + 0.42 * len(pairs)) as drawing:
        axes = drawing.subplots()
        for y, pair in enumerate(pairs):
            color = palette[pair.treatment.arm]
            ours, plain = (
                {r.cell.seed: r.result.test_accuracy for r in a.records if r.result is not None}
                for a in (pair.treatment, pair.control)
            )
            each = [100 * (ours[s] - plain[s]) for s in pair.seeds]
            axes.plot(each, [y] * len(each), "|", color=color, markersize=9, alpha=0.6)
            d = pair.difference
            axes.plot(100 * d.mean, y, "D", color=color, markersize=6)
            if d.t_interval is not None:
                axes.plot([100 * d.t_interval.low, 100 * d.t_interval.high], [y, y], color=color)
            if d.bootstrap is not None:
                ends = [100 * d.bootstrap.low, 100 * d.bootstrap.high]
                axes.plot(ends, [y + 0.22] * 2, ":", color=color, linewidth=1.5)
        axes.axvline(0, color="k", linewidth=1)
        axes.set_yticks(range(len(pairs)), [_label(pair, pairs) for pair in pairs])
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.set(
            xlabel="difference in test accuracy [percentage points]",
            title="arm minus plain, paired by seed: mean and 95 % intervals\n"
            "(solid: t, dotted: bootstrap)",
        )


def _label(pair: Comparison, pairs: Sequence[Comparison]) -> str:
    arm = pair.treatment
    several = len({p.treatment.dataset for p in pairs}) > 1
    return f"{arm.model}, {arm.arm}" + (f" ({arm.dataset})" if several else "")


def draw_curves(path: Path, arms: Sequence[Arm], palette: dict[str, str]) -> None:
    """Test accuracy and loss by epoch for the arms of one base model and data set.

    The line is the mean over the seeds, the band one standard deviation to either side.
    """
    with style.figure(path, 9.5, 4.0) as drawing:
        panels = drawing.subplots(1, 2)
        for arm in arms:
            if not arm.records:
                continue
            epochs = [e.epoch for e in arm.records[0].epochs]
            for axes, name in zip(panels, ("test_accuracy", "test_loss"), strict=True):
                runs = np.array([[getattr(e, name) for e in r.epochs] for r in arm.records])
                mean, color = runs.mean(0), palette[arm.arm]
                marker = "o" if len(epochs) <= 30 else ""
                label = f"{arm.arm} (n = {len(runs)})"
                axes.plot(epochs, mean, color=color, label=label, marker=marker, markersize=3)
                if len(runs) > 1:
                    sd = runs.std(0, ddof=1)
                    axes.fill_between(
                        epochs, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0
                    )
        for axes, label in zip(panels, ("test accuracy", "test loss [nat]"), strict=True):
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _fractions(panels[0])
        style.scale_losses(panels[1])
        panels[0].legend()
        style.head(drawing, f"{arms[0].model} on {arms[0].title}: mean ± sd over seeds")


def _fractions(axes: Axes) -> None:
    """The y axis in percent, without what a mean and its deviation reach outside of 0 to 100."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.01), min(high, 1.01))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
