"""Evaluate a trained run on its test set; write a table and figures into its folder.

    physjax evaluate runs/mine
    physjax evaluate runs/mine --tta mirror --corruptions blur jpeg
    physjax evaluate runs/mine --corrupted-dir CIFAR-10-C
    physjax evaluate runs/mine --permute-ring 5
    physjax evaluate runs/mine --relaxation

The first is one pass over the images as they are; --corruptions adds corrupted images, each in five
severities: those named, or all seven kinds. --corrupted-dir reads published ones, CIFAR-10-C, in
their place. --permute-ring gives the channels other neighbours than those that they were trained
with. --relaxation shows how a network that learns by settling comes to rest: energy and residual of
each layer by round, and its states free and driven.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from physjax import runtime
from physjax.cli import options

CORRUPTIONS = ("gaussian noise", "blur", "brightness", "contrast", "jpeg", "occlusion", "shift")
Format = Literal["png", "svg", "pdf"]


@dataclass(frozen=True)
class Command:
    """Which run, and how it is evaluated."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    tta: Literal["none", "mirror", "mirror+shift"] = "none"
    """Average the probabilities over views of each image."""
    corruptions: Annotated[tuple[str, ...] | None, options.choices(CORRUPTIONS)] = None
    """Corrupted images too, in five severities each: these, or without a name all of them."""
    corrupted_dir: Path | None = None
    """A folder of corrupted test images, in place of those made here: CIFAR-10-C, with a file
    <corruption>.npy for each corruption and labels.npy, or TFDS's folder cifar10_corrupted. All
    that it has, or the --corruptions that are named."""
    permute_ring: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Evaluate with the channels in N random orders on the ring, too: do neighbours matter?"""
    gates: bool = False
    """Show which channels the gates of such a law open and close for which class."""
    relaxation: bool = False
    """Show how the layers of a network that settles come to rest, for such learning rules."""
    plugin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A file or module with what the run needs from outside, where the recorded one has moved."""
    other_code: bool = False
    """Evaluate also where the law's or the base model's code is not what was trained."""
    data_dir: str | None = None
    """Where the images are. None: as for training, else $TFDS_DATA_DIR, else
    ~/tensorflow_datasets."""
    figure_format: tuple[Format, ...] = ("png",)
    """Of the figures: one file each for every format named."""


def main() -> None:
    command = options.parse(Command, description=__doc__)
    runtime.configure(restart=True)
    runtime.require_devices()

    # After configure(), which must stand before the first use of JAX.
    from physjax.evaluate.relaxation import relax
    from physjax.evaluate.robustness import evaluate
    from physjax.report.relaxation import report_relaxation
    from physjax.report.robustness import report_robustness

    evaluate(
        command.run,
        tta=command.tta,
        data_dir=command.data_dir,
        corruptions=_named(command),
        corrupted_dir=command.corrupted_dir,
        permuted_rings=command.permute_ring,
        gates=command.gates,
        plugins=command.plugin,
        other_code=command.other_code,
        log=print,
    )
    written = report_robustness(command.run, command.figure_format)
    if command.relaxation:
        relax(
            command.run,
            data_dir=command.data_dir,
            plugins=command.plugin,
            other_code=command.other_code,
            log=print,
        )
        written += report_relaxation(command.run, command.figure_format)
    for path in written:
        print(path)


def _named(command: Command) -> tuple[str, ...]:
    """The corruptions that are asked for by name, or all of our own."""
    if command.corruptions == () and command.corrupted_dir is None:
        return CORRUPTIONS
    return command.corruptions or ()
