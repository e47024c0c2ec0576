"""Run a study: models x laws x data sets x seeds, with tables and figures at its end.

    physjax study --name bases --models cnn alexnet --datasets digits
    physjax study --grid experiments/studies/bases.toml --dry-run

The same command again, or `--name bases` alone, runs what is missing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from physjax import files, runtime
from physjax.cli import options
from physjax.cli.evaluate import CORRUPTIONS
from physjax.config import RECIPES, ConfigError
from physjax.data import DATASETS
from physjax.forces import LAWS
from physjax.models import MODELS
from physjax.study.design import Study, plan
from physjax.study.files import arm_settings, from_options, read_toml
from physjax.study.folder import StudyFolder
from physjax.study.shards import Shard


@dataclass(frozen=True)
class Command:
    """Which study, and what to do with it."""

    name: str | None = None
    """The study's folder below results_dir. None: the name of the grid's file."""
    grid: Path | None = None
    """A TOML file with the grid. Without it and without models: the study.toml of the folder."""
    models: Annotated[tuple[str, ...], options.choices(tuple(MODELS))] = ()
    """Base models."""
    laws: Annotated[tuple[str, ...], options.choices(tuple(LAWS))] = ()
    """Force laws; none given: none ring."""
    datasets: Annotated[tuple[str, ...], options.choices(tuple(DATASETS))] = ()
    """Data sets; none given: cifar10."""
    seeds: int | None = None
    """How many, from 0. Not given: 3."""
    recipe: Annotated[str | None, options.choices(tuple(RECIPES))] = None
    """Not given: fast."""
    bias_scale: float | None = None
    """Add the control arm scaled-bias: plain, the biases' learning rate multiplied by this."""
    set: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """Fields of the config for every run: --set optim.epochs=3 model.width=0.5"""
    tta: Literal["mirror", "mirror+shift"] | None = None
    """Evaluate each run, when it has ended, over these views of each test image too."""
    corruptions: Annotated[tuple[str, ...] | None, options.choices(CORRUPTIONS)] = None
    """Evaluate each run, when it has ended, under these corruptions of the test images too, in five
    severities each; without a name all of them."""
    plugin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A module or file with laws, rules, bases or data sets from outside; may be repeated."""
    dry_run: bool = False
    """List the settings of every arm, the runs and their predicted cost, and stop."""
    fresh: bool = False
    """Make those runs anew that are of other code or settings than is here; the earlier ones are
    kept as <name>.old-1, or the next number."""
    shard: Annotated[str | None, tyro.conf.arg(metavar="I/N")] = None
    """This is the Ith of N processes, on any machines that share both folders, that work on the
    study together. No run is made twice; the last to end makes the tables."""
    report: bool = False
    """Run nothing; make tables and figures of the records there are."""
    power: bool = False
    """Run nothing; say what the pairs there are could have shown, and how many an effect needs."""
    effects: Annotated[tuple[float, ...], tyro.conf.arg(metavar="POINTS")] = (0.1, 0.2, 0.3, 0.5)
    """With --power: the effects, in percentage points of accuracy."""
    time_limit: options.Duration = None
    """Save and stop in time to have ended so long after the start, with exit code 143: 5400
    (seconds), 90m, 2:30:00."""
    figure_format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figures: one file each for every format named."""
    latex: bool = False
    """Write tables.tex too (package booktabs)."""
    paper: bool = False
    """Show the paper's accuracies beside arms that were not trained by its recipe, too."""
    results_dir: Path = Path("results/studies")
    """Studies lie below it: what is committed."""
    runs_dir: Path = Path("runs")
    data_dir: str | None = None
    """TFDS folder, or that of the data set `folder`, or the file of `npz`. None: $TFDS_DATA_DIR,
    else ~/tensorflow_datasets."""
    devices: int | None = None
    """How many local devices to use; None: all."""


def find_grid(command: Command, folder: StudyFolder) -> Study:
    """The grid that the command names: by its options, its file, or the study's folder."""
    settings = [text for group in command.set for text in group]
    axes = (command.laws, command.datasets, command.seeds, command.recipe, command.bias_scale)
    given = bool(command.models or settings or command.plugin or command.tta)
    given = given or command.corruptions is not None or any(o not in (None, ()) for o in axes)
    if command.grid is not None and given:
        raise ConfigError("the grid comes from a file or from options; leave out one of them")
    if command.grid is not None:
        return read_toml(command.grid)
    if not given:
        return folder.read_study()
    return from_options(
        command.models,
        command.laws or ("none", "ring"),
        command.datasets or ("cifar10",),
        3 if command.seeds is None else command.seeds,
        command.recipe or Study.recipe,
        settings,
        command.bias_scale,
        command.plugin,
        command.tta,
        CORRUPTIONS if command.corruptions == () else command.corruptions or (),
    )


def main() -> None:
    command = options.parse(Command, description=__doc__)
    name = command.name if command.name is not None or command.grid is None else command.grid.stem
    name = options.folder_name("study" if name is None else name, "--name")
    folder = command.results_dir / name
    study = find_grid(command, StudyFolder(folder))
    if command.power:
        from physjax.report.power import report_power

        if any(not 0 < effect <= 100 for effect in command.effects) or not command.effects:
            raise ConfigError("--effects are percentage points above 0, e.g. 0.2")
        print(report_power(folder, command.effects), end="")
        return
    shard = None if command.shard is None else Shard.parse(command.shard)

    if not command.report:
        runtime.configure(restart=True)
        runtime.require_devices()
        # After configure(), which must stand before the first use of JAX.
        from physjax.study.paths import Paths
        from physjax.study.runner import run_study
        from physjax.study.status import format_status, status
        from physjax.train.time_limit import command_limit

        paths = Paths(command.results_dir, command.runs_dir, command.data_dir, command.devices)
        if command.dry_run:
            runs = status(name, study, paths)
            print("\n".join([*arm_settings(study), "", *format_status(runs)]))
            return
        limit = command_limit(command.time_limit)
        records = run_study(name, study, paths, fresh=command.fresh, time_limit=limit, shard=shard)
        missing = len(plan(study)) - len(records)
        if missing:
            print(
                f"shard {command.shard} has no more to do; others are at work on {missing} runs; "
                "the last one to end makes the tables, as --report does"
            )
            return

    from physjax.report.study import report_study

    with contextlib.ExitStack() as alone:
        if shard is not None:
            # Of two that end at the same time one waits for the other.
            alone.enter_context(files.exclusive_lock(folder, "study", 600.0))
        for path in report_study(
            folder,
            command.figure_format,
            latex=command.latex,
            paper=command.paper,
        ):
            print(path)
