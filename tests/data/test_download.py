"""Asking a host and downloading, against a server of our own on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from physjax.data import DataError, download
from physjax.data.download import fetch, unreachable_reason
from physjax.data.spec import Archive

CONTENT = bytes(range(256)) * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    requests: list[str] = []  # noqa: RUF012

    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.reply()

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.reply()
        if self.path == "/short":
            self.wfile.write(CONTENT[:1000])
        elif self.path == "/stalls":
            self.wfile.write(CONTENT[:1000])
            self.wfile.flush()
            self.connection.recv(1)  # until the client has had enough
        elif self.path == "/data":
            self.wfile.write(CONTENT)
        elif self.path == "/endless":
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(bytes(1 << 20))

    def reply(self) -> None:
        self.send_response(404 if self.path in ("/gone", "/once") else 200)
        if self.path == "/zipped":
            self.send_header("Content-Encoding", "gzip")
        if self.path != "/endless":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Handler.requests = []
    Handler.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def archive(url: str, sha256: str | None = None) -> Archive:
    digest = sha256 or hashlib.sha256(CONTENT).hexdigest()
    return Archive("file.bin", url, len(CONTENT), digest)


def test_a_host_that_has_the_file(server: str) -> None:
    assert unreachable_reason(f"{server}/data") is None


def test_a_host_without_the_file(server: str) -> None:
    assert unreachable_reason(f"{server}/gone") == "127.0.0.1 answers 404 Not Found"


def test_no_host() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert unreachable_reason(f"http://127.0.0.1:{port}/data") == "127.0.0.1 cannot be reached"


def test_a_silent_host_is_not_waited_for() -> None:
    """The server never answers: whoever waited for it would never come back."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reason = unreachable_reason(f"http://127.0.0.1:{silent.getsockname()[1]}/data", 0.3)
    assert reason is not None
    assert reason.startswith("127.0.0.1 ")


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time-outs of an HTTP library do not cover it."""
    ended = threading.Event()
    monkeypatch.setattr(download, "_ask", lambda url, seconds: ended.wait(60) and None)
    assert unreachable_reason("http://nowhere/", 0.2) == "nowhere does not answer in 0.2 s"
    ended.set()


def test_the_answer_is_kept(server: str) -> None:
    url = f"{server}/once"
    unreachable_reason(url)
    assert unreachable_reason(url) == "127.0.0.1 answers 404 Not Found"
    assert Handler.asked == ["/once"]
    assert download.PATIENCE <= 5


def test_download_is_checked_and_kept(server: str, tmp_path: Path) -> None:
    path = fetch(archive(f"{server}/data"), tmp_path / "downloads")
    assert path == tmp_path / "downloads" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert fetch(archive(f"{server}/data"), tmp_path / "downloads") == path
    assert Handler.requests == ["/data"], "the second time nothing is downloaded"
    path.write_bytes(CONTENT[::-1])
    assert fetch(archive(f"{server}/data"), tmp_path / "downloads").read_bytes() == CONTENT
    assert [item.name for item in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data", "but the published one has 0000"),
        ("short", "short"),
        ("stalls", "stalls"),
        ("gone", "404"),
        ("endless", "gives more than the 256,000 bytes of the published file"),
        ("zipped", "comes compressed, which was not asked for"),
    ],
)
def test_a_failed_download_leaves_nothing(
    server: str, tmp_path: Path, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "stalls":
        monkeypatch.setattr(download, "STALL", 0.3)
    with pytest.raises(DataError, match=message):
        fetch(archive(f"{server}/{name}", "0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []
