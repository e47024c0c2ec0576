"""How a run shows what it is doing: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from physjax.train.output import steady


class Bar(ABC):
    """Lines of text, and on a terminal a bar below them. Use it as a context manager.

    Attributes:
      console: where both go; a second display on the same console shares its screen.
    """

    def __init__(self, title: str, total: int, console: Console | None, **fields: Any) -> None:
        self.console = console or Console(file=steady(sys.stdout), soft_wrap=True, highlight=False)
        self._title, self._total, self._fields = title, total, fields
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    @abstractmethod
    def columns(self) -> list[ProgressColumn]:
        """What stands right of the title."""

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            title = TextColumn("{task.description}")
            self._bar = Progress(title, BarColumn(), *self.columns(), console=self.console)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, **self._fields)
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
        """A line of text, above the bar if there is one."""
        self.console.print(text, style="bold yellow" if loud else None, markup=False)

    def move(self, completed: int, **fields: Any) -> bool:
        """Set the bar; False where there is none."""
        if self._bar is None or self._task is None:
            return False
        self._bar.update(self._task, completed=completed, **fields)
        return True


class Display(Bar):
    """Shows one run's progress over all its steps.

    On a terminal a bar with the time left, images/s, loss and accuracy; elsewhere a plain line now
    and then, so that a log stays readable.
    """

    def __init__(self, title: str, total_steps: int, console: Console | None = None) -> None:
        super().__init__(title, total_steps, console, figures="")
        self._started: tuple[float, int] | None = None
        self._last_line = time.monotonic()

    def columns(self) -> list[ProgressColumn]:
        return [
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        ]

    def step(
        self, step: int, images_per_second: float, loss: float, accuracy: float, note: str = ""
    ) -> None:
        """The run has done `step` steps; the figures are those of the epoch so far."""
        now = time.monotonic()
        if self._started is None:
            self._started = (now, step)
        figures = f"{images_per_second:,.0f} images/s  loss {loss:.3f}  accuracy {accuracy:.1%}"
        if note:
            figures = f"{figures}  {note}"
        if not self.move(step, figures=figures) and now - self._last_line > 30:
            self._last_line = now
            self.say(f"  step {step}/{self._total}  {figures}  {self._eta(now, step)}")

    def _eta(self, now: float, step: int) -> str:
        assert self._started is not None
        began, first = self._started
        if step == first:
            return ""
        seconds = (now - began) / (step - first) * (self._total - step)
        return f"about {format_seconds(seconds)} left"


def format_seconds(seconds: float) -> str:
    """`75` -> `1m15s`, `7300` -> `2h01m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"
