"""How a study shows what it is doing: one bar over all its runs with the time left, or lines."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import MofNCompleteColumn

from physjax.train.progress import Bar, format_seconds


class StudyDisplay(Bar):
    """Shows a study's progress; the run at hand shows its own below it, on the same `console`."""

    def __init__(self, title: str, runs: int, console: Console | None = None) -> None:
        self._runs, self._clock = runs, _Clock()
        super().__init__(title, runs, console, MofNCompleteColumn(), self._clock.short)

    def begin(self, run: str, done: int, seconds: Sequence[float | None]) -> None:
        """A run begins; `seconds` are predicted, of it and of all that follow."""
        self._clock.set(seconds)
        self.say(f"run {done + 1} of {self._runs}: {run}; {self._clock.text()}")
        self.move(completed=done)

    def end(self, done: int) -> None:
        """`done` runs have ended."""
        self.move(completed=done)


class _Clock:
    """The time left: what was predicted, less what has passed, run by run."""

    def __init__(self) -> None:
        self.set([])

    def set(self, seconds: Sequence[float | None]) -> None:
        self._began, self._left = time.monotonic(), seconds

    def text(self) -> str:
        """The forecast in full: what is unknown, and how many runs that is."""
        seconds, unknown = self._known()
        if seconds is None:
            return "time left unknown: no record of such a run yet" if unknown else ""
        more = f", and {unknown} runs of unknown cost" if unknown else ""
        return f"about {format_seconds(seconds)} left{more}"

    def short(self) -> str:
        """The forecast in 18 letters, for the bar."""
        seconds, unknown = self._known()
        if seconds is None:
            return "time left unknown" if unknown else ""
        return f"{'over' if unknown else 'about'} {format_seconds(seconds)} left"

    def _known(self) -> tuple[float | None, int]:
        """The seconds of all runs whose cost is known, None without any; and how many are not."""
        known = [seconds for seconds in self._left if seconds is not None]
        unknown = len(self._left) - len(known)
        if not known:
            return None, unknown
        seconds = sum(known)
        if self._left[0] is not None:
            # A run that takes longer than predicted does not eat up the time of the others.
            seconds -= min(time.monotonic() - self._began, self._left[0])
        return seconds, unknown
