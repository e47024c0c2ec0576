"""Standard output and error that no result depends on: closed, broken or full, work goes on."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class _Nowhere(io.TextIOBase):
    """What is written to it is gone."""

    def write(self, text: str) -> int:
        return len(text)


class _Steady:
    """A text stream whose writes never fail; what cannot be written is dropped."""

    def __init__(self, stream: TextIO, *, own: bool) -> None:
        self._stream = stream
        self._own = own
        self.gone = False
        """Whether nobody reads it any more."""

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            code = self._stream.encoding
            self.write(text.encode(code, "replace").decode(code))
        except (OSError, ValueError):
            self._give_up()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        """Send this stream nowhere from now on, with what is still in its buffer: the interpreter
        flushes it at its end, and would end with another exit code."""
        self.gone = True
        if not self._own:
            return
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def steady(stream: TextIO | None) -> TextIO:
    """`stream`, or nothing where there is none, so that writing to it raises no error."""
    if isinstance(stream, _Steady):
        return stream
    return cast(TextIO, _Steady(stream or cast(TextIO, _Nowhere()), own=False))


@contextmanager
def settled() -> Iterator[None]:
    """Make the standard streams of a command's process steady while inside.

    Where the command was started without one of the first three files, the next file that is opened
    would take its number, and what a library prints there would land in that file.
    """
    _fill()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        cast(TextIO, _Steady(stream or cast(TextIO, _Nowhere()), own=True)) for stream in before
    )
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _fill() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
