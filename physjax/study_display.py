"""How a study shows what it is doing: one bar over all its runs with the time left, or lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn
from rich.text import Text

from physjax.progress import format_seconds


class StudyDisplay:
    """Shows a study's progress; the run at hand shows its own below it, on the same `console`."""

    def __init__(self, title: str, runs: int, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout, soft_wrap=True, highlight=False)
        self._title, self._runs = title, runs
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._clock = _Clock()

    def __enter__(self) -> StudyDisplay:
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _TimeLeft(self._clock),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._runs)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str, *, loud: bool = False) -> None:
        """A line of text."""
        self.console.print(text, style="bold yellow" if loud else None, markup=False)

    def begin(self, run: str, done: int, left: Sequence[float | None]) -> None:
        """A run begins; `left` are the predicted seconds of it and of all that follow."""
        self._clock.set(left)
        self.say(f"run {done + 1} of {self._runs}: {run}; {self._clock.text()}")
        self._update(done)

    def end(self, done: int) -> None:
        """`done` runs have ended."""
        self._update(done)

    def _update(self, done: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)


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
