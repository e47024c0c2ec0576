"""What there is of a study and what is left, and at what cost. Nothing here is run or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax

from physjax import data, runtime
from physjax.config import RECIPES, Config, ConfigError, get_setting
from physjax.records import DeviceFacts, RunFolder
from physjax.records.provenance import Origin, changes
from physjax.study.corruptions import check_corruptions
from physjax.study.cost import CostModel, Estimate, finished_runs
from physjax.study.design import Cell, Study, plan
from physjax.study.folder import StudyRecord
from physjax.study.paths import Paths
from physjax.study.screening import check_screening
from physjax.study.views import check_views
from physjax.train.choices import without_effect
from physjax.train.origin import current_origin
from physjax.train.progress import format_seconds
from physjax.train.weights.given import find_weights


@dataclass(frozen=True)
class RunStatus:
    """One run as :func:`status` lists it."""

    cell: Cell
    state: str
    """`done`, `failed`, `begun` or `missing`; `changed` where its record, or what has begun of it,
    is of other code than is here or was made under other settings of JAX."""
    remaining: Estimate
    """Of what is left of it."""


def validate(study: Study) -> dict[Cell, Config]:
    """Every run of `study`.

    Raises UserError where a name or value in it cannot be, and for an option that does nothing in
    any of the runs that have it.
    """
    runs = plan(study)
    idle: dict[str, list[str]] = {}
    for config in runs.values():
        lines = without_effect(config)  # first, since it loads the plug-ins
        data.resolve(config.data)
        for line in lines:
            idle.setdefault(line.partition(" ")[0], []).append(line)
    check_views(study)
    check_corruptions(study)
    for key, lines in idle.items():
        setting = get_setting(key)
        usual = setting.get(RECIPES[study.recipe])
        if len(lines) == sum(setting.get(config) != usual for config in runs.values()):
            raise ConfigError(lines[0])
    return runs


def status(name: str, study: Study, paths: Paths) -> list[RunStatus]:
    """The state of every run of the study, in the order of the grid, and what the rest will cost.

    Args:
      name: of the study.
      study: its grid.
      paths: where it lies on this machine.

    Raises:
      UserError: as :func:`validate`, and where a record cannot be read.
    """
    runs = validate(study)
    check_screening(study, paths)
    done = paths.study_folder(name).read(runs, mixed=True)
    local = {cell: paths.localize(config, name) for cell, config in runs.items()}
    changed = changed_runs(local, done)
    costs = cost_model(paths)
    return [
        RunStatus(cell, "changed", costs.estimate(config))
        if cell in changed
        else run_status(cell, config, done, costs)
        for cell, config in local.items()
    ]


def changed_runs(
    local: Mapping[Cell, Config], done: Mapping[Cell, StudyRecord]
) -> dict[Cell, list[str]]:
    """Runs of another origin than they would have now, and what differs, images apart."""
    different = {}
    for cell, config in local.items():
        earlier = done[cell].origin if cell in done else RunFolder.of(config).read_origin()
        lines = [] if earlier is None else _changes(earlier, config)
        if lines:
            different[cell] = lines
    return different


def _changes(earlier: Origin, config: Config) -> list[str]:
    return changes(earlier, current_origin(config, weights=find_weights(config)))


def cost_model(paths: Paths) -> CostModel:
    """What runs cost on this machine, from those that lie below `paths`."""
    machine = DeviceFacts(**runtime.device_facts(paths.devices or jax.local_device_count()))
    return CostModel(finished_runs(paths.results_dir, paths.runs_dir), machine)


def run_status(
    cell: Cell, config: Config, done: Mapping[Cell, StudyRecord], costs: CostModel
) -> RunStatus:
    """The state of one run, whose origin is what it would have now."""
    if cell in done:
        state = "done" if done[cell].result is not None else "failed"
        return RunStatus(cell, state, Estimate(0.0, ""))
    whole = costs.estimate(config)
    epochs = len(RunFolder.of(config).read_epochs())
    if epochs == 0:
        return RunStatus(cell, "missing", whole)
    share = 1 - epochs / config.optim.epochs
    seconds = None if whole.seconds is None else share * whole.seconds
    return RunStatus(cell, "begun", Estimate(seconds, whole.basis))


def format_status(runs: list[RunStatus]) -> list[str]:
    """Lines that show what :func:`status` gave, and the sum."""
    width = max(len(run.cell.name) for run in runs)
    lines = []
    for run in runs:
        seconds = run.remaining.seconds
        cost = "?" if seconds is None else format_seconds(seconds)
        shown = "" if run.state in ("done", "failed") else f"{cost:>8}  {run.remaining.basis}"
        lines.append(f"{run.cell.name:{width}}  {run.state:8}{shown}".rstrip())
    to_do = [run.remaining.seconds for run in runs if run.state in ("begun", "missing")]
    text = f"{len(runs)} runs, {len(to_do)} to do: {format_eta(to_do)}"
    again = [run.remaining.seconds for run in runs if run.state == "changed"]
    if again:
        text += f"; --fresh makes the {len(again)} changed ones anew: {format_eta(again)}"
    return [*lines, text]


def format_eta(seconds: list[float | None]) -> str:
    """The sum of what runs will take, None where that is unknown: `about 2m05s`."""
    known = [value for value in seconds if value is not None]
    text = f"about {format_seconds(sum(known))}" if known or not seconds else "cost unknown"
    if known and len(known) < len(seconds):
        text += f", and {len(seconds) - len(known)} runs of unknown cost"
    return text
