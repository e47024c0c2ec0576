"""How a run shows what it is doing: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from physjax.train.output import steady

_BETWEEN_LINES = 30.0
"""Seconds, where there is no terminal."""

_RECENT = 61
"""Looks at the steps, of which the median is a run's pace: half a minute to half an hour of it."""


class Bar:
    """Lines of text, and on a terminal a bar below them. Use it as a context manager.

    The bar says what is going on, how far it is and how long it will take, in a line as wide as
    the terminal; `figures` stand in a line of their own below it.

    Attributes:
      console: where both go; a second display on the same console shares its screen.
    """

    def __init__(
        self,
        title: str,
        total: int,
        console: Console | None,
        count: ProgressColumn,
        left: Callable[[], str],
    ) -> None:
        """A bar over `total` pieces; `count` stands right of it, then what `left` says."""
        self.console = console or Console(file=steady(sys.stdout), soft_wrap=True, highlight=False)
        self._title, self._total = title, total
        self._columns = [count, _TimeLeft(left)]
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            columns = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=None)]
            self._bar = _TwoLines(*columns, *self._columns, console=self.console, expand=True)
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
        self.console.print(text, style="bold yellow" if loud else None, markup=False)

    def move(self, **values: Any) -> bool:
        """Set `completed`, `description` or `figures` of the bar; False where there is none.

        With `refresh=True` it is seen at once, else within a tenth of a second.
        """
        if self._bar is None or self._task is None:
            return False
        self._bar.update(self._task, **values)
        return True


class _TwoLines(Progress):
    """A line for the bar, and one for its figures, which may be cut."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["figures"]:
                yield Text(task.fields["figures"], no_wrap=True, overflow="ellipsis")


class _TimeLeft(ProgressColumn):
    """Our own forecast: rich's would take all pieces for equal, and pauses for none."""

    max_refresh = 0.5

    def __init__(self, left: Callable[[], str]) -> None:
        super().__init__()
        self._left = left

    def render(self, task: Task) -> Text:
        return Text(self._left(), no_wrap=True)


class Display(Bar):
    """Shows one run's progress over all its steps.

    On a terminal a bar with the time left, images/s, loss and accuracy, which also says when the
    run is not training but compiling, evaluating or saving; elsewhere a plain line now and then, so
    that a log stays readable.
    """

    def __init__(
        self,
        title: str,
        total_steps: int,
        console: Console | None = None,
        *,
        pause_every: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The display of the run `title`.

        Args:
          title: of the run.
          total_steps: when it has ended.
          console: where it is shown; None: standard output.
          pause_every: steps after which the run evaluates; 0: not known.
          clock: gives seconds.
        """
        super().__init__(
            title, total_steps, console, TextColumn("{task.percentage:3.0f}%"), self.time_left
        )
        self._clock, self._last_line = clock, clock()
        self._pace = Pace(total_steps, pause_every, clock)
        self._note, self._figures = "", title

    def phase(self, doing: str) -> None:
        """The run does something else from now on: `training`, `compiling`, `evaluating`, ..."""
        self._pace.phase(doing)
        if self._show(doing, refresh=True):
            return
        if doing == "compiling" or self._is_time():
            self._line(f"  {doing}")

    def step(
        self, step: int, images_per_second: float, loss: float, accuracy: float, note: str = ""
    ) -> None:
        """The run has done `step` steps; the figures are those of the epoch so far."""
        self._pace.step(step)
        self._note = note
        figures = f"{images_per_second:,.0f} images/s  loss {loss:.3f}  accuracy {accuracy:.1%}"
        self._figures = f"{figures}  {self._title}"
        if not self._show("training", completed=step) and self._is_time():
            parts = [f"step {step}/{self._total}", figures, note, self.time_left()]
            self._line(f"  {'  '.join(part for part in parts if part)}")

    def _show(self, doing: str, **values: Any) -> bool:
        description = f"{self._note} {doing}".strip()
        return self.move(description=description, figures=self._figures, **values)

    def time_left(self) -> str:
        """`about 4m08s left`, of the whole run; "" where it cannot be known yet."""
        seconds = self._pace.seconds_left()
        return "" if seconds is None else f"about {format_seconds(seconds)} left"

    def _is_time(self) -> bool:
        return self._clock() - self._last_line > _BETWEEN_LINES

    def _line(self, text: str) -> None:
        self._last_line = self._clock()
        self.say(text)


class Pace:
    """How fast a run goes: its steps, and the pauses in which it evaluates.

    They are measured apart, so that the time left is right once there was a pause, and does not
    jump with each of them. The pace is a median of late, which a job that was suspended, or a
    laptop that slept, for hours leaves as it is.
    """

    def __init__(self, total_steps: int, pause_every: int, clock: Callable[[], float]) -> None:
        self._total, self._every, self._clock = total_steps, pause_every, clock
        self._pausing = self._evaluated = False
        # When what goes on now began, or was last accounted for.
        self._since = clock()
        self._step: int | None = None
        self._saved = 0.0
        self._seconds_per_step: deque[float] = deque(maxlen=_RECENT)
        self._seconds_per_pause: deque[float] = deque(maxlen=_RECENT)

    def phase(self, doing: str) -> None:
        """From now on the run trains, evaluates or does something else, by these names."""
        now, pauses = self._clock(), doing != "training"
        if pauses and not self._pausing:
            self._since = now
        elif self._pausing and not pauses:
            if self._evaluated:
                self._seconds_per_pause.append(now - self._since)
            elif self._step is not None:
                # It saved, in the middle of an epoch.
                self._saved += now - self._since
            self._since, self._evaluated = now, False
        self._pausing = pauses
        self._evaluated |= doing == "evaluating"

    def step(self, step: int) -> None:
        """The run has done `step` steps, and goes on with them."""
        self.phase("training")
        now = self._clock()
        # The first steps of a session also wait for what comes before them.
        if self._step is not None and step > self._step:
            seconds = now - self._since + self._saved
            self._seconds_per_step.append(seconds / (step - self._step))
        self._step, self._since, self._saved = step, now, 0.0

    def seconds_left(self) -> float | None:
        """Until the last step is done and evaluated; None where it cannot be known yet."""
        if self._step is None or not self._seconds_per_step:
            return None
        steps_left = self._total - self._step
        seconds = steps_left * statistics.median(self._seconds_per_step)
        passed = self._clock() - self._since
        if self._every and (self._seconds_per_pause or self._evaluated):
            # The first evaluation has taken what it has taken so far.
            pause = statistics.median(self._seconds_per_pause or [passed])
            seconds += pause * (
                steps_left // self._every if self._pausing else math.ceil(steps_left / self._every)
            )
            if self._pausing:
                seconds += max(0.0, pause - passed)
        return seconds


def format_seconds(seconds: float) -> str:
    """`75` -> `1m15s`, `7300` -> `2h01m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"
