"""How a study shows what it is doing: one bar over all its runs with the time left, or lines."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.text import Text

from physjax.train.progress import Bar, format_seconds


class StudyDisplay(Bar):
    """Shows a study's progress; the run at hand shows its own below it, on the same `console`."""

    def __init__(self, title: str, runs: int, console: Console | None = None) -> None:
        super().__init__(title, runs, console)
        self._runs = runs
        self._clock = _Clock()

    def columns(self) -> list[ProgressColumn]:
        return [MofNCompleteColumn(), _TimeLeft(self._clock)]

    def begin(self, run: str, done: int, left: Sequence[float | None]) -> None:
        """A run begins; `left` are the predicted seconds of it and of all that follow."""
        self._clock.set(left)
        self.say(f"run {done + 1} of {self._runs}: {run}; {self._clock.text()}")
        self.move(done)

    def end(self, done: int) -> None:
        """`done` runs have ended."""
        self.move(done)


class _Clock:
    """The time left: what was predicted, less what has passed, run by run."""

    def __init__(self) -> None:
        self.set([])

    def set(self, left: Sequence[float | None]) -> None:
        self._began, self._left = time.monotonic(), left

    def text(self) -> str:
        known = [seconds for seconds in self._left if seconds is not None]
        if not known:
            return "time left unknown: no record of such a run yet" if self._left else ""
        seconds = sum(known)
        if self._left[0] is not None:
            # A run that takes longer than predicted does not eat up the time of the others.
            seconds -= min(time.monotonic() - self._began, self._left[0])
        unknown = len(self._left) - len(known)
        more = f", and {unknown} runs of unknown cost" if unknown else ""
        return f"about {format_seconds(seconds)} left{more}"


class _TimeLeft(TextColumn):
    """The study's own forecast; rich's would take all runs for equal."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__("")
        self._clock = clock

    def render(self, task: Task) -> Text:
        return Text(self._clock.text())
