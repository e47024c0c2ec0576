"""The panels of a run: a new one is a function, and a line in `PANELS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from physjax.config import recipe, settings_of
from physjax.records import Result, RunRecord
from physjax.records.inspection import Inspection
from physjax.report.html import charts
from physjax.report.html.panel import (
    chart,
    details,
    heading,
    joined,
    paragraph,
    picture,
    shown,
    table,
)
from physjax.report.physics import LABELS, physics_frame


@dataclass(frozen=True)
class RunSubject:
    """A run that the page shows."""

    name: str
    """Of its folder."""
    record: RunRecord
    inspection: Inspection | None
    """What a look into the network found; None: nobody could look."""
    lack: str = ""
    """Why nobody could."""

    @property
    def result(self) -> Result:
        """Of the run, which has ended."""
        assert self.record.result is not None
        return self.record.result


STATEMENTS = {
    "none": "This network has no force between its channels: it is the plain twin that others are "
    "compared with.",
    "constant": "The force of this law is a constant per channel. So the layer can represent "
    "nothing that a convolution with a bias cannot, and here the force is folded into the bias: "
    "prediction costs what the plain network's does. What it changes is how that offset is "
    "trained: it moves faster. Compare it with a plain network whose biases have their learning "
    "rate scaled before you call a gain the force's.",
    "linear": "The force of this law is linear in the layer's values, and folds into its kernels: "
    "prediction costs what the plain network's does, and the layer can represent nothing that a "
    "plain one cannot. What it changes is how the kernels are trained.",
    "general": "The force of this law depends on the image. It cannot be folded away, and costs "
    "its time in prediction too; whether it pays, a comparison over several seeds decides.",
}
"""What is honest to say of a layer, by the form of its law."""


def overview(run: RunSubject) -> Markup | None:
    """What it is, what it came to, and what that does and does not mean."""
    result, config = run.result, run.record.config
    tiles = [
        ("test accuracy", f"{result.test_accuracy:.2%}"),
        ("training accuracy", f"{result.train_accuracy:.2%}"),
        ("epochs", f"{result.epochs}"),
        ("parameters", f"{result.parameters:,}"),
        ("training", _duration(result.wall_seconds)),
        ("images/s", f"{result.images_per_second:,.0f}" if result.images_per_second else "–"),
    ]
    boxes = joined(
        Markup('<div class="tile"><b>{}</b><span>{}</span></div>').format(value, label)
        for label, value in tiles
    )
    data, device = result.data, result.device
    facts = [
        ("images", data.title),
        ("split", ", ".join(f"{count:,} {name}" for name, count in data.examples.items())),
        ("seed", f"{config.run.seed}"),
        ("device", f"{device.count} x {device.kind}, {device.hosts} host(s)"),
        ("versions", ", ".join(f"{name} {version}" for name, version in result.versions.items())),
        ("fingerprint of the images", data.fingerprint[:16]),
    ]
    origin = run.record.origin
    if origin is not None and origin.weights is not None:
        weights = origin.weights
        facts.append(("started from", f"{weights.source}, SHA-256 {weights.sha256[:16]}"))
    for session in () if origin is None else origin.sessions[-1:]:
        if session.commit:
            facts.append(("commit", session.commit[:12] + (" and changes" * bool(session.dirty))))
    said = [
        paragraph(
            "The test accuracy is the last epoch's: nothing was selected on the test set. It is "
            "one run, and single runs differ by their seed; a claim needs several."
        )
    ]
    if run.inspection is not None:
        said.append(paragraph(STATEMENTS[run.inspection.law], "statement"))
    elif run.lack:
        said.append(paragraph(f"What is inside the network is not shown: {run.lack}", "lack"))
    return joined(
        [Markup('<div class="tiles">{}</div>').format(boxes), *said, table(["", ""], facts)]
    )


def curves(run: RunSubject) -> Markup | None:
    """Loss and accuracy by epoch."""
    runs = {"": run.record.epochs}
    return joined(chart(charts.curves(runs, quantity)) for quantity in ("accuracy", "loss"))


def classes(run: RunSubject) -> Markup | None:
    """The confusion matrix, and what it says of each class."""
    matrix, names = np.asarray(run.result.confusion), run.result.data.class_names
    hits, support, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    recall, precision = hits / np.maximum(support, 1), hits / np.maximum(predicted, 1)
    f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-12)
    rows = []
    for i in np.argsort(recall, kind="stable"):
        others = matrix[i].copy()
        others[i] = 0
        most = f"{names[others.argmax()]} ({others.max()})" if others.any() else "–"
        numbers = (f"{recall[i]:.1%}", f"{precision[i]:.1%}", f"{f1[i]:.3f}", f"{support[i]:,}")
        rows.append((names[i], *numbers, most))
    header = ["class", ">recall", ">precision", ">F1", ">images", "most often taken for"]
    return joined(
        [chart(charts.confusion(matrix.tolist(), names), 560), table(header, rows, "Worst first")]
    )


def mistakes(run: RunSubject) -> Markup | None:
    """The test images that the network is surest of, and wrong."""
    found, names = run.inspection, run.result.data.class_names
    if found is None:
        return None
    if not len(found.mistakes):
        return paragraph("The network makes no mistake on its test images.")
    cards = []
    lines = zip(
        found.mistakes, found.index, found.label, found.predicted, found.probability, strict=True
    )
    for pixels, index, label, predicted, probability in lines:
        text = f"test image {index}, a {names[label]}"
        cards.append(
            Markup(
                "<figure>{}<figcaption><b>{}</b> {}<br>is {}, no. {}</figcaption></figure>"
            ).format(
                picture(pixels, text, max(1, 96 // pixels.shape[0])),
                names[predicted],
                f"{probability:.1%}",
                names[label],
                index,
            )
        )
    gallery = Markup('<div class="gallery">{}</div>').format(joined(cards))
    return paragraph("What the network takes them for, and how sure it is:") + gallery


def forces(run: RunSubject) -> Markup | None:
    """Strength and force by epoch, and what each channel has at the end."""
    frame = physics_frame(run.record.epochs)
    parts = [
        chart(charts.by_layer(frame, quantity, LABELS.get(quantity, quantity)), 340)
        for quantity in dict.fromkeys(frame["quantity"])
    ]
    layers: dict[str, dict[str, npt.ArrayLike]] = {
        name: dict(own) for name, own in run.result.law_parameters.items()
    }
    for name, force in ({} if run.inspection is None else run.inspection.offsets).items():
        layers.setdefault(name, {})["force on the channel"] = force
    if layers:
        text = (
            "The channels of a layer lie on a circle, and each one's neighbours are the next ones. "
            "Outside the grey circle values are positive, inside negative."
        )
        parts = [chart(charts.ring(layers), 560), paragraph(text), *parts]
    return joined(parts) if parts else None


def filters(run: RunSubject) -> Markup | None:
    """The first layer's kernels as pictures."""
    found = run.inspection
    if found is None:
        return None
    parts = [heading("As they were trained"), _tiles(found.filters)]
    if not np.array_equal(found.filters, found.folded_filters):
        parts += [heading("With the force folded in"), _tiles(found.folded_filters)]
    else:
        parts.append(
            paragraph(
                "Folded, they are the same: this law adds nothing to a kernel. What a constant "
                "force adds is in the biases, see the forces."
                if found.law == "constant"
                else "Folded, they are the same: nothing is added to a kernel."
            )
        )
    text = "Red, green and blue are the weights of the three colours; grey is zero."
    return joined([paragraph(text), *parts])


