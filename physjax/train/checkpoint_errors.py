"""What a user is told of checkpoints that cannot be written or read, instead of what Orbax says."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import logging as absl_logging

from physjax.errors import UserError


class CheckpointError(UserError):
    """A checkpoint that cannot be written or read; the message names it and the way out."""


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "/orbax/" not in record.pathname.replace("\\", "/")


# One failure passes through several threads of Orbax, each of which logs it with a traceback. It is
# also raised, and told once, here. Asked for by its name before absl is imported, the logger would
# be one that does not know where a record comes from.
absl_logging.get_absl_logger().addFilter(_not_from_orbax)


@functools.cache
def ignore_late_answers() -> None:
    """When one array cannot be read, Orbax closes the event loop that TensorStore's other threads
    are about to answer; each of them would print a traceback."""
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


def check_path(folder: Path) -> None:
    """Raise CheckpointError where checkpoints below `folder` could not be read again.

    Orbax takes paths for patterns of names and TensorStore for addresses, neither with a way to say
    that a character stands for itself.
    """
    path = str(folder.absolute())
    forbidden = sorted(set(re.findall(r"[\\*?\[\]]", path)))
    forbidden += [part for part in folder.absolute().parts if part.endswith(":")]
    if not path.isprintable():
        forbidden += sorted({repr(c) for c in path if not c.isprintable()})
    if forbidden:
        raise CheckpointError(
            f"checkpoints in {path!r} could not be read again, because of "
            f"{' '.join(forbidden)} in it; choose another --name or --runs-dir"
        )


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever Orbax and TensorStore raise inside into a CheckpointError that begins so."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{what}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Why, in a line: TensorStore wraps the system's own words in several layers of its own."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    system = re.search(r"os_error_code='(\d+)'", str(error))
    if system:
        return os.strerror(int(system[1]))
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
