"""Many processes on one study: which runs each of them begins with, and claims on single runs.

A claim is a file that a process makes before a run, keeps fresh while it works and removes at the
end. A file system must let one of two processes that make the same file fail, as NFS does, and it
is by its clock that a claim's age is told. A process that is killed leaves its claim behind; when
that has not been fresh for a while, the next process takes over. Nothing here imports JAX.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from physjax import files
from physjax.config import ConfigError

T = TypeVar("T")

BEAT = 10.0
"""Seconds between two signs of life."""
STALE = 180.0
"""Seconds without one after which a process counts as dead. A client of NFS may show what a file
was up to a minute ago."""
_MOST = 100_000


@dataclass(frozen=True)
class Shard:
    """One of several processes that share a study: the `number`th, from 1, of `count`."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that `3/8` is. Raises ConfigError where it is none."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
        number, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= count <= _MOST:
            raise ConfigError(
                f"--shard is {text!r}; give the number of this process, from 1, and how many there "
                "are: 3/8"
            )
        return cls(number, count)

    def order(self, runs: Sequence[T]) -> list[T]:
        """`runs` in the order in which this process looks at them.

        First every `count`th, which are its own. Then those of the other processes, which may have
        died or be slow, the next one's first; of each its last ones first, where it comes last.
        """
        own = self.number - 1
        others = [(own + k) % self.count for k in range(1, self.count)]
        return [*runs[own :: self.count], *(r for k in others for r in runs[k :: self.count][::-1])]


class Claim:
    """A run that this process has to itself, until it is released or `lost`.

    Attributes:
      lost: another process has taken over, for this one gave no sign of life for too long.
    """

    def __init__(self, path: Path, token: str, beat: float) -> None:
        self.lost = False
        self._path, self._token = path, token
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, args=(beat,), name="claim", daemon=True)
        self._thread.start()

    def _live(self, beat: float) -> None:
        while not self._ended.wait(beat):
            with contextlib.suppress(OSError):
                # The disk may be away for a while; a claim that is gone is another matter.
                self.lost = self.lost or not self._is_ours()
                if not self.lost:
                    os.utime(self._path)

    def _is_ours(self) -> bool:
        owner = _read(self._path)
        newest = max(_numbers(self._path.parent), default=0)
        return owner is not None and owner.token == self._token and newest == int(self._path.name)

    def release(self) -> None:
        """End it; another process may have the run."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if not self._is_ours():
                return
            # Older ones first: were they the newest, they would be taken for live or dead ones.
            for number in sorted(_numbers(self._path.parent)):
                (self._path.parent / str(number)).unlink()
            self._path.parent.rmdir()
            self._path.parent.parent.rmdir()


class Claims:
    """The claims of all processes on the runs of one study.

    Those on a run are files with a number for a name. The highest one counts. To take over from a
    dead process is to make the next higher one, which only one process can.

    Args:
      folder: on a disk that all of them share; it is there while there are claims.
      beat: seconds between two signs of life.
      stale: seconds without one after which a process counts as dead.
    """

    def __init__(self, folder: Path, *, beat: float = BEAT, stale: float = STALE) -> None:
        self._folder, self._beat, self._stale = folder, beat, stale

    @contextmanager
    def held(self, run: str) -> Iterator[Claim | None]:
        """Have the run of that name to oneself while inside; None where another process has it."""
        claim = self._take(self._folder / run)
        try:
            yield claim
        finally:
            if claim is not None:
                claim.release()

    def _take(self, folder: Path) -> Claim | None:
        with files.naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            newest = max(_numbers(folder), default=0)
            dead = _read(folder / str(newest)) if newest else None
            if newest and (dead is None or not self._is_dead(dead, folder)):
                return None
            own = _Owner(secrets.token_hex(8), platform.node(), os.getpid(), _space(), 0.0)
            path = folder / str(newest + 1)
            try:
                with path.open("x", encoding="utf-8") as file:
                    json.dump({k: v for k, v in vars(own).items() if k != "seen"}, file)
                    file.flush()
                    os.fsync(file.fileno())
            except (FileExistsError, FileNotFoundError):
                return None  # Another one was faster, or has just ended.
            # Since the look above the dead one may have been replaced, and its successor ended.
            before = _read(folder / str(newest)) if newest else None
            same = (before and before.token) == (dead and dead.token)
            if not same or max(_numbers(folder)) != newest + 1:
                path.unlink(missing_ok=True)
                return None
        return Claim(path, own.token, self._beat)

    def _is_dead(self, owner: _Owner, folder: Path) -> bool:
        if owner.space == _space() and not _is_alive(owner.pid):
            return True
        # What time it is by the clock of the disk.
        probe = folder / f".{secrets.token_hex(8)}"
        try:
            probe.touch()
            now = probe.stat().st_mtime
            probe.unlink()
        except FileNotFoundError:
            return False  # The other one has just ended, and removed the folder.
        return now - owner.seen > self._stale


@dataclass(frozen=True)
class _Owner:
    token: str
    host: str
    pid: int
    space: str
    """Where `pid` is a process's number: the machine since its start, and the container."""
    seen: float
    """When it gave its last sign of life, by the clock of the disk."""


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isascii() and name.isdecimal()]
    except FileNotFoundError:
        return []


def _read(path: Path) -> _Owner | None:
    """Whose claim it is; None where it is gone. One that is not yet written has no process."""
    try:
        # Opened, so that NFS asks the server how old it is.
        with path.open("rb") as file:
            seen, text = os.fstat(file.fileno()).st_mtime, file.read()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text)
        return _Owner(
            str(values["token"]),
            str(values["host"]),
            int(values["pid"]),
            str(values["space"]),
            seen,
        )
    except (ValueError, KeyError, TypeError):
        return _Owner("", "an unknown machine", 0, "", seen)


def _space() -> str:
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
