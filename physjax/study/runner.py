"""Run a study: what is missing of its grid, one run after another, each recorded when it ends.

A study may be killed at any moment. A run that has ended has a record in the study's folder and
is never run again; one that has not goes on from its last checkpoint; and a run that ended just
before the kill is only recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from physjax import data, files
from physjax.config import Config
from physjax.errors import Interrupted, NotFinite, UserError
from physjax.records import RecordError, RunFolder
from physjax.records.provenance import OriginError, way_out
from physjax.study.design import Cell, Study
from physjax.study.folder import StudyRecord, strip_machine_paths
from physjax.study.paths import Paths
from physjax.study.progress import StudyDisplay
from physjax.study.status import changed_runs, cost_model, run_status, validate
from physjax.study.views import with_views, without_views
from physjax.train import signals
from physjax.train.loop import fit
from physjax.train.setup import TrainSetup
from physjax.train.signals import Signals
from physjax.train.time_limit import TimeLimit


def run_study(
    name: str,
    study: Study,
    paths: Paths,
    console: Console | None = None,
    *,
    fresh: bool = False,
    time_limit: TimeLimit | None = None,
) -> dict[Cell, StudyRecord]:
    """Run what is missing of `study`; all its records.

    A run whose loss is not finite is recorded as failed, and the study goes on. A run that has
    ended is evaluated over the study's views too, where it names some; so is one that ended before
    it did, if its parameters are still there.

    Args:
      name: of the study.
      study: its grid.
      paths: where it lies on this machine.
      console: where its progress is shown.
      fresh: run those again whose record, or what has begun of them, was made by other code or
        under other settings of JAX. The others stay, and what is made anew is kept under another
        name.
      time_limit: at whose end all must be saved and this process have ended.

    Raises:
      UserError: it cannot be run as asked, and nothing was run; an OriginError where there is
        something to make anew and `fresh` was not asked for.
      Interrupted: a signal or the time limit came.
    """
    runs = validate(study)
    folder = paths.study_folder(name)
    folder.check(study)
    busy: list[str] = []
    limit = time_limit or TimeLimit()
    with (
        signals.caught() as caught,
        files.exclusive_lock(paths.runs_dir / name, "study"),
        files.exclusive_lock(folder.path, "study"),
    ):
        stop = partial(_stop, caught, limit, folder.path)
        folder.open(study)
        done = folder.read(runs, mixed=fresh)
        local = {cell: paths.localize(config, name) for cell, config in runs.items()}
        changed = changed_runs(local, done)
        if changed and not fresh:
            first, lines = next(iter(changed.items()))
            raise OriginError(
                f"{len(changed)} of {len(runs)} runs of the study in {folder.path} were not made "
                f"by what is here; of {first.name}, {'; '.join(lines)}; {way_out(lines)}"
            )
        done = {cell: record for cell, record in done.items() if cell not in changed}
        missing = [cell for cell in runs if cell not in done]
        _check_data({cell: local[cell] for cell in missing}, done)
        for cell in changed:
            folder.set_aside(cell)
        done = folder.read(runs)
        costs = cost_model(paths) if missing else None
        with StudyDisplay(name, len(runs), console) as display:
            display.say(f"study {name}: {len(runs)} runs, {len(done)} of them done")
            for cell in without_views(study, done):
                record = _evaluated_later(study, done[cell], local[cell], display)
                if record is not None:
                    folder.write(record)
                    done[cell] = record
                stop("between two evaluations")
            for number, cell in enumerate(missing):
                assert costs is not None
                seconds = [
                    run_status(c, local[c], done, costs).remaining.seconds for c in missing[number:]
                ]
                display.begin(cell.name, len(done), seconds)
                try:
                    record = _run(cell, local[cell], display, fresh, limit)
                    if without_views(study, {cell: record}):
                        record = with_views(study, record, local[cell])
                except files.Locked as error:
                    display.say(f"{cell.name} is left out for now: {error}", loud=True)
                    busy.append(cell.name)
                    continue
                folder.write(record)
                done[cell] = record
                if record.result is not None:
                    costs.add(record.config, record.result)
                display.end(len(done))
                is_last = number + 1 == len(missing)
                stop(f"after {len(done)} of {len(runs)} runs", is_last=is_last)
    if busy:
        raise files.Locked(
            f"other processes are at work on {', '.join(busy)}; the same command again, when they "
            "have ended, completes the study"
        )
    return {cell: done[cell] for cell in runs}


def _stop(
    signals: Signals, limit: TimeLimit, folder: Path, done: str, is_last: bool = False
) -> None:
    """Raise Interrupted where a signal came, or the time is up for what is left."""
    received = signals.received or (0 if is_last else limit.cause())
    if received:
        raise Interrupted(received, folder, done)


def _run(
    cell: Cell, config: Config, display: StudyDisplay, fresh: bool, time_limit: TimeLimit
) -> StudyRecord:
    again: Literal["no", "changed"] = "changed" if fresh else "no"
    try:
        record = fit(
            config, console=display.console, fresh=again, in_study=True, time_limit=time_limit
        )
        failure = None
    except NotFinite as error:
        # A fact about the arm, not about the study: the others are still worth their time.
        display.say(f"{cell.name} failed: {error}", loud=True)
        # Without what to do about it and where, which is of this machine.
        record, failure = RunFolder.of(config).read(), error.reason
    # The config is the grid's: what reads a study knows no laws and compares values as they are.
    return strip_machine_paths(cell, replace(record, config=config), failure)


def _evaluated_later(
    study: Study, record: StudyRecord, config: Config, display: StudyDisplay
) -> StudyRecord | None:
    """`record` with its accuracy over the study's views; None where it cannot be had any more."""
    try:
        return with_views(study, record, config)
    except UserError as error:
        display.say(
            f"{record.cell.name} has no accuracy over the views {study.tta!r}: {error}; to have it "
            "trained again, remove its record",
            loud=True,
        )
        return None


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
        TrainSetup(config, here.info, len(here.train))
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
