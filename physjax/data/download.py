"""Fetching published files: ask first whether the host answers, then download with a bar."""

from __future__ import annotations

import functools
import hashlib
import threading
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from physjax import files
from physjax.data.spec import Archive
from physjax.data.types import DataError
from physjax.files import file_sha256

PATIENCE = 5.0
"""Seconds until a host that says nothing counts as absent."""
STALL = 30.0
"""Seconds without a byte after which a download is given up."""
BLOCK = 1 << 20


@functools.cache
def unreachable_reason(url: str, seconds: float = PATIENCE) -> str | None:
    """Why a file cannot be had, by asking its host for the head of it; None where it can.

    Returns after `seconds` at the latest: the time-outs of an HTTP library do not bound the look-up
    of a name, so the question is put in a thread of its own. The answer is kept for the process.
    """
    answer: list[str | None] = []
    thread = threading.Thread(target=lambda: answer.append(_ask(url, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else f"{urlsplit(url).hostname} does not answer in {seconds:g} s"


def _ask(url: str, seconds: float) -> str | None:
    import requests

    host = urlsplit(url).hostname
    try:
        response = requests.head(url, timeout=seconds, allow_redirects=True)
    except requests.exceptions.ConnectionError:
        return f"{host} cannot be reached"
    # Besides its own exceptions, requests lets those of a proxy's or a host's odd name through.
    except Exception as error:
        return f"{host} cannot be asked ({type(error).__name__})"
    return None if response.ok else f"{host} answers {response.status_code} {response.reason}"


def fetch(archive: Archive, folder: Path) -> Path:
    """Download one file into a folder, unless it is there already, and check its SHA-256.

    Raises:
      DataError: the host fails or falls silent, or the file is not the published one.
    """
    path = folder / archive.name
    if (
        path.is_file()
        and path.stat().st_size == archive.size
        and file_sha256(path) == archive.sha256
    ):
        return path
    with files.atomic_file(path) as file:
        digest = _stream(archive, file)
        if digest != archive.sha256:
            raise DataError(
                f"{archive.url} gave a file with SHA-256 {digest}, but the published one has "
                f"{archive.sha256}; it was not kept"
            )
    # Of processes that were killed; others may be writing here now.
    files.remove_leftovers(folder, seconds=3600)
    return path


def _stream(archive: Archive, file: IO[bytes]) -> str:
    """Write what is downloaded to `file`, with a bar on standard error; its SHA-256."""
    import requests
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    digest = hashlib.sha256()
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with (
            requests.get(
                archive.url,
                stream=True,
                timeout=(PATIENCE, STALL),
                # Else a server may compress, and the size and the checksum are of something else.
                headers={"Accept-Encoding": "identity"},
            ) as response,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            response.raise_for_status()
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise DataError(f"{archive.url} comes compressed, which was not asked for")
            task = progress.add_task(archive.name, total=archive.size)
            remaining = archive.size
            for block in response.iter_content(BLOCK):
                remaining -= len(block)
                if remaining < 0:
                    raise DataError(
                        f"{archive.url} gives more than the {archive.size:,} bytes of the "
                        "published file; it was not kept"
                    )
                digest.update(block)
                file.write(block)
                progress.advance(task, len(block))
    except requests.exceptions.RequestException as error:
        raise DataError(f"{archive.url} cannot be downloaded: {error}") from error
    return digest.hexdigest()
