"""What a session's time is spent on, and the file that says so after a kill too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from physjax.records import RunFolder, Spent
from physjax.records.ledger import KINDS, Kind, Session, goodput, sum_up
from physjax.train import multihost
from physjax.train.progress import format_seconds

_BETWEEN_NOTES = 30.0
"""Seconds."""


class Stopwatch:
    """Seconds by what they were spent on; each second once, the innermost counts.

    Args:
      clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._kind: Kind = "other"
        self._since = clock()
        self.began = datetime.now().astimezone()

    @contextmanager
    def on(self, kind: Kind) -> Iterator[None]:
        """What is done inside counts as this."""
        before = self._switch(kind)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, kind: Kind) -> Kind:
        before, now = self._kind, self._clock()
        self._seconds[before] += now - self._since
        self._kind, self._since = kind, now
        return before

    def seconds(self) -> dict[str, float]:
        """So far, by kind."""
        self._switch(self._kind)
        return {kind: round(value, 3) for kind, value in self._seconds.items()}


class Ledger:
    """The sessions of one run, of which this process is the last; the first host writes.

    Args:
      folder: of the run, open and locked by the caller.
      spent: of this session.
    """

    def __init__(self, folder: RunFolder, spent: Stopwatch) -> None:
        self._folder, self._spent = folder, spent
        self._earlier = folder.read_sessions()
        self._first = self._lost = 0
        self._noted = 0.0

    def begin(self, step: int) -> None:
        """The session goes on from `step`."""
        before = self._earlier[-1].last_step if self._earlier else 0
        self._first, self._lost = step, max(0, before - step)
        self.note(step)

    def note_now_and_then(self, step: int) -> None:
        """Write how far the session has come, unless that is half a minute ago or less."""
        if time.monotonic() - self._noted > _BETWEEN_NOTES:
            self.note(step)

    def note(self, step: int) -> None:
        """Write how far the session has come: that step is done."""
        self._noted = time.monotonic()
        if multihost.is_lead_host():
            self._folder.write_sessions(self._sessions(step))

    def sum_up(self, step: int) -> Spent:
        """What all sessions come to, now that `step` is done."""
        return sum_up(self._sessions(step))

    def _sessions(self, step: int) -> tuple[Session, ...]:
        now = Session(
            began=self._spent.began.isoformat(timespec="milliseconds"),
            seconds=self._spent.seconds(),
            first_step=self._first,
            last_step=step,
            lost_steps=self._lost,
        )
        return (*self._earlier, now)


def describe(spent: Spent, steps: int) -> str:
    """In a line: `goodput 81% of 12m30s: steps 10m10s, compile 41s, ...; 1 restart, ...`."""
    whole = format_seconds(sum(spent.seconds.values()))
    parts = [
        f"{kind} {format_seconds(spent.seconds[kind])}"
        for kind in KINDS
        if spent.seconds.get(kind, 0.0) >= 0.5
    ]
    text = f"goodput {goodput(spent, steps):.0%} of {whole}"
    text += f": {', '.join(parts)}" if parts else ""
    if spent.restarts:
        text += (
            f"; {spent.restarts} restart{'s' * (spent.restarts > 1)}, {spent.lost_steps} steps "
            f"done twice, {format_seconds(spent.between)} between the sessions"
        )
    return text
