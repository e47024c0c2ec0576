"""Carry out a study: run what is missing of its grid, one run after another, and record it.

A study may be killed at any moment. A run that has ended has a record in the study's folder and
is never run again; one that has not goes on from its last checkpoint; and a run that ended just
before the kill is only recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
from rich.console import Console

from physjax import data, files, runtime
from physjax.config import RECIPES, Config, ConfigError, get_setting, run_name
from physjax.errors import Interrupted, NotFinite
from physjax.records import DeviceFacts, RecordError, RunFolder
from physjax.records.provenance import Origin, OriginError, changes, way_out
from physjax.study.cost import Costs, Estimate, earlier_runs
from physjax.study.design import Cell, Study, plan
from physjax.study.folder import StudyFolder, StudyRecord, portable
from physjax.study.progress import StudyDisplay
from physjax.train import signals
from physjax.train.choices import without_effect
from physjax.train.loop import fit
from physjax.train.origin import current_origin
from physjax.train.progress import format_seconds
from physjax.train.setup import Task


@dataclass(frozen=True)
class Place:
    """Where a study is carried out on this machine; it changes nothing that is computed."""

    results_dir: Path = Path("results")
    """Studies lie below it: what is committed."""
    runs_dir: Path = Path("runs")
    """Checkpoints lie below it, in runs_dir/<study>/<run>."""
    data_dir: str | None = None
    """TFDS folder. None: $TFDS_DATA_DIR, else TFDS's default."""
    devices: int | None = None
    """How many local devices to use; None: all."""


@dataclass(frozen=True)
class Planned:
    """One run as :func:`survey` lists it."""

    cell: Cell
    state: str
    """`done`, `failed`, `begun` or `missing`; `changed` where its record, or what has begun of it,
    is of other code than is here or was made under other settings of JAX."""
    left: Estimate
    """What is left of it."""


def check(study: Study) -> dict[Cell, Config]:
    """Every run of `study`.

    Raises UserError where a name or value in it cannot be, and for an option that does nothing in
    any of the runs that have it.
    """
    runs = plan(study)
    idle: dict[str, list[str]] = {}
    for config in runs.values():
        data.resolve(config.data)
        for line in without_effect(config):
            idle.setdefault(line.partition(" ")[0], []).append(line)
    for key, lines in idle.items():
        setting = get_setting(key)
        usual = setting.get(RECIPES[study.recipe])
        if len(lines) == sum(setting.get(config) != usual for config in runs.values()):
            raise ConfigError(lines[0])
    return runs


def survey(name: str, study: Study, place: Place) -> list[Planned]:
    """What there is of the study and what is left, and at what cost. Nothing is written."""
    runs = check(study)
    done = StudyFolder(place.results_dir / name).read(runs, mixed=True)
    placed = {cell: _placed(config, name, place) for cell, config in runs.items()}
    changed = _changed(placed, done)
    costs = _costs(place)
    return [
        Planned(cell, "changed", costs.estimate(config))
        if cell in changed
        else _planned(cell, config, done, costs)
        for cell, config in placed.items()
    ]


def _changed(
    placed: Mapping[Cell, Config], done: Mapping[Cell, StudyRecord]
) -> dict[Cell, list[str]]:
    """Runs of another origin than they would have now, and what differs, images apart."""
    found = {}
    known: dict[object, Origin] = {}
    for cell, config in placed.items():
        earlier = done[cell].origin if cell in done else RunFolder(_path(config)).read_origin()
        key = (config.model, config.rule)
        if earlier is not None:
            if key not in known:
                known[key] = current_origin(config)
            lines = changes(earlier, known[key])
            if lines:
                found[cell] = lines
    return found


def carry_out(
    name: str,
    study: Study,
    place: Place,
    console: Console | None = None,
    *,
    fresh: bool = False,
) -> dict[Cell, StudyRecord]:
    """Run what is missing of `study`; all its records.

    A run whose loss is not finite is recorded as failed, and the study goes on.

    Args:
      name: of the study.
      study: its grid.
      place: where it is carried out.
      console: where its progress is shown.
      fresh: run those again whose record, or what has begun of them, was made by other code or
        under other settings of JAX. The others stay, and what is made anew is kept under another
        name.

    Raises:
      UserError: it cannot be carried out, and nothing was run; an OriginError where there is
        something to make anew and `fresh` was not asked for.
      Interrupted: a signal came.
    """
    runs = check(study)
    folder = StudyFolder(place.results_dir / name)
    folder.check(study)
    busy: list[str] = []
    with (
        signals.caught() as caught,
        files.exclusive_lock(place.runs_dir / name, "study"),
        files.exclusive_lock(folder.path, "study"),
    ):
        folder.open(study)
        done = folder.read(runs, mixed=fresh)
        placed = {cell: _placed(config, name, place) for cell, config in runs.items()}
        changed = _changed(placed, done)
        if changed and not fresh:
            first, lines = next(iter(changed.items()))
            raise OriginError(
                f"{len(changed)} of {len(runs)} runs of the study in {folder.path} were not made "
                f"by what is here; of {first.name}, {'; '.join(lines)}; {way_out(lines)}"
            )
        done = {cell: record for cell, record in done.items() if cell not in changed}
        missing = [cell for cell in runs if cell not in done]
        _check_data({cell: placed[cell] for cell in missing}, done)
        for cell in changed:
            folder.set_aside(cell)
        done = folder.read(runs)
        costs = _costs(place) if missing else None
        with StudyDisplay(name, len(runs), console) as display:
            display.say(f"study {name}: {len(runs)} runs, {len(done)} of them done")
            for number, cell in enumerate(missing):
                assert costs is not None
                left = [_planned(c, placed[c], done, costs).left.seconds for c in missing[number:]]
                display.begin(cell.name, len(done), left)
                try:
                    record = _run(cell, placed[cell], display, fresh)
                except files.Locked as error:
                    display.say(f"{cell.name} is left out for now: {error}", loud=True)
                    busy.append(cell.name)
                    continue
                folder.write(record)
                done[cell] = record
                if record.result is not None:
                    costs.add(record.config, record.result)
                display.end(len(done))
                if caught.received:
                    ended = f"after {len(done)} of {len(runs)} runs"
                    raise Interrupted(caught.received, folder.path, ended)
    if busy:
        raise files.Locked(
            f"other processes are at work on {', '.join(busy)}; the same command again, when they "
            "have ended, completes the study"
        )
    return {cell: done[cell] for cell in runs}


