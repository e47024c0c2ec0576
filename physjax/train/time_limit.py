"""The time that a batch system gives a process, and what of it must be left for saving.

A :class:`TimeLimit` does not guess. It measures what a checkpoint costs here, from the first one of
this process, and how long training goes on without looking up.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from physjax.errors import TIME_LIMIT, UserError

_LONGEST = 366 * 24 * 3600
_RESERVE = 5.0
"""Seconds kept for what is not measured: the end of Python and JAX, a file system that is slow for
once."""

_UNITS = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds: of `5400`, `90m`, `1h30m`, `2d`, and as SLURM writes it `1:30:00`, `2-00:00:00`.

    Raises:
      UserError: it is none of these, or not from a second to 366 days.
    """
    match = _CLOCK.fullmatch(text) or _UNITS.fullmatch(text)
    if match is None or not any(match.groups()):
        # SLURM's 2:30 is minutes, and would be read as hours by many.
        raise UserError(
            f"{text!r} is no duration; give seconds, or 90m, 1h30m, 2d, 2:30:00, 1-12:00:00"
        )
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not 1 <= total <= _LONGEST:
        raise UserError(f"the duration {text!r} is not from a second to 366 days")
    return float(total)


def command_limit(text: str | None) -> TimeLimit:
    """The limit that an option gives, from the start of this process; None: there is none.

    Raises UserError as :func:`parse_duration` does.
    """
    try:
        return TimeLimit(None if text is None else parse_duration(text), process=True)
    except UserError as error:
        raise UserError(f"--time-limit: {error}") from None


class TimeLimit:
    """Says when to save and stop, so that both are done within the limit.

    What is kept for that is twice the cost of a checkpoint, since one may be on its way to the disk
    already, twice the longest time that training went without a look at the clock, and five
    seconds.

    Args:
      seconds: from the start of this process, or with `process=False` from now; None: no limit.
      process: see `seconds`.
      clock: gives seconds.

    Attributes:
      seconds: the limit.
      progress: whether anything was saved since then that was not there before.
    """

    def __init__(
        self,
        seconds: float | None = None,
        *,
        process: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds, self.progress = seconds, False
        self._clock = clock
        self._began = clock() - (_process_age() if process else 0.0)
        self._saving: float | None = None
        self._gap, self._looked = 0.0, clock()

    @property
    def left(self) -> float:
        """Seconds until the limit; infinite without one."""
        return float("inf") if self.seconds is None else self.seconds - self._passed()

    @property
    def kept(self) -> float:
        """Seconds before the limit at which to save and stop, by what was measured so far."""
        return 2 * (self._saving or 0.0) + 2 * self._gap + _RESERVE

    @property
    def unmeasured(self) -> bool:
        """Whether there is a limit, and no checkpoint has shown yet what saving costs."""
        return self.seconds is not None and self._saving is None

    def cause(self) -> int:
        """TIME_LIMIT where it is time to save and stop; else 0."""
        return TIME_LIMIT if self.left <= self.kept else 0

    def begin(self) -> None:
        """Training begins, or goes on after something else."""
        self._looked = self._clock()

    def look(self) -> None:
        """The trainer looks up from training."""
        now = self._clock()
        self._gap, self._looked = max(self._gap, now - self._looked), now

    def save(self, write: Callable[[], bool], wait: Callable[[], None]) -> None:
        """Have a checkpoint written, and measure what it costs.

        Args:
          write: begins to write one; False where there was nothing to write.
          wait: waits until it is on the disk. Called for the first one alone, under a limit.
        """
        first, began = self.unmeasured, self._clock()
        if write():
            if first:
                wait()
            self._saving = max(self._saving or 0.0, self._clock() - began)
            self.progress = True
        self.begin()

    def check_progress(self) -> None:
        """Raise UserError where the limit has come before anything was saved.

        A job that is started again and again would come no further each time.
        """
        if not self.progress:
            raise UserError(
                f"the time limit of {self.seconds:g} s came before a step was saved: after "
                f"{self._passed():.0f} s, mostly of loading and compiling, {self.kept:.0f} s are "
                "kept for saving; give a longer --time-limit"
            )

    def _passed(self) -> float:
        return self._clock() - self._began


def _process_age() -> float:
    """Seconds since this process was started, as something else too: exec keeps its number.

    0.0 where the system does not tell.
    """
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    return 0.0
