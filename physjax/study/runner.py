"""Run a study: what is missing of its grid, one run after another, each recorded when it ends.

A study may be killed at any moment. A run that has ended has a record in the study's folder and
is never run again; one that has not goes on from its last checkpoint; and a run that ended just
before the kill is only recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from physjax.study.screening import check_screening
from physjax.study.status import changed_runs, cost_model, run_status, validate
from physjax.study.views import with_views, without_views
from physjax.train import signals
from physjax.train.choices import resolve_choices
from physjax.train.loop import fit
from physjax.train.setup import TrainSetup


def run_study(
    name: str,
    study: Study,
    paths: Paths,
    console: Console | None = None,
    *,
    fresh: bool = False,
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

    Raises:
      UserError: it cannot be run as asked, and nothing was run; an OriginError where there is
        something to make anew and `fresh` was not asked for.
      Interrupted: a signal came.
    """
    runs = validate(study)
    check_screening(study, paths)
    folder = paths.study_folder(name)
    folder.check(study)
    busy: list[str] = []
    with (
        signals.caught() as caught,
        files.exclusive_lock(paths.runs_dir / name, "study"),
        files.exclusive_lock(folder.path, "study"),
    ):
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
                if caught.received:
                    raise Interrupted(caught.received, folder.path, "between two evaluations")
            for number, cell in enumerate(missing):
                assert costs is not None
                seconds = [
                    run_status(c, local[c], done, costs).remaining.seconds for c in missing[number:]
                ]
                display.begin(cell.name, len(done), seconds)
                try:
                    record = _run(cell, local[cell], display, fresh)
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
    again: Literal["no", "changed"] = "changed" if fresh else "no"
    try:
        record, failure = fit(config, console=display.console, fresh=again, in_study=True), None
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
    for cell, asked in missing.items():
        config = resolve_choices(asked, in_study=True)
        if config.data not in loaded:
            loaded[config.data] = data.load(config.data)
        here = loaded[config.data]
        TrainSetup(config, here.info, len(here.train))
        for other, record in done.items():
            if record.result is None or other.dataset != cell.dataset:
                continue
            facts = record.result.data
            mark, alike = facts.fingerprint, facts.image_size == here.info.image_size
            if alike and mark != here.info.fingerprint:
                raise RecordError(
                    f"the images of {cell.dataset} here ({here.info.source}, fingerprint "
                    f"{here.info.fingerprint[:12]}) are not those of the study's records "
                    f"({mark[:12]}): their runs cannot be compared; use the same copy"
                )
