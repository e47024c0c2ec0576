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


class Interrupted(Exception):
    """A signal came, and the work is saved.

    Args:
      number: the signal's.
      folder: where the work is.
      done: how far it has come, e.g. "at step 12".
    """

    def __init__(self, number: int, folder: Path, done: str) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} {done}; the same command goes on from "
            f"there ({folder})"
        )
        self.exit_code = 128 + number
        """128 + the signal's number, as a shell reports a process that a signal ended."""
