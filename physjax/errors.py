"""What a command tells its user, instead of a traceback."""

from __future__ import annotations

import signal
from pathlib import Path


class UserError(ValueError):
    """Something asked for cannot be done; the message names it and the way out."""


class Incomplete(UserError):
    """A part of what was asked for could not be done, and the rest is done."""


class NotFinite(ArithmeticError):
    """Something that must be a number became infinite or not a number.

    Attributes:
      step: the step at which it did, from 1.
      reason: that in words, without what to do about it.
    """

    def __init__(self, what: str, step: int, advice: str = "") -> None:
        self.step = step
        self.reason = f"{what} is not finite at step {step}"
        super().__init__(f"{self.reason}; {advice}" if advice else self.reason)


TIME_LIMIT = 1000
"""Stands for a signal's number where a time limit is what asks to stop."""
REQUEUE = 128 + signal.SIGTERM
"""The exit code by which a job file knows that the same command is to be run again."""


class Interrupted(Exception):
    """A signal or the time limit came, and the work is saved.

    Args:
      number: the signal's, or TIME_LIMIT.
      folder: where the work is.
      done: how far it has come, e.g. "at step 12".
    """

    def __init__(self, number: int, folder: Path, done: str) -> None:
        cause = "the time limit" if number == TIME_LIMIT else signal.Signals(number).name
        super().__init__(
            f"stopped by {cause} {done}; the same command goes on from there ({folder})"
        )
        batch = number in (TIME_LIMIT, getattr(signal, "SIGUSR1", None))
        self.exit_code: int = REQUEUE if batch else 128 + number
        """128 + the signal's number, as a shell reports a process that a signal ended; of a batch
        system, its SIGTERM, its warning and its time limit alike, REQUEUE."""
