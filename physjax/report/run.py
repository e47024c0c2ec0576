"""The figures of one run: its curves, as in the paper's Figs. 1 and 2, and its confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from physjax.records import EpochRecord, RecordError, RunFolder, RunRecord
from physjax.report import style
from physjax.report.confusion import draw_confusion


def draw(folder: Path) -> list[Path]:
    """Write figures/loss.png, accuracy.png and confusion.png of a finished run; their paths.

    Raises RecordError where the folder holds no run, or one that has not ended.
    """
    files = RunFolder(folder)
    record = files.read()
    if record.result is None:
        raise RecordError(f"{folder} has not ended: run the same command again to go on")
    paths = [files.figures / f"{name}.png" for name in ("loss", "accuracy", "confusion")]
    with style.figure(paths[0]) as drawing:
        axes = drawing.subplots()
        _curves(axes, record.epochs, "loss")
        axes.set(ylabel="mean cross-entropy [nat]")
        style.head(drawing, title(record))
        style.scale_losses(axes)
    with style.figure(paths[1]) as drawing:
        axes = drawing.subplots()
        _curves(axes, record.epochs, "accuracy")
        axes.set(ylabel="accuracy")
        style.head(drawing, title(record))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        last = record.epochs[-1]
        axes.annotate(
            f"test {last.test_accuracy:.2%}",
            (last.epoch, last.test_accuracy),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            color=style.TEST,
        )
    with style.figure(paths[2], 6.8, 6.2) as drawing:
        draw_confusion(
            drawing.subplots(), record.result.confusion, record.result.data["class_names"]
        )
        style.head(drawing, title(record))
    return paths


def title(record: RunRecord) -> str:
    """`physics on CIFAR-10, recipe fast, seed 0`: what every figure of the run is headed with."""
    config, result = record.config, record.result
    name = result.data["title"] if result is not None else config.data.dataset
    law = "" if config.model.law == "default" else f" with {config.model.law}"
    return f"{config.model.name}{law} on {name}, recipe {config.recipe}, seed {config.run.seed}"


def _curves(axes: Axes, epochs: Sequence[EpochRecord], quantity: str) -> None:
    x = [e.epoch for e in epochs]
    # With few epochs a line alone hides where the points are.
    marker = "o" if len(x) <= 30 else ""
    arms = [("train", style.TRAIN), ("test", style.TEST)]
    if epochs[0].validation_loss is not None:
        arms.insert(1, ("validation", style.VALIDATION))
    for arm, color in arms:
        y = [getattr(e, f"{arm}_{quantity}") for e in epochs]
        axes.plot(x, y, label=arm, color=color, marker=marker, markersize=4)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
