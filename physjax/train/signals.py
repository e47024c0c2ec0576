"""Signals that ask a run to stop, remembered until it is at a place where it can.

The first one is remembered; the run saves and stops at its next step. A second one ends the
process at once, even in the middle of minutes of compiling; in a notebook or an interactive shell
a second Ctrl-C ends the call alone. SIGUSR1 is a batch system's warning that its SIGTERM will
follow: it is no first signal, nor ever a second one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGQUIT")
    if hasattr(signal, name)
)
"""Ctrl-C; a polite end; a terminal that is gone; a batch system's warning; Ctrl-\\."""

WARNING: int | None = getattr(signal, "SIGUSR1", None)

TOGETHER = 1.0
"""Seconds within which several signals are one: a hang-up comes from the kernel and from the shell,
Ctrl-C from the terminal and from whatever started the command."""


class Signals:
    """The signal that came, if one did."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._first = 0.0
        self._warned = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is None:
            self.received = number
        elif (
            number == signal.SIGINT
            and _is_interactive()
            and time.monotonic() - self._first > TOGETHER
        ):
            raise KeyboardInterrupt

    def _watch(self, source: int, before: int) -> None:
        """Read the number of every signal as it comes, whatever the main thread is doing."""
        while data := os.read(source, 64):
            if before != -1:
                with contextlib.suppress(OSError):
                    os.write(before, data)
            now = time.monotonic()
            for number in data:
                if number not in NUMBERS:
                    continue
                if not self._first:
                    self._first, self._warned = now, number == WARNING
                    self.received = number
                    _tell(f"{signal.Signals(number).name}: saving, then stopping; again: at once")
                elif number == WARNING:
                    continue
                elif self._warned:
                    self._first, self._warned = now, False
                    _tell(f"{signal.Signals(number).name}: still saving; again: at once")
                elif now - self._first > TOGETHER and not (
                    number == signal.SIGINT and _is_interactive()
                ):
                    _tell(f"{signal.Signals(number).name} again: stopped at once")
                    os._exit(128 + number)


def _is_interactive() -> bool:
    """Whether somebody types at this process, a notebook's too: then Ctrl-C must not end it."""
    return hasattr(sys, "ps1")


def _tell(text: str) -> None:
    # Not through a stream: the main thread may be in the middle of writing to it.
    with contextlib.suppress(OSError):
        # A progress bar has hidden the cursor, and may not come to show it again.
        shown = "\x1b[?25h" if os.isatty(2) else ""
        os.write(2, f"{shown}\n{text}\n".encode())


_active: Signals | None = None


@contextmanager
def caught() -> Iterator[Signals]:
    """Remember signals while inside, in the process's main thread; within another such block, the
    same ones.

    A signal that the process was started to ignore, as `nohup` does with hang-ups, stays ignored.
    """
    global _active
    # Python allows handlers in the main thread alone; elsewhere the caller decides.
    if _active is not None or threading.current_thread() is not threading.main_thread():
        yield _active or Signals()
        return
    _active = signals = Signals()
    handlers = {n: signal.getsignal(n) for n in NUMBERS}
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    before = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    watcher = threading.Thread(
        target=signals._watch, args=(source, before), name="signals", daemon=True
    )
    watcher.start()
    try:
        for number, handler in handlers.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, signals._handle)
        yield signals
    finally:
        for number, handler in handlers.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(sink)
        watcher.join()
        os.close(source)
        _active = None


_AGAIN = 0.01


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """While inside, no Ctrl-C is lost.

    Where it reaches Python in a callback of the garbage collector, as JAX has one, or in a
    finaliser, KeyboardInterrupt cannot be passed on: it is printed and forgotten. Then it is sent
    again, after `_AGAIN` seconds, when the callback has ended.
    """
    before = sys.unraisablehook
    waiting: list[threading.Timer] = []

    def again(lost: sys.UnraisableHookArgs) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        timer = threading.Timer(_AGAIN, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        waiting.append(timer)
        timer.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in waiting:
            timer.cancel()
