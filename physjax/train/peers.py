"""The line between the processes of a run on several hosts: who is there, and what ends all.

JAX's own coordination ends a process by SIGABRT as soon as another one fails, is late or gone, and
a collective may wait minutes for a dead peer. So every host holds a line to host 0, at the
coordinator's address. Both ends send heartbeats; a failure is told to all, and silence is one.

The connections of JAX's clients go through the same port, and end in a relay in their own process:
when host 0 dies they stay open, and the message below is what a user sees.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from physjax.errors import UserError
from physjax.train.sockets import LONGEST_LINE, dial, join, read_line, thread


class HostError(UserError):
    """Hosts that cannot work together; the message says what is missing."""


_TUNNEL = b"tunnel\n"


class Peers:
    """The other processes of this run, as this one sees them.

    Args:
        address: host:port of host 0, where it listens.
        count: processes of the run.
        number: this one's, from 0.
        timeout: seconds after which a host that says nothing counts as lost.
    """

    def __init__(self, address: str, count: int, number: int, timeout: float) -> None:
        host, colon, port = address.rpartition(":")
        if not (colon and host and port.isdecimal() and 0 < int(port) < 2**16):
            raise HostError(f"the address of host 0 is {address!r}; give it as name:port")
        if not 0 <= number < count:
            raise HostError(f"this is host {number} of {count}; hosts are numbered from 0")
        self.address = address
        self._where = host.strip("[]"), int(port)
        self.count, self.number, self.timeout = count, number, timeout
        self.names = {number: f"host {number} ({socket.gethostname()}, {address})"}
        self._lines: dict[int, socket.socket] = {}
        self._done: set[int] = set()
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._ending = threading.Lock()
        self._settled = False

    def connect(self) -> str:
        """Wait until every host is there. Returns the address where JAX finds its coordinator.

        Raises:
            HostError: host 0 cannot listen, or a host did not come in time.
        """
        service = self._listen() if self.number == 0 else self._call()
        for number in list(self._lines):
            thread(self._hear, number)
        thread(self._beat)
        return service

    def fail(self, error: BaseException) -> None:
        """End this process, and with it all the others, because of `error`."""
        self.settle()
        self._tell({"failed": f"{self.names[self.number]} failed: {describe(error)}"})
        if isinstance(error, KeyboardInterrupt):
            _say("stopped by SIGINT")
            _exit(128 + signal.SIGINT)
        if isinstance(error, UserError | OSError):
            _say(f"error: {error}")
        else:
            _say("".join(traceback.format_exception(error)))
        _exit(2)

    def wait_for_verdict(self) -> None:
        """Give the line the time to say which host is to blame, where another one may be."""
        time.sleep(min(self.timeout, 10))

    def settle(self) -> None:
        """From now on nothing that comes over the line ends this process."""
        with self._ending:
            self._settled = True

    def leave(self, shut_down: Callable[[], None]) -> None:
        """End the run in good order: `shut_down` waits for the others, and a loss still counts."""
        shut_down()
        self.settle()
        self._tell({"done": self.number})

    # Host 0.

    def _listen(self) -> str:
        try:
            if socket.has_dualstack_ipv6():
                server = socket.create_server(
                    ("", self._where[1]), family=socket.AF_INET6, dualstack_ipv6=True
                )
            else:
                server = socket.create_server(("", self._where[1]))
        except OSError as error:
            raise HostError(
                f"host 0 cannot listen at port {self._where[1]} ({error.strerror}); give another "
                "one in JAX_COORDINATOR_ADDRESS, to all hosts"
            ) from error
        with socket.create_server(("127.0.0.1", 0)) as probe:
            service = probe.getsockname()
        thread(self._accept, server, service)
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._lines) == self.count - 1, self.timeout):
                missing = sorted({*range(self.count)} - {*self.names})
                text = (
                    f"{_hosts(missing)} of {self.count} did not come to {self.address} within "
                    f"{self.timeout:g} s (--peer-timeout)"
                )
                self._tell({"failed": text})
                raise HostError(text)
        self._tell({"hosts": list(self.names.items())})
        return f"{service[0]}:{service[1]}"

    def _accept(self, server: socket.socket, service: tuple[str, int]) -> None:
        while True:
            line, address = server.accept()
            thread(self._greet, line, str(address[0]), service)

    def _greet(self, line: socket.socket, address: str, service: tuple[str, int]) -> None:
        """Learn what a new connection is for: a host's line, or one of its JAX client."""
        line.settimeout(self.timeout)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            first = read_line(line)
            if first == _TUNNEL:
                join(line, dial(service, self.timeout))
                return
            hello = json.loads(first)
            number, count, name = int(hello["host"]), int(hello["of"]), str(hello["name"])
            refusal = ""
            with self._changed:
                if count != self.count:
                    refusal = f"host {number} expects {count} hosts, and host 0 {self.count}"
                elif number in self.names or not 0 < number < count:
                    refusal = f"there are two hosts number {number} of {count}"
                else:
                    address = address.removeprefix("::ffff:")
                    self.names[number] = f"host {number} ({name}, {address})"
                    self._lines[number] = line
                    self._changed.notify_all()
                    return
            line.sendall(_line({"failed": refusal}))
        line.close()

    # The others.

    def _call(self) -> str:
        self.names[0] = f"host 0 ({self.address})"
        try:
            line = dial(self._where, self.timeout)
        except OSError as error:
            raise HostError(
                f"{self.names[0]} did not answer within {self.timeout:g} s (--peer-timeout): "
                f"{error.strerror or error}"
            ) from error
        line.settimeout(self.timeout + 10)
        hello = {"host": self.number, "of": self.count, "name": socket.gethostname()}
        try:
            line.sendall(_line(hello))
            answer = json.loads(read_line(line) or "null")
            if answer is None:
                raise HostError(f"{self.names[0]} ended while it waited for the others")
            if "failed" not in answer:
                self.names = {int(number): str(name) for number, name in answer["hosts"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, HostError):
                raise
            raise HostError(
                f"what answers at {self.address} is not host 0 of this run ({describe(error)})"
            ) from error
        if "failed" in answer:
            raise HostError(str(answer["failed"]))
        self._lines[0] = line
        line.settimeout(self.timeout)
        relay = socket.create_server(("127.0.0.1", 0))
        thread(self._relay, relay)
        return "{}:{}".format(*relay.getsockname())

    def _relay(self, relay: socket.socket) -> None:
        while True:
            client, _ = relay.accept()
            with contextlib.suppress(OSError):
                line = dial(self._where, self.timeout)
                line.sendall(_TUNNEL)
                join(client, line)

    # All.

    def _beat(self) -> None:
        while True:
            self._tell({})
            time.sleep(min(self.timeout / 10, 5))

    def _hear(self, number: int) -> None:
        line = self._lines[number]
        rest = b""
        while True:
            try:
                data = line.recv(LONGEST_LINE)
            except TimeoutError:
                self._lost(f"has been silent for {self.timeout:g} s (--peer-timeout)", number)
                return
            except OSError:
                data = b""
            if not data:
                self._lost("is gone: it was killed, or its machine is lost", number)
                return
            *texts, rest = (rest + data).split(b"\n")
            for text in texts:
                message = json.loads(text)
                if "done" in message:
                    self._done.add(number)
                elif "failed" in message:
                    self._end(message["failed"], number)

    def _lost(self, how: str, number: int) -> None:
        if number not in self._done:
            advice = "the same command on all hosts goes on from the last checkpoint"
            self._end(f"{self.names[number]} {how}; {advice}", number)

    def _end(self, text: str, source: int) -> None:
        with self._ending:
            if self._settled:
                return
            if self.number == 0:
                self._tell({"failed": text}, but=source)
            _say(f"error: {text}")
            _exit(2)

    def _tell(self, message: dict[str, Any], but: int | None = None) -> None:
        for number, line in list(self._lines.items()):
            # Who cannot be told has a line that ends, which is heard elsewhere.
            with contextlib.suppress(OSError), self._sending:
                if number != but:
                    line.sendall(_line(message))


def describe(error: BaseException) -> str:
    """`error` in one line of at most 300 characters: its kind and its message."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300].removesuffix(": ")


def _hosts(numbers: list[int]) -> str:
    return f"host{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _say(text: str) -> None:
    # Not through a stream: the main thread may be in the middle of writing to it.
    with contextlib.suppress(OSError):
        shown = "\x1b[?25h\n" if os.isatty(2) else ""  # a progress bar has hidden the cursor
        os.write(2, f"{shown}{text.rstrip()}\n".encode())


def _exit(code: int) -> None:
    """End without JAX's own end, which waits for hosts that are not there."""
    # The main thread may hold the stream, and wait for a reader that is gone.
    thread(sys.stdout.flush).join(1)
    os._exit(code)
