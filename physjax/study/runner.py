"""Run a study: what is missing of its grid, one run after another, each recorded when it ends.

A study may be killed at any moment. A run that has ended has a record in the study's folder and
is never run again; one that has not goes on from its last checkpoint; and a run that ended just
before the kill is only recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.console import Console

from physjax import data, files
from physjax.config import Config
from physjax.errors import Interrupted, NotFinite
from physjax.records import RecordError, RunFolder
from physjax.records.provenance import OriginError, way_out
from physjax.study.cost import CostModel
from physjax.study.design import Cell, Study
from physjax.study.ended import evaluate_ended, evaluate_later, not_evaluated
from physjax.study.folder import StudyFolder, StudyRecord, strip_machine_paths
from physjax.study.paths import Paths
from physjax.study.progress import StudyDisplay
from physjax.study.screening import check_screening
from physjax.study.shards import Claim, Claims, Shard
from physjax.study.status import changed_runs, cost_model, run_status, validate
from physjax.study.watch import StopWhenLost
from physjax.train import signals
from physjax.train.checkpoint import has_checkpoint
from physjax.train.choices import resolve_choices
from physjax.train.loop import fit
from physjax.train.setup import TrainSetup
from physjax.train.time_limit import TimeLimit
from physjax.train.weights.given import GivenWeights, find_weights

_PATIENCE = 600.0
"""Seconds that a shard waits for others, which look at the study before they begin, as it does."""


def run_study(
    name: str,
    study: Study,
    paths: Paths,
    console: Console | None = None,
    *,
    fresh: bool = False,
    time_limit: TimeLimit | None = None,
    shard: Shard | None = None,
) -> dict[Cell, StudyRecord]:
    """Run what is missing of `study`; all its records.

    A run whose loss is not finite is recorded as failed, and the study goes on. A run that has
    ended is evaluated over the study's views and under its corruptions too, where it names some; so
    is one that ended before it did, if its parameters are still there.

    Args:
      name: of the study.
      study: its grid.
      paths: where it lies on this machine.
      console: where its progress is shown.
      fresh: run those again whose record, or what has begun of them, was made by other code or
        under other settings of JAX. The others stay, and what is made anew is kept under another
        name.
      time_limit: at whose end all must be saved and this process have ended.
      shard: of several processes that share the study; None: this is the only one. Then the
        records may lack runs that others are still at work on.

    Raises:
      UserError: it cannot be run as asked, and nothing was run; an OriginError where there is
        something to make anew and `fresh` was not asked for.
      Interrupted: a signal or the time limit came.
    """
    runs = validate(study)
    check_screening(study, paths)
    folder = paths.study_folder(name)
    folder.check(study)
    local = {cell: paths.localize(config, name) for cell, config in runs.items()}
    limit = time_limit or TimeLimit()
    seconds = 0.0 if shard is None else _PATIENCE
    with signals.caught() as caught, contextlib.ExitStack() as alone:
        alone.enter_context(files.exclusive_lock(paths.runs_dir / name, "study", seconds))
        alone.enter_context(files.exclusive_lock(folder.path, "study", seconds))
        done = _prepare(study, folder, runs, local, fresh)
        if shard is not None:
            # From here on the claims on single runs are enough.
            alone.close()
        work = _Work(study, folder, runs, local, done, fresh, limit, caught)
        costs = cost_model(paths) if len(done) < len(runs) else None
        with StudyDisplay(name, len(runs), console) as display:
            display.say(f"study {name}: {len(runs)} runs, {len(done)} of them done")
            work.evaluate_ended(display)
            order = (shard or Shard(1, 1)).order(list(runs))
            again = costs is not None
            while again and costs is not None:
                # A shard looks again: others may have been stopped meanwhile.
                again = work.run_missing(order, display, costs) and shard is not None
    busy = [cell.name for cell in runs if cell not in done]
    if busy and shard is None:
        raise files.Locked(
            f"other processes are at work on {', '.join(busy)}; the same command again, when they "
            "have ended, completes the study"
        )
    return {cell: done[cell] for cell in runs if cell in done}


def _prepare(
    study: Study,
    folder: StudyFolder,
    runs: Mapping[Cell, Config],
    local: Mapping[Cell, Config],
    fresh: bool,
) -> dict[Cell, StudyRecord]:
    """Open the study's folder, with nothing in it that must be made anew; the records there are."""
    folder.open(study)
    done = folder.read(runs, mixed=fresh)
    changed = changed_runs(local, done)
    if changed and not fresh:
        first, lines = next(iter(changed.items()))
        raise OriginError(
            f"{len(changed)} of {len(runs)} runs of the study in {folder.path} were not made "
            f"by what is here; of {first.name}, {'; '.join(lines)}; {way_out(lines)}"
        )
    kept = {cell: record for cell, record in done.items() if cell not in changed}
    _check_data({cell: local[cell] for cell in runs if cell not in kept}, kept)
    for cell in changed:
        # Of others nothing is there, or what another shard has made anew since.
        if cell in done:
            folder.set_aside(cell)
    return folder.read(runs)


