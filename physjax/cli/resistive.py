"""Train networks of resistors that learn by themselves, by the paper's Eq. (1) and its kin.

    physjax resistive --task iris --seeds 20 --json iris.json --figures figures
    physjax resistive --task xor --network diodes --seeds 20

It prints error or accuracy, and writes a record and figures where it is told to. Nothing is saved
before its end: stopped, it begins anew.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from physjax import files
from physjax.cli import options
from physjax.cli.common import exit_code
from physjax.errors import UserError
from physjax.resistive.layered.presets import ImageSet
from physjax.resistive.layered.runner import (
    LayeredRun,
    ResolvedLayered,
    resolve_layered,
    run_layered,
)
from physjax.resistive.runner import PresetOptions, PresetRun, resolve, run_preset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LISTS = ("squared_errors", "test_accuracies", "seeds")
"""Fields of the record that are too long to print."""


@dataclass(frozen=True)
class Command:
    """What is trained, and what is written."""

    preset: PresetOptions = field(default_factory=PresetOptions)
    data_dir: Path | None = None
    """TFDS folder of mnist, fashion_mnist or cifar10. None: $TFDS_DATA_DIR, else TFDS's own."""
    json: Path | None = None
    """Where to write the record."""
    figures: Path | None = None
    """Folder for the figures: history of the training; network before and after."""
    figure_format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figures: one file each for every format named."""


def execute(asked: Command) -> None:
    """Train, print, write.

    Raises:
      UserError: an option is out of range, or a file cannot be written; before the training.
    """
    layered = asked.preset.network != "graph"
    # Before any folder is made.
    setup = resolve_layered(asked.preset) if layered else resolve(asked.preset)
    images = None
    if isinstance(setup, ResolvedLayered) and setup.needs_images:
        images = _images(asked, setup.train_images)
    elif asked.data_dir:
        raise UserError(f"--data-dir does nothing for task {asked.preset.task!r}; leave it out")
    if asked.figure_format != Command.figure_format and not asked.figures:
        raise UserError("--figure-format does nothing without --figures, the folder to write to")
    if asked.json:
        with files.naming(asked.json):  # a name that is too long
            is_folder = asked.json.is_dir()
        if is_folder:
            raise UserError(f"--json names a folder, {asked.json}; give the name of a file")
        _check_writable(asked.json.parent)
    if asked.figures:
        _check_writable(asked.figures)
    count = f"{len(setup.before)} networks" if len(setup.before) > 1 else "a network"
    # On a terminal alone.
    with Console(stderr=True).status(f"training {count}, {setup.train.steps:,} updates"):
        run = run_layered(asked.preset, images) if layered else run_preset(asked.preset)
    values = run.record.to_json()
    for name, value in values.items():
        if name not in LISTS:
            print(f"{name:28} {value}")
    if asked.json:
        files.atomic_write(asked.json, json.dumps(values, indent=1) + "\n")
    if asked.figures:
        _draw(run, asked)


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written now, and not only after the training."""
    with files.naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def _images(asked: Command, train_images: int) -> ImageSet:
    import numpy as np

    from physjax import data
    from physjax.config import DataConfig

    folder = str(asked.data_dir) if asked.data_dir else None
    config = DataConfig(asked.preset.task, folder, train_examples=train_images, mode="device")
    found = data.load(config)
    train, test = found.train, found.test
    return ImageSet(np.asarray(train.images), train.labels, np.asarray(test.images), test.labels)


def _draw(run: PresetRun | LayeredRun, asked: Command) -> None:
    from physjax import plotting
    from physjax.resistive import figures
    from physjax.resistive.layered import figures as layered_figures

    assert asked.figures is not None
    drawn: Mapping[str, Callable[[Any, Figure], None]] = figures.FIGURES
    kind = run.record.rule
    if isinstance(run, LayeredRun):
        drawn, kind = layered_figures.FIGURES, run.record.network
    for name, plot in drawn.items():
        stem = f"resistive_{run.record.task}_{kind}_{name}"
        with plotting.figure(asked.figures / stem, formats=asked.figure_format) as fig:
            plot(run, fig)


def command(argv: Sequence[str] | None = None) -> int:
    """The command's exit code; `argv` without the program's name, by default from `sys`."""
    return exit_code(lambda: execute(options.parse(Command, argv, description=__doc__)))


def main() -> None:
    """Do what the words of `sys.argv` ask for."""
    execute(options.parse(Command, description=__doc__))
