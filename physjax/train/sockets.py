"""TCP connections: reached with patience, read by lines, and passed on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

LONGEST_LINE = 1 << 16
"""In bytes."""


def thread(target: Callable[..., None], *args: Any) -> threading.Thread:
    """Run `target` beside everything else, for as long as the process lives."""
    started = threading.Thread(target=target, args=args, name="hosts", daemon=True)
    started.start()
    return started


def read_line(line: socket.socket) -> bytes:
    """One line, byte by byte: what follows it is for another reader."""
    text = b""
    while not text.endswith(b"\n") and len(text) < LONGEST_LINE:
        byte = line.recv(1)
        if not byte:
            break
        text += byte
    return text


def dial(where: tuple[str, int], timeout: float) -> socket.socket:
    """Connect to `where`, trying for `timeout` seconds. Raises the last OSError."""
    end = time.monotonic() + timeout
    while True:
        try:
            line = socket.create_connection(where, max(1.0, end - time.monotonic()))
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            # A port that nobody listens at may be taken for this end, which then meets itself.
            if line.getsockname() != line.getpeername():
                line.settimeout(None)
                return line
            line.close()


def join(client: socket.socket, server: socket.socket) -> None:
    """Pass on what comes from either; the client's side stays open when the server's ends."""
    client.settimeout(None)
    thread(_pump, client, server, True)
    thread(_pump, server, client, False)


def _pump(source: socket.socket, sink: socket.socket, close: bool) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    if close:
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
