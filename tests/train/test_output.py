"""Standard streams that are closed, broken or full are nobody's reason to stop."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from physjax.train.output import steady
from physjax.train.progress import Display

JOB = """
import logging, os, sys, time, warnings
from physjax.cli.common import exit_code
from physjax.errors import UserError
from physjax.train.progress import Display

def job():
    with open(sys.argv[1], "w") as file, Display("run", 10) as display:
        for step in range(3):
            display.say("a line → of text")
            display.step(step, 1.0, 1.0, 1.0)
            print("ä" * 100_000)
            print("error", file=sys.stderr, flush=True)
            os.write(2, b"a library's own words")
            logging.warning("logged")
            warnings.warn("warned")
        file.write("complete")
    if len(sys.argv) > 2:
        raise UserError("as asked")

sys.exit(exit_code(job))
"""


@pytest.mark.parametrize(
    "redirection",
    [
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        ">/dev/full",
        ">/dev/full 2>&1",
        "| head -c 10",
        "2>&1 | true",
    ],
)
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_the_work_is_done_whatever_becomes_of_its_words(
    tmp_path: Path, redirection: str, locale: str
) -> None:
    (tmp_path / "job.py").write_text(JOB, encoding="utf-8")
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    # The status of the first command of a pipe, which sh does not tell.
    for more, code in (("", 0), ("fails", 2)):
        command = f'( "$0" job.py done {more}; echo $? > code ) {redirection}'
        subprocess.run(
            ["sh", "-c", command, sys.executable],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        )
        assert (tmp_path / "code").read_text(encoding="utf-8") == f"{code}\n"
        assert (tmp_path / "done").read_text(encoding="utf-8") == "complete"


def test_a_display_outside_of_the_commands_needs_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    for stream in (None, Broken(), closed):
        monkeypatch.setattr(sys, "stdout", stream)
        with Display("run", 10) as display:
            display.say("a line")
            display.step(1, 1.0, 1.0, 1.0)
    assert steady(steady(None)) is not None


def test_what_an_encoding_has_not_is_replaced() -> None:
    raw = io.BytesIO()
    stream = steady(io.TextIOWrapper(raw, encoding="ascii"))
    stream.write("a → b")
    stream.flush()
    assert raw.getvalue() == b"a ? b"
