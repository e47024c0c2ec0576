"""Table and figures of a run's evaluation, from its robustness.json alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from physjax import plotting
from physjax.evaluate.record import EXTRA, RobustnessRecord, read_robustness
from physjax.files import atomic_write
from physjax.records import RunFolder
from physjax.report.confusion import plot_confusion
from physjax.report.registry import draw_figures
from physjax.report.tables import NOTHING, Column, render
from physjax.report.titles import run_title

Evaluation = tuple[RobustnessRecord, str]
"""The record, and the heading of its figures."""


def report_robustness(path: Path, formats: Sequence[plotting.Format] = plotting.PNG) -> list[Path]:
    """Write robustness.md and the figures of an evaluated run into its folder.

    Returns:
        The files.

    Raises:
        RecordError: the folder holds no run, or one that has not been evaluated.
    """
    files = RunFolder(path)
    record, run = read_robustness(path), files.read()
    heading = run_title(run.config, None if run.result is None else run.result.data)
    if record.tta != "none":
        heading += f", views: {record.tta}"
    atomic_write(path / "robustness.md", markdown(record, heading))
    figures = draw_figures(FIGURES, (record, heading), files.figures, formats)
    return [path / "robustness.md", *figures]


def markdown(record: RobustnessRecord, heading: str) -> str:
    """The text: corruptions by severity, their means, and the accuracy of each class."""
    clean = record.clean
    folded = "; the force is merged into the convolutions" if record.folded else ""
    parts = [
        f"# {heading}\n",
        f"{record.examples} test images{folded}. Clean: accuracy {clean.accuracy:.2%}, loss "
        f"{clean.loss:.3f} nat, calibration error {clean.calibration_error:.2%}.\n",
    ]
    if record.corruptions:
        parts += _corruptions(record)
    if record.permuted_rings:
        parts += [_permuted(record)]
    classes = pd.DataFrame({"name": record.class_names, "accuracy": clean.per_class}, dtype=object)
    columns = [
        Column("class", "name"),
        Column(
            "accuracy",
            "accuracy",
            lambda c: NOTHING if pd.isna(c.accuracy) else f"{c.accuracy:.2%}",
        ),
    ]
    return "\n".join([*parts, render(classes.astype({"accuracy": float}), columns)])


def _corruptions(record: RobustnessRecord) -> list[str]:
    """The accuracies by corruption and severity, and what they come to."""
    frame, source = corruption_frame(record), record.corrupted_source
    error, extra = record.mean_corruption_error, sorted({*record.corruptions} & {*EXTRA})
    assert error is not None
    where = (
        "the strength in brackets"
        if source is None
        else f"on {source.title} ({source.examples} images each)"
    )
    number = len(record.corruptions) - len(extra) or len(extra)
    without = f", without {', '.join(extra)}" if extra and number < len(record.corruptions) else ""
    return [
        f"Accuracy in percent by severity, {where}:\n",
        _corruption_table(frame, record.quantities),
        f"Mean corruption error over {number} corruptions{without}: {error:.2%} (not divided by "
        "that of another network).\n",
    ]


def _permuted(record: RobustnessRecord) -> str:
    """What became of the accuracy where the channels had other neighbours than in training."""
    rings = pd.DataFrame(map(vars, record.permuted_rings))
    columns = [
        Column("order of the ring", "order"),
        Column("accuracy", "accuracy", lambda r: f"{100 * r.accuracy:.2f}"),
        Column("difference", "accuracy", lambda r: _points(r.accuracy - record.clean.accuracy)),
        Column("loss", "loss", lambda r: f"{r.loss:.3f}"),
        Column(
            "calibration error", "calibration_error", lambda r: f"{100 * r.calibration_error:.2f}"
        ),
    ]
    change = (rings["accuracy"] - record.clean.accuracy).mean()
    return (
        "The channels in other random orders on the ring than in training, each with its own "
        f"parameters; accuracy in percent:\n\n{render(rings, columns)}\n"
        f"Mean change of accuracy: {_points(change)} percentage points over {len(rings)} orders.\n"
    )


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")


def corruption_frame(record: RobustnessRecord) -> pd.DataFrame:
    """A line for each corruption and severity: `corruption`, and the fields of its metrics."""
    return pd.DataFrame(
        [
            {"corruption": name, **vars(metrics)}
            for name, severities in record.corruptions.items()
            for metrics in severities
        ]
    )


def _corruption_table(frame: pd.DataFrame, quantities: dict[str, str]) -> str:
    wide = frame.groupby("corruption", sort=False)[["accuracy", "calibration_error"]].mean()
    columns = [Column("corruption", "corruption")]
    for severity, part in frame.groupby("severity"):
        texts = [
            f"{100 * p.accuracy:.2f}" + ("" if pd.isna(p.strength) else f" ({p.strength:g})")
            for p in part.itertuples()
        ]
        name = f"severity_{severity}"
        wide[name] = pd.Series(texts, index=part["corruption"]).reindex(wide.index, fill_value="")
        columns.append(Column(str(severity), "accuracy", attrgetter(name)))
    columns += [
        Column("mean", "accuracy", lambda c: f"{100 * c.accuracy:.2f}"),
        Column(
            "calibration error", "calibration_error", lambda c: f"{100 * c.calibration_error:.2f}"
        ),
    ]
    if quantities:
        wide["quantity"] = pd.Series(quantities)
        columns.append(Column("strength", "quantity"))
    return render(wide.reset_index(), columns)


def draw_robustness(evaluation: Evaluation, fig: Figure) -> None:
    """Test accuracy by severity, a line for each corruption."""
    record, heading = evaluation
    if not record.corruptions:
        return
    axes = fig.subplots()
    styles = plotting.series_styles(list(record.corruptions))
    for name, steps in record.corruptions.items():
        x = [0, *(s.severity for s in steps)]
        y = [record.clean.accuracy, *(s.accuracy for s in steps)]
        axes.plot(x, y, **styles[name], label=name)
    axes.set(xlabel="severity (0: clean)", ylabel="test accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _set_percent(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    error = f"mean corruption error {record.mean_corruption_error:.2%}"
    source = record.corrupted_source
    fig.suptitle(f"{heading}\n{error}" + ("" if source is None else f", {source.title}"), wrap=True)


def draw_calibration(evaluation: Evaluation, fig: Figure) -> None:
    """Reliability diagram, the examples in its bins below it; and the accuracy of each class."""
    record, heading = evaluation
    clean, classes = record.clean, range(len(record.class_names))
    fig.set_size_inches(10.0, 5.0)
    grid = fig.add_gridspec(2, 2, height_ratios=(4, 1))
    reliability = fig.add_subplot(grid[0, 0])
    counts, by_class = fig.add_subplot(grid[1, 0], sharex=reliability), fig.add_subplot(grid[:, 1])
    reliability.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    # A bin without examples has neither confidence nor accuracy: NaN, and no point.
    x, y = (pd.Series(v, dtype=float) for v in (clean.confidence, clean.bin_accuracy))
    reliability.plot(x[x.notna()], y[x.notna()], "o-", color=plotting.TEST)
    title = f"calibration error {clean.calibration_error:.2%}"
    reliability.set(ylabel="accuracy", title=title, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    reliability.tick_params(labelbottom=False)
    bins = len(clean.bin_examples)
    middles = [(i + 0.5) / bins for i in range(bins)]
    counts.bar(middles, clean.bin_examples, width=0.9 / bins, color=plotting.TEST)
    counts.set(xlabel="confidence", ylabel="images")
    # From one image to all of them, which a linear scale cannot show.
    counts.set_yscale("symlog", linthresh=1)
    by_class.bar(classes, [a or 0.0 for a in clean.per_class], color=plotting.TRAIN)
    if len(classes) <= 20:
        by_class.set_xticks(classes, record.class_names, rotation=45, ha="right")
    by_class.grid(False, axis="x")
    by_class.set(ylabel="accuracy", title="by class")
    _set_percent(by_class)
    by_class.set_ylim(bottom=0)
    fig.suptitle(heading, wrap=True)


def draw_confusion(evaluation: Evaluation, fig: Figure) -> None:
    """The confusion matrix on the clean images."""
    record, heading = evaluation
    fig.set_size_inches(6.8, 6.2)
    plot_confusion(fig.subplots(), record.clean.confusion, record.class_names)
    fig.suptitle(heading, wrap=True)


def draw_gates(evaluation: Evaluation, fig: Figure) -> None:
    """A panel for each layer: the mean gate of each class (rows) and channel (columns).

    Channels are sorted by how much they differ between the classes, most first.
    """
    record, heading = evaluation
    if not record.gates:
        return
    columns = min(3, len(record.gates))
    rows = -(-len(record.gates) // columns)
    fig.set_size_inches(1.6 + 3.6 * columns, 1.0 + 2.6 * rows)
    panels = fig.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(record.gates) :]:
        axes.remove()
    frames = {layer: pd.DataFrame(means, dtype=float) for layer, means in record.gates.items()}
    furthest = max(1e-3, max((frame - 1).abs().max(axis=None) for frame in frames.values()))
    for axes, (layer, frame) in zip(panels, frames.items(), strict=False):
        order = frame.std().sort_values(ascending=False, kind="stable").index
        image = axes.imshow(
            frame[order],
            cmap="RdBu_r",
            vmin=1 - furthest,
            vmax=1 + furthest,
            aspect="auto",
            interpolation="nearest",
        )
        axes.grid(False)
        axes.set_title(layer, fontsize="medium")
        if len(frame) <= 20:
            axes.set_yticks(range(len(frame)), record.class_names, fontsize="x-small")
    fig.colorbar(image, ax=panels[: len(record.gates)], label="mean gate (1: as without)")
    fig.supxlabel("channels, those first that differ most between classes", fontsize="medium")
    fig.suptitle(heading, wrap=True)


FIGURES: dict[str, Callable[[Evaluation, Figure], None]] = {
    "robustness": draw_robustness,
    "calibration": draw_calibration,
    "evaluated_confusion": draw_confusion,
    "gates": draw_gates,
}
"""By the name of the file in the run's folder figures/."""


def _set_percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(-0.02, 1.02)