def _tiles(kernels_HWIO: npt.NDArray[np.float32]) -> Markup:
    """The kernels side by side, each scaled to its largest weight."""
    largest = np.abs(kernels_HWIO).max((0, 1, 2), keepdims=True)
    pixels = np.round(127.5 + 127.5 * kernels_HWIO / np.maximum(largest, 1e-12)).astype(np.uint8)
    height, width, _, count = pixels.shape
    columns = min(16, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1), columns * (width + 1), 3), 255, np.uint8)
    for i in range(count):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = pixels[..., i]
    return picture(sheet, f"{count} kernels of {height} x {width} pixels", max(2, 24 // height))


def settings(run: RunSubject) -> Markup | None:
    """The config: what differs from the recipe, and the whole of it."""
    config = run.record.config
    start, now = settings_of(recipe(config.recipe)), settings_of(config)
    changed = [
        (key, shown(value), shown(start[key]) if key in start else "–")
        for key, value in now.items()
        if key not in start or start[key] != value
    ]
    whole = table(["field", "value"], [(key, shown(value)) for key, value in now.items()])
    title = f"What differs from the recipe {config.recipe}"
    first = table(["field", "here", "recipe"], changed, title)
    command = paragraph("The whole config, field by field, is what `physjax train` was given.")
    return joined([first, details("the whole config", command + whole)])


PANELS: dict[str, Callable[[RunSubject], Markup | None]] = {
    "Overview": overview,
    "Curves": curves,
    "Classes": classes,
    "Mistakes": mistakes,
    "Forces": forces,
    "Filters": filters,
    "Config": settings,
}
"""By the title of the tab; one that gives None has no tab."""


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s"
