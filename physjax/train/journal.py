"""What a run saves while it trains: its checkpoints, and the lines of metrics.jsonl.

They belong together: a checkpoint knows the lines that were there when it was saved, and a run goes
on only from one whose lines are still those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from physjax.records import EpochRecord, Line, RunFolder, best_epoch, digest
from physjax.train import multihost
from physjax.train.checkpoint import Checkpoints
from physjax.train.state import TrainState


class Journal:
    """The checkpoints and epochs of one run; the first host writes, and all hold the same.

    Args:
      folder: of the run, open and locked by the caller.
      log: takes lines of text, with `loud=True` those that must not be missed.
      minutes: from one checkpoint within an epoch to the next.

    Attributes:
      lines: of metrics.jsonl.
    """

    def __init__(self, folder: RunFolder, log: Callable[..., None], minutes: float) -> None:
        self.folder, self._log, self._minutes = folder, log, minutes
        self.lines: list[Line] = []
        self._last_save = time.monotonic()
        self._checkpoints = Checkpoints(folder.checkpoints, self._best_step)

    @property
    def epochs(self) -> list[EpochRecord]:
        """Those that are in metrics.jsonl."""
        return [line.epoch for line in self.lines]

    def restore(self, like: TrainState) -> TrainState | None:
        """The state of the last checkpoint that is whole; None where the run begins.

        Lines that came after it are dropped. `like` has the structure, shapes and shardings wanted.

        Raises:
          CheckpointError: there are checkpoints, but none that can be used.
        """
        lines = self.folder.read_lines()
        disagreed = []

        def accept(about: Mapping[str, Any]) -> str:
            problem = _disagreement(about, lines)
            disagreed.append(problem != "")
            return problem

        saved = self._checkpoints.restore(like, accept=accept)
        if saved is None and lines:
            self._log(
                f"there is no checkpoint in {self.folder.checkpoints}: the run begins anew",
                loud=True,
            )
        # The line of the epoch that the checkpoint ends came after it. It is kept, for its times,
        # unless other lines are known to be wrong: then that epoch is evaluated again.
        end = (0 if saved is None else int(saved.step)) - any(disagreed)
        self.lines = [line for line in lines if line.epoch.step <= end]
        if multihost.is_lead_host():
            self.folder.keep_lines(self.lines)
        self._last_save = time.monotonic()
        return saved

    def append(self, record: EpochRecord) -> None:
        """Add an epoch's line."""
        lead = multihost.is_lead_host()
        self.lines.append(self.folder.append_epoch(record) if lead else Line("", record))

    def save(self, state: TrainState, step: int) -> bool:
        """Begin to write a checkpoint of `state`; False where its step has one."""
        about = {"lines": len(self.lines), "records": digest(self.lines)}
        is_new = self._checkpoints.save(state, step, about)
        self._last_save = time.monotonic()
        return is_new

    def should_save(self, now: bool = False) -> bool:
        """Whether the last checkpoint is `minutes` old, or `now` is set, on any host."""
        wanted = now or time.monotonic() - self._last_save > 60 * self._minutes
        return multihost.allmax(wanted) > 0

    def wait(self) -> None:
        """Wait until the checkpoints are on the disk. Raises CheckpointError where that fails."""
        self._checkpoints.wait()

    def close(self) -> None:
        """Wait for what is being written, and end. Raises CheckpointError as :meth:`wait` does."""
        self._checkpoints.close()

    def _best_step(self) -> int | None:
        """The step of the epoch to keep: the test set has no say in it."""
        best = best_epoch(self.epochs)
        return None if best is None else best.step


def _disagreement(about: Mapping[str, Any], lines: tuple[Line, ...]) -> str:
    """Why a run cannot go on from a checkpoint with these lines of metrics.jsonl; "": it can."""
    wanted = int(about["lines"])
    if len(lines) < wanted:
        return f"metrics.jsonl has {len(lines)} sound lines, and {wanted} belong to it"
    if digest(lines[:wanted]) != about["records"]:
        return f"the first {wanted} lines of metrics.jsonl are not those it was saved with"
    return ""
