"""What a command tells its user, instead of a traceback."""

from __future__ import annotations

import signal
from pathlib import Path


class UserError(ValueError):
    """Something asked for cannot be done; the message names it and the way out."""


class NotFinite(ArithmeticError):
    """The loss became infinite or not a number; the message says at which step."""


class Interrupted(Exception):
    """SIGINT or SIGTERM came, and the work is saved."""

    def __init__(self, number: int, folder: Path, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} at step {step}; the same command goes on "
            f"from there ({folder})"
        )
        self.exit_code = 128 + number
        """128 + the signal's number, as a shell reports a process that a signal ended."""
