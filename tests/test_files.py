"""Files: whole or not there, UTF-8 whatever the locale, one process a folder."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from physjax.errors import UserError
from physjax.files import (
    FileError,
    Locked,
    append_line,
    atomic_file,
    atomic_write,
    exclusive_lock,
    is_empty,
    read_text,
    remove_leftovers,
)


def python(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.txt"
    atomic_write(path, "before\n")

    def fail() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"before\n"
    atomic_write(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    atomic_write(tmp_path / "x", "")
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("x", "plain")]
    assert modes[0] == modes[1]


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from physjax import files; p = Path(sys.argv[1]);"
        r"files.atomic_write(p, '\u00e4'); files.append_line(p, '\u2192');"
        r"assert files.read_text(p) == '\u00e4\u2192\n'"
    )
    process = python(code, str(tmp_path / "x"), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert process.communicate()[0] == ""
    assert process.returncode == 0
    assert (tmp_path / "x").read_bytes() == "ä→\n".encode()
    (tmp_path / "x").write_bytes(b"\xe4")
    with pytest.raises(FileError, match=r"x is not UTF-8 text"):
        read_text(tmp_path / "x")


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files refuses in the middle of a write, as a full disk does."""
    code = """
import resource, signal, sys
from pathlib import Path
from physjax import files
path = Path(sys.argv[1])
files.atomic_write(path, "before")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.atomic_write(path, "x" * 2000)
except files.FileError as error:
    print(error)
"""
    path = tmp_path / "x"
    process = python(code, str(path))
    assert process.communicate()[0] == f"{path} cannot be written: File too large\n"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert path.read_text(encoding="utf-8") == "before"


def test_what_the_system_refuses_is_a_user_s_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.* cannot be written: (Not a directory|File exists)"):
        atomic_write(tmp_path / "file" / "x", "")
    with pytest.raises(UserError, match=r"none/x cannot be written: No such file"):
        append_line(tmp_path / "none" / "x", "")
    with pytest.raises(UserError, match=r"none cannot be read: No such file"):
        read_text(tmp_path / "none")


def test_the_temporary_file_of_a_killed_process_disturbs_nobody(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from physjax import files
with files.atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    process = python(code, str(tmp_path / "x"))
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    (tmp_path / ".config.json.123.tmp").touch()
    assert is_empty(tmp_path)
    remove_leftovers(tmp_path, seconds=3600)
    assert left.exists()
    remove_leftovers(tmp_path)
    assert not left.exists()
    (tmp_path / "thesis.tex").touch()
    assert not is_empty(tmp_path)


def test_the_second_process_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code = """
import sys, time
from pathlib import Path
from physjax.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    told = rf"the run in .*run is being worked on by process {process.pid} on .*, since \d{{4}}-"
    with pytest.raises(Locked, match=told), exclusive_lock(folder, "run"):
        pass
    process.kill()
    process.communicate()  # A dead process holds no lock.
    with exclusive_lock(folder, "run"), pytest.raises(Locked), exclusive_lock(folder, "run"):
        pass
    with exclusive_lock(folder, "run"):
        assert is_empty(folder)
