"""The figures of one run: its curves, as in the paper's Figs. 1 and 2, and its confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from physjax import plotting
from physjax.records import RecordError, RunFolder, RunRecord
from physjax.report.confusion import plot_confusion
from physjax.report.physics import physics_frame, plot_law_parameters, plot_physics
from physjax.report.registry import draw_figures
from physjax.report.titles import run_title


def report_run(folder: Path, formats: Sequence[plotting.Format] = plotting.PNG) -> list[Path]:
    """Draw the figures of a finished run into its folder.

    Returns:
        The files.

    Raises:
        RecordError: the folder holds no run, or one that has not ended.
    """
    files = RunFolder(folder)
    record = files.read()
    if record.result is None:
        raise RecordError(f"{folder} has not ended: run the same command again to go on")
    return draw_figures(FIGURES, record, files.figures, formats)


def draw_loss(record: RunRecord, fig: Figure) -> None:
    """Training, validation and test loss by epoch."""
    axes = fig.subplots()
    _plot_curves(axes, record, "loss")
    axes.set(ylabel="mean cross-entropy [nat]")
    plotting.set_loss_scale(axes)
    _head(fig, record)


def draw_accuracy(record: RunRecord, fig: Figure) -> None:
    """Training, validation and test accuracy by epoch, and the last one in figures."""
    axes = fig.subplots()
    _plot_curves(axes, record, "accuracy")
    axes.set(ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    last = record.epochs[-1]
    assert last.test_accuracy is not None
    axes.annotate(
        f"test {last.test_accuracy:.2%}",
        (last.epoch, last.test_accuracy),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        color=plotting.TEST,
    )
    _head(fig, record)


def draw_confusion(record: RunRecord, fig: Figure) -> None:
    """The confusion matrix of the last epoch on the test set."""
    assert record.result is not None
    fig.set_size_inches(6.8, 6.2)
    plot_confusion(fig.subplots(), record.result.confusion, record.result.data.class_names)
    _head(fig, record)


def draw_physics(record: RunRecord, fig: Figure) -> None:
    """What the force and the resistances of each layer came to, by epoch."""
    frame = physics_frame(record.epochs).assign(arm="")
    if not frame.empty:
        plot_physics(fig, frame)
        fig.set_figwidth(7.0)  # of the other figures, which leaves room for the heading
        _head(fig, record)


def draw_law_parameters(record: RunRecord, fig: Figure) -> None:
    """The force law's own parameters at the end of the run, such as f over the ring."""
    assert record.result is not None
    if record.result.law_parameters:
        plot_law_parameters(fig, record.result.law_parameters)
        _head(fig, record)


FIGURES: dict[str, Callable[[RunRecord, Figure], None]] = {
    "loss": draw_loss,
    "accuracy": draw_accuracy,
    "confusion": draw_confusion,
    "physics": draw_physics,
    "law_parameters": draw_law_parameters,
}
"""By the name of the file in the run's folder figures/."""


def _head(fig: Figure, record: RunRecord) -> None:
    data = None if record.result is None else record.result.data
    fig.suptitle(run_title(record.config, data), wrap=True)


def _plot_curves(axes: Axes, record: RunRecord, quantity: str) -> None:
    epochs = record.epochs
    x = [e.epoch for e in epochs]
    # With few epochs a line alone hides where the points are.
    marker = "o" if len(x) <= 30 else ""
    splits = [("train", plotting.TRAIN), ("test", plotting.TEST)]
    if epochs[0].validation_loss is not None:
        splits.insert(1, ("validation", plotting.VALIDATION))
    for split, color in splits:
        # Epochs without an evaluation have no point, and the line goes on from the last that had.
        values = {e.epoch: getattr(e, f"{split}_{quantity}") for e in epochs}
        known = {epoch: value for epoch, value in values.items() if value is not None}
        axes.plot(list(known), list(known.values()), label=split, color=color, marker=marker)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
