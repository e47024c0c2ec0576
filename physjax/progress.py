"""How a run shows what it is doing: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Display:
    """Shows one run's progress over all its steps.

    On a terminal a bar with the time left, images/s, loss and accuracy; elsewhere a plain line now
    and then, so that a log stays readable. Use it as a context manager.
    """

    def __init__(self, title: str, total_steps: int, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout, soft_wrap=True, highlight=False)
        self._title = title
        self._total = total_steps
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started: tuple[float, int] | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f}%"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, figures="")
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
        self._console.print(text, style="bold yellow" if loud else None, markup=False)

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
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, figures=figures)
        elif now - self._last_line > 30:
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
