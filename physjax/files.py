"""Files that are whole or not there, text that is UTF-8 everywhere, and one process a folder.

A reader, a crash and a full disk find the old content of a file or the new one, never half of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import secrets
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import filelock

from physjax.errors import UserError

LOCK = ".lock"
"""The file that :func:`exclusive_lock` holds, in the folder that it guards."""

# Of no length of its own: a name that is just short enough stays so.
_TEMPORARY = ".physjax-{}.tmp"
_OURS = re.compile(r"\.physjax-[0-9a-f]{16}\.tmp")


class FileError(UserError):
    """A file that cannot be read or written; the message names it and says why."""


class Locked(UserError):
    """Another process is at work in a folder; the message says which one."""


@contextmanager
def naming(path: Path, verb: str = "written") -> Iterator[None]:
    """Raise FileError, which names the file, where the system refuses (disk full, no permission).

    Args:
      path: named where the system's own error names no file.
      verb: what cannot be done with it, e.g. "read".
    """
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str | os.PathLike) else path
        if is_temporary(Path(named)):
            named = path
        reason = error.strerror or str(error)
        raise FileError(f"{os.fspath(named)} cannot be {verb}: {reason}") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write to, which becomes `path` when the block ends well.

    It lies in the same folder, which is made, and is on the disk before it replaces what was at
    `path`. Whatever is raised, `path` stays as it was and nothing lies beside it; after a kill a
    temporary file may, which :func:`is_temporary` knows and nothing is disturbed by.

    Raises:
      FileError: the disk is full, or the folder may not be written.
    """
    temporary = path.with_name(_TEMPORARY.format(secrets.token_hex(8)))
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not tempfile's: its files can be read by their owner alone.
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file, as UTF-8 where it is text, so that it is there whole or not at all.

    Raises:
      FileError: the disk is full, or the folder may not be written.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def append_line(path: Path, line: str) -> None:
    """Add a line of UTF-8 text, given without its newline, to a file; it is on the disk then.

    A kill may leave a part of the line, without the newline.

    Raises:
      FileError: the disk is full, or the file may not be written.
    """
    with naming(path), path.open("ab") as file:
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
      FileError: it is not there, may not be read, or is not UTF-8.
    """
    with naming(path, "read"):
        data = path.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 text ({error})") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the file system knows how."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether a kill has left this file behind, or a process is about to replace another by it."""
    return _OURS.fullmatch(path.name) is not None


def is_empty(folder: Path) -> bool:
    """Whether there is nothing of anybody's in a folder: no lock and no leftover counts."""
    # Hidden files that end in .tmp: earlier versions had other names for the temporary ones.
    return all(
        p.name == LOCK or (p.name.startswith(".") and p.name.endswith(".tmp"))
        for p in folder.iterdir()
    )


def remove_leftovers(folder: Path, seconds: float = 0.0) -> None:
    """Remove what processes that were killed while they wrote have left in a folder.

    Args:
      folder: only files directly in it are removed.
      seconds: how long such a file must not have changed. With 0 nobody else may be writing there:
        call it under the folder's lock.
    """
    for path in folder.iterdir():
        if is_temporary(path):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime >= seconds:
                    path.unlink()


def free_name(path: Path) -> Path:
    """`path` with .old-1 at its end, or the first number that nothing is called by."""
    number = 1
    while (aside := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    return aside


@contextmanager
def exclusive_lock(folder: Path, what: str, seconds: float = 0.0) -> Iterator[None]:
    """Be the only process that works in a folder, which is made if need be.

    The system lets go of the lock when the process ends, however it does. The file stays.

    Args:
      folder: what is guarded.
      what: how a message calls it, e.g. "run".
      seconds: to wait for another process to end.

    Raises:
      Locked: another process is at work there; its host, number and start are named.
      FileError: the folder may not be written.
    """
    path = folder / LOCK
    lock = filelock.FileLock(path, timeout=seconds, fallback_to_soft=False)
    with naming(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise Locked(
                f"the {what} in {folder} is being worked on by {_owner(path)}; wait for it, or "
                "stop it"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            warnings.warn(
                f"the file system of {folder} has no locks: take care that only one process "
                f"works on this {what}",
                RuntimeWarning,
                stacklevel=3,
            )
    try:
        if lock.is_locked:
            with naming(path):
                path.write_text(
                    json.dumps(
                        {
                            "host": platform.node(),
                            "pid": os.getpid(),
                            "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
                        }
                    ),
                    encoding="utf-8",
                )
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        # It has taken the lock this very moment, and not said yet who it is.
        return "another process"