def _run(cell: Cell, config: Config, display: StudyDisplay, fresh: bool) -> StudyRecord:
    try:
        record = fit(config, display.console, fresh="changed" if fresh else "no", in_study=True)
    except NotFinite as error:
        # A fact about the arm, not about the study: the others are still worth their time.
        display.say(f"{cell.name} failed: {error}", loud=True)
        # Without what to do about it and where, which is of this machine.
        return portable(cell, RunFolder(_path(config)).read(), error.reason)
    return portable(cell, record)


def _placed(config: Config, name: str, place: Place) -> Config:
    """`config` with the folders and devices of this machine."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data_dir=place.data_dir),
        run=dataclasses.replace(
            config.run, runs_dir=str(place.runs_dir / name), devices=place.devices
        ),
    )


def _path(config: Config) -> Path:
    return Path(config.run.runs_dir) / run_name(config)


def _check_data(missing: Mapping[Cell, Config], done: Mapping[Cell, StudyRecord]) -> None:
    """Load each data set once, so that what cannot be run is said before anything is.

    Raises UserError where a data set cannot be had, where a batch does not fit it, and where the
    study's records were made with other images of the same name.
    """
    loaded: dict[object, data.Dataset] = {}
    for cell, config in missing.items():
        if config.data not in loaded:
            loaded[config.data] = data.load(config.data)
        here = loaded[config.data]
        Task(config, here.info, len(here.train))
        for other, record in done.items():
            if record.result is None or other.dataset != cell.dataset:
                continue
            mark = record.result.data.fingerprint
            if mark != here.info.fingerprint:
                raise RecordError(
                    f"the images of {cell.dataset} here ({here.info.source}, fingerprint "
                    f"{here.info.fingerprint[:12]}) are not those of the study's records "
                    f"({mark[:12]}): their runs cannot be compared; use the same copy"
                )


def _costs(place: Place) -> Costs:
    machine = DeviceFacts(**runtime.device_facts(place.devices or jax.local_device_count()))
    return Costs(earlier_runs(place.results_dir, place.runs_dir), machine)


def _planned(cell: Cell, config: Config, done: Mapping[Cell, StudyRecord], costs: Costs) -> Planned:
    if cell in done:
        state = "done" if done[cell].result is not None else "failed"
        return Planned(cell, state, Estimate(0.0, ""))
    whole = costs.estimate(config)
    epochs = len(RunFolder(_path(config)).read_epochs())
    if epochs == 0:
        return Planned(cell, "missing", whole)
    share = 1 - epochs / config.optim.epochs
    left = None if whole.seconds is None else share * whole.seconds
    return Planned(cell, "begun", Estimate(left, whole.basis))


def listing(planned: list[Planned]) -> list[str]:
    """Lines that show what :func:`survey` found, and the sum."""
    width = max(len(p.cell.name) for p in planned)
    lines = []
    for p in planned:
        cost = "?" if p.left.seconds is None else format_seconds(p.left.seconds)
        shown = "" if p.state in ("done", "failed") else f"{cost:>8}  {p.left.basis}"
        lines.append(f"{p.cell.name:{width}}  {p.state:8}{shown}".rstrip())
    left = [p.left.seconds for p in planned if p.state in ("begun", "missing")]
    text = f"{len(planned)} runs, {len(left)} to do: {total(left)}"
    again = [p.left.seconds for p in planned if p.state == "changed"]
    if again:
        text += f"; --fresh makes the {len(again)} changed ones anew: {total(again)}"
    return [*lines, text]


def total(left: list[float | None]) -> str:
    """`about 2m05s`, or what is known of it."""
    known = [seconds for seconds in left if seconds is not None]
    text = f"about {format_seconds(sum(known))}" if known or not left else "cost unknown"
    if known and len(known) < len(left):
        text += f", and {len(left) - len(known)} runs of unknown cost"
    return text
