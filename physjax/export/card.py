"""The model card: what a file beside it holds, where it comes from, and what it cannot do.

After Mitchell et al., *Model Cards for Model Reporting* (arXiv:1810.03993).
"""

from __future__ import annotations

from pathlib import Path

from physjax import runtime
from physjax.config import RECIPES, settings_of
from physjax.export.format import ExportFormat
from physjax.export.network import PortableNetwork, normalisation
from physjax.forces import LAWS
from physjax.models import get_spec
from physjax.records import RunRecord

_NOT_SHOWN = ("data.", "run.", "model.start_from")


def model_card(network: PortableNetwork, kind: ExportFormat, path: Path) -> str:
    """Markdown about the export `path`."""
    model, info = network.config.model, network.info
    title = get_spec(model).title
    record = network.record
    lines = [
        f"# {path.name}",
        "",
        f"{title} ({model.size} size) for {info.num_classes} classes. {kind.holds}",
        f"Exported by physjax {runtime.versions()['physjax']}.",
        "",
        *_network(network),
        "",
        *(_training(record) if record is not None else _imported(network)),
        "",
        "## Images",
        "",
        *_images(network, kind),
        "",
        "## Use",
        "",
        f"`images` is uint8 {['N', *network.input_shape]}.".replace("'", ""),
        "",
        "```python",
        _usage(network, kind, path),
        "```",
        "",
        f"Softmax over the {info.num_classes} logits gives probabilities of, in this order: "
        f"{', '.join(info.class_names)}.",
        "",
        *_limits(network),
    ]
    return "\n".join(lines) + "\n"


def _usage(network: PortableNetwork, kind: ExportFormat, path: Path) -> str:
    """The format's code with what it needs to know of this network."""
    mean, deviation = (", ".join(f"{x:.9g}" for x in own) for own in normalisation(network))
    side, start = network.resized
    code = kind.usage.rstrip()
    for name, value in {
        "NAME": path.name,
        "CLASSES": str(network.info.num_classes),
        "SIDE": str(side),
        "MIDDLE": f"{start}:{start + network.image_size}",
        "MEAN": mean,
        "DEVIATION": deviation,
    }.items():
        code = code.replace(name, value)
    return code


def _network(network: PortableNetwork) -> list[str]:
    law = network.config.model.law
    if law in ("none", "default"):
        return ["It is a plain network, without forces between its channels."]
    equation = LAWS[law].equation if law in LAWS else ""
    lines = [f"It was trained with the force law `{law}` between its channels ({equation})."]
    if network.folded:
        lines.append(
            "The forces are folded into its kernels and biases: what is exported is a plain "
            "network with the same logits up to rounding, and costs what a plain one costs. The "
            "force changed how it was trained, and not what such a network can represent."
        )
    else:
        lines.append("The forces are computed as a part of the network.")
    return lines


def _training(record: RunRecord) -> list[str]:
    config, result = record.config, record.result
    assert result is not None
    usual = settings_of(RECIPES[config.recipe])
    changed = {
        key: value
        for key, value in settings_of(config).items()
        if value != usual.get(key) and not key.startswith(_NOT_SHOWN)
    }
    counts = ", ".join(f"{n:,} {split}" for split, n in result.data.examples.items())
    return [
        "## Training",
        "",
        "| | |",
        "|---|---|",
        f"| data | {result.data.title}, {counts} images |",
        f"| fingerprint of the images | `{result.data.fingerprint}` |",
        f"| recipe | `{config.recipe}`, {config.optim.epochs} epochs |",
        f"| other settings | {', '.join(f'{k} = {v}' for k, v in changed.items()) or 'none'} |",
        *_started_from(record),
        f"| seed | {config.run.seed} |",
        f"| precision of the training | {config.run.precision} |",
        f"| test accuracy | {result.test_accuracy:.2%} of n = {result.data.examples['test']:,} "
        "images, after the last epoch: nothing was selected on the test images |",
        f"| training accuracy | {result.train_accuracy:.2%}, of the last epoch |",
        f"| parameters in training | {result.parameters:,} |",
        f"| versions | {', '.join(f'{k} {v}' for k, v in result.versions.items())} |",
        "",
        "One run with one seed: another seed gives another accuracy.",
    ]


def _started_from(record: RunRecord) -> list[str]:
    weights = None if record.origin is None else record.origin.weights
    if weights is None:
        return []
    return [f"| started from | the weights {Path(weights.source).name} (`{weights.sha256}`) |"]


def _imported(network: PortableNetwork) -> list[str]:
    return [
        "## Training",
        "",
        f"The weights are from {Path(network.source).name}. physjax does not know on which images "
        "they were trained, nor how well they do.",
    ]


def _images(network: PortableNetwork, kind: ExportFormat) -> list[str]:
    info, side = network.info, network.info.image_size
    height, width, channels = info.native
    mean, std = normalisation(network)
    steps = [
        f"1. {'Grey' if channels == 1 else 'RGB'}, turned as EXIF says, transparent parts on "
        f"white; the middle cut out and resized (bilinear, antialiased) to {height}x{width} pixels."
    ]
    border = f"a black border to {side}x{side} pixels" if (height, width) != (side, side) else ""
    copies = "three equal channels" if channels == 1 else ""
    if border or copies:
        steps.append(f"2. Then {' and '.join(filter(None, [border, copies]))}.")
    inside = "in the file" if kind.name in ("stablehlo", "onnx") else "**by the caller**"
    resized = (
        ""
        if side == network.image_size
        else (
            f"resized bilinearly, border repeated, to what the network sees, {network.image_size}x"
            f"{network.image_size}"
            + (" (to 8/7 of it, and the middle cut out)" if _cropped(network) else "")
            + ", and "
        )
    )
    numbers = [", ".join(f"{x:.6g}" for x in values) for values in (mean, std)]
    steps.append(
        f"{len(steps) + 1}. Done {inside}: {resized}normalised, (pixel / 255 - mean) / deviation "
        f"with mean {numbers[0]} and deviation {numbers[1]}."
    )
    return steps


def _cropped(network: PortableNetwork) -> bool:
    return network.config.augment.crop == "resized"


def _limits(network: PortableNetwork) -> list[str]:
    return [
        "## Limits",
        "",
        f"- It knows {network.info.num_classes} classes and always names one of them, also for an "
        "image that shows none.",
        "- Accuracies hold for images like those it was tested on: other cameras, crops, sizes or "
        "corruptions lower them, and how far was measured only where its run has a "
        "`robustness.json`.",
        "- Probabilities need not be calibrated.",
        "- It was made for research, and not tested for decisions about people.",
        "- Arithmetic is float32, whatever it was trained in.",
    ]
