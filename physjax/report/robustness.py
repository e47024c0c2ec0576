"""Table and figures of a run's robustness, from its robustness.json alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from physjax import files
from physjax.records import RecordError, RunFolder
from physjax.report import style
from physjax.report.confusion import draw_confusion
from physjax.report.run import title


def draw(path: Path) -> list[Path]:
    """Write robustness.md and the figures robustness, calibration and evaluated_confusion; their
    paths.

    Raises RecordError where the run in `path` has not been evaluated.
    """
    folder = RunFolder(path)
    source = path / "robustness.json"
    if not source.exists():
        raise RecordError(f"{path} has not been evaluated: python experiments/evaluate.py {path}")
    values = json.loads(files.read_text(source))
    heading = title(folder.read()) + _views(values)
    written = [
        path / "robustness.md",
        folder.figures / "robustness.png",
        folder.figures / "calibration.png",
        folder.figures / "evaluated_confusion.png",
    ]
    files.atomic_write(written[0], table(values, heading))
    with style.figure(written[1]) as drawing:
        _corruptions(drawing.subplots(), values)
        style.head(drawing, heading)
    with style.figure(written[2], 10.0, 4.3) as drawing:
        left, right = drawing.subplots(1, 2)
        _reliability(left, values)
        _classes(right, values)
        style.head(drawing, heading)
    with style.figure(written[3], 6.8, 6.2) as drawing:
        draw_confusion(drawing.subplots(), values["clean"]["confusion"], values["class_names"])
        style.head(drawing, heading)
    return written


def _views(values: dict[str, Any]) -> str:
    return "" if values["tta"] == "none" else f", views: {values['tta']}"


def table(values: dict[str, Any], heading: str) -> str:
    """The Markdown text: corruptions by severity, their mean, and the accuracy of each class."""
    clean = values["clean"]
    folded = "; the force is merged into the convolutions" if values["folded"] else ""
    lines = [
        f"# {heading}\n",
        f"{values['examples']} test images{folded}. Clean: accuracy {clean['accuracy']:.2%}, loss "
        f"{clean['loss']:.3f} nat, calibration error {clean['calibration_error']:.2%}.\n",
    ]
    corruptions = values["corruptions"]
    if corruptions:
        severities = [line["severity"] for line in next(iter(corruptions.values()))]
        lines += [
            "Accuracy in percent by severity, the strength in brackets:\n",
            f"| corruption | {' | '.join(map(str, severities))} | mean | calibration error | "
            "strength |",
            f"| --- | {'---: | ' * (len(severities) + 2)}--- |",
        ]
        for name, steps in corruptions.items():
            cells = [f"{100 * s['accuracy']:.2f} ({s['strength']:g})" for s in steps]
            mean = 100 * np.mean([s["accuracy"] for s in steps])
            calibration = 100 * np.mean([s["calibration_error"] for s in steps])
            lines.append(
                f"| {name} | {' | '.join(cells)} | {mean:.2f} | {calibration:.2f} | "
                f"{values['quantities'][name]} |"
            )
        everything = [s["accuracy"] for steps in corruptions.values() for s in steps]
        lines.append(f"\nMean accuracy over all corruptions: {np.mean(everything):.2%}.\n")
    lines += ["| class | accuracy |", "| --- | ---: |"]
    for name, accuracy in zip(values["class_names"], clean["per_class"], strict=True):
        lines.append(f"| {name} | {'–' if accuracy is None else f'{accuracy:.2%}'} |")
    return "\n".join(lines) + "\n"


def _corruptions(axes: Axes, values: dict[str, Any]) -> None:
    clean = values["clean"]["accuracy"]
    for index, (name, steps) in enumerate(values["corruptions"].items()):
        x = [0, *(s["severity"] for s in steps)]
        y = [clean, *(s["accuracy"] for s in steps)]
        color = style.COLORS[index % len(style.COLORS)]
        axes.plot(x, y, color=color, marker="o", markersize=4, label=name)
    axes.set(xlabel="severity (0: clean)", ylabel="test accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, 1)
    if values["corruptions"]:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _reliability(axes: Axes, values: dict[str, Any]) -> None:
    clean = values["clean"]
    filled = [i for i, c in enumerate(clean["confidence"]) if c is not None]
    x = [clean["confidence"][i] for i in filled]
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.plot(x, [clean["hit_rate"][i] for i in filled], "o-", color=style.TEST, markersize=4)
    axes.set(
        xlabel="confidence",
        ylabel="accuracy",
        title=f"calibration error {clean['calibration_error']:.2%}",
        xlim=(0, 1),
        ylim=(0, 1),
    )


def _classes(axes: Axes, values: dict[str, Any]) -> None:
    accuracies = [a or 0.0 for a in values["clean"]["per_class"]]
    axes.bar(range(len(accuracies)), accuracies, color=style.TRAIN)
    if len(accuracies) <= 20:
        axes.set_xticks(range(len(accuracies)), values["class_names"], rotation=45, ha="right")
    axes.grid(False, axis="x")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(ylim=(0, 1), ylabel="accuracy", title="by class")