@dataclass
class _Work:
    """What one process does of a study; `done` grows, by this process and by others."""

    study: Study
    folder: StudyFolder
    runs: Mapping[Cell, Config]
    local: Mapping[Cell, Config]
    done: dict[Cell, StudyRecord]
    fresh: bool
    limit: TimeLimit
    caught: signals.Signals

    def __post_init__(self) -> None:
        self.claims = Claims(self.folder.path / "claims")

    def evaluate_ended(self, display: StudyDisplay) -> None:
        """Evaluate those that have ended in the ways that the study asks for, where missing."""
        for cell in not_evaluated(self.study, self.done, self.folder):
            with self.claims.held(cell.name) as claim:
                if claim is not None:
                    record = evaluate_later(
                        self.study,
                        self.done[cell],
                        self.local[cell],
                        self.folder,
                        poll=self._stop_evaluating,
                        say=lambda text: display.say(text, loud=True),
                    )
                    if record != self.done[cell]:
                        self._keep(record)
            self._stop_evaluating()

    def run_missing(self, order: Sequence[Cell], display: StudyDisplay, costs: CostModel) -> bool:
        """Carry out what is missing and nobody else is at work on; whether there was any."""
        ran = False
        for number, cell in enumerate(order):
            if self._is_done(cell):
                continue
            with self.claims.held(cell.name) as claim:
                # It may have ended between the look above and the claim.
                if claim is None or self._is_done(cell):
                    continue
                missing = [c for c in order[number:] if c not in self.done]
                seconds = [
                    run_status(c, self.local[c], self.done, costs).remaining.seconds
                    for c in missing
                ]
                display.begin(cell.name, len(self.done), seconds)
                try:
                    record = self._run(cell, claim, display)
                except files.Locked as error:
                    display.say(f"{cell.name} is left out for now: {error}", loud=True)
                    continue
                self._keep(record)
                ran = True
            if record.result is not None:
                costs.add(record.config, record.result)
            display.end(len(self.done))
            ended = f"after {len(self.done)} of {len(self.local)} runs"
            self._stop(ended, is_last=len(missing) == 1)
        return ran

    def _is_done(self, cell: Cell) -> bool:
        """Whether a run has a record, of another process too."""
        if cell not in self.done and self.folder.record_file(cell).exists():
            self.done.update(self.folder.read({cell: self.runs[cell]}, mixed=True))
        return cell in self.done

    def _keep(self, record: StudyRecord) -> None:
        self.folder.write(record)
        self.done[record.cell] = record
        self.limit.progress = True

    def _run(self, cell: Cell, claim: Claim, display: StudyDisplay) -> StudyRecord:
        config = self.local[cell]
        again: Literal["no", "changed"] = "changed" if self.fresh else "no"
        try:
            record = fit(
                config,
                callbacks=[StopWhenLost(claim)],
                console=display.console,
                fresh=again,
                in_study=True,
                time_limit=self.limit,
            )
            failure = None
        except NotFinite as error:
            # A fact about the arm, not about the study: the others are still worth their time.
            display.say(f"{cell.name} failed: {error}", loud=True)
            # Without what to do about it and where, which is of this machine.
            record, failure = RunFolder.of(config).read(), error.reason
        # The config is the grid's: what reads a study knows no laws and compares values as they
        # are.
        kept = strip_machine_paths(cell, replace(record, config=config), failure)
        return evaluate_ended(self.study, kept, config, self.folder, poll=self._stop_evaluating)

    def _stop_evaluating(self) -> None:
        self._stop("between two evaluations")

    def _stop(self, done: str, is_last: bool = False) -> None:
        """Raise Interrupted where a signal came, or the time is up for what is left."""
        received = self.caught.received or (0 if is_last else self.limit.cause())
        if received:
            raise Interrupted(received, self.folder.path, done)


def _check_data(missing: Mapping[Cell, Config], done: Mapping[Cell, StudyRecord]) -> None:
    """Load each data set once, so that what cannot be run is said before anything is.

    Raises UserError where a data set cannot be had, where a batch does not fit it, where a network
    cannot start from its weights, and where the study's records were made with other images of the
    same name.
    """
    loaded: dict[object, data.Dataset] = {}
    begun: set[object] = set()
    for cell, asked in missing.items():
        config = resolve_choices(asked, in_study=True)
        if config.data not in loaded:
            loaded[config.data] = data.load(config.data)
        here = loaded[config.data]
        setup = TrainSetup(config, here.info, len(here.train))
        kind = (config.model, config.law, config.rule, config.data)
        if kind not in begun and not has_checkpoint(RunFolder.of(asked).checkpoints):
            GivenWeights(setup, find_weights(config)).read()
            begun.add(kind)
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
