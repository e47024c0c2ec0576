"""The command `experiments/resistive.py`: what it writes, and what it refuses, in words."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from physjax.cli import options
from physjax.cli import resistive as command
from physjax.errors import UserError
from physjax.resistive.runner import PresetRecord, ResolvedOptions, resolve

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "experiments" / "resistive.py"


def test_it_prints_and_writes_record_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, figures = tmp_path / "a" / "record.json", tmp_path / "b"
    line = ["--task", "xor", "--seeds", "2", "--steps", "50"]
    assert command.command([*line, "--json", str(file), "--figures", str(figures)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert list(found) == [field.name for field in dataclasses.fields(PresetRecord)]
    assert (found["task"], found["rule"], found["seeds"]) == ("xor", "conductance", [0, 1])
    assert (found["nodes"], found["edges"], found["steps"]) == (12, 40, 50)
    assert [path.name for path in file.parent.iterdir()] == ["record.json"]
    assert sorted(path.name for path in figures.iterdir()) == [
        "resistive_xor_conductance_history.png",
        "resistive_xor_conductance_network.png",
    ]
    said = capsys.readouterr().out.splitlines()
    assert [text.split()[0] for text in said] == [n for n in found if n not in command.LISTS]


def test_figures_have_a_file_for_every_format_and_say_what_they_show(tmp_path: Path) -> None:
    line = ["--task", "iris", "--steps", "1", "--seeds", "2", "--figures", str(tmp_path)]
    assert command.command([*line, "--figure-format", "svg", "pdf"]) == 0
    stems = ("resistive_iris_conductance_history", "resistive_iris_conductance_network")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}.{kind}" for stem in stems for kind in ("svg", "pdf")
    }
    text = (tmp_path / "resistive_iris_conductance_history.svg").read_text(encoding="utf-8")
    # Matplotlib leaves the words of each text in a comment beside its outlines.
    for words in ("iris, conductance rule, ", "error of 2 networks", "30 edges of one network"):
        assert words in text


def test_a_record_of_regression_has_no_accuracies(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    assert command.command(["--steps", "1", "--json", str(file)]) == 0
    names = {field.name for field in dataclasses.fields(PresetRecord)}
    assert names - set(json.loads(file.read_text(encoding="utf-8"))) == {
        *("test_accuracy", "test_accuracy_sd", "test_accuracies", "train_accuracy")
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--steps 0", "steps must be a whole number from 1 to 1000000, not 0"),
        ("--steps=-5", "steps must be a whole number from 1 to 1000000, not -5"),
        (f"--steps {10**40}", "steps must be a whole number from 1 to 1000000, not a whole"),
        ("--eta 0", "eta must be a number from 1e-12 to 1, not 0"),
        ("--eta 1.5", "eta must be a number from 1e-12 to 1, not 1.5"),
        ("--eta nan", "eta must be a number from 1e-12 to 1, not nan"),
        ("--rule equilibrium --eta 1e7", "eta (beta in siemens) must be a number"),
        ("--rate inf", "rate must be a number from 0 to 1e+09, not inf"),
        ("--rate=-1", "rate must be a number from 0 to 1e+09, not -1"),
        ("--rule discrete --rate 1", "the discrete rule has no rate"),
        ("--probability 2", "probability must be a number from 1e-12 to 1, not 2"),
        ("--probability 0", "probability must be a number from 1e-12 to 1, not 0"),
        ("--probability nan", "probability must be a number from 1e-12 to 1, not nan"),
        ("--cuts=-1", "cuts must be a whole number from 0 to 16, not -1"),
        ("--cuts 17", "cuts must be a whole number from 0 to 16, not 17"),
        ("--cuts 16", "only 8 of 16 edges can go"),
        ("--cuts 1 --cut-at 3000", "cut_at must be a whole number from 0 to 2999, not 3000"),
        ("--cut-at 7", "cut_at says when to cut edges, but cuts is 0"),
        ("--seeds 0", "seeds must be a whole number from 1 to 1000, not 0"),
        ("--seeds 1001", "seeds must be a whole number from 1 to 1000, not 1001"),
        ("--steps 5 --steps 6", "--steps is given twice"),
        ("--json a\0b", "an option is"),
        (f"--json {'x' * 300}", "cannot be written: File name too long"),
        (f"--figures {'x' * 300}", "cannot be written: File name too long"),
        ("--json .", "--json names a folder"),
        ("--figure-format svg", "--figure-format does nothing without --figures"),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(
    line: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.command(line.split(" ")) == 2
    said = capsys.readouterr()
    assert said.out == ""  # results are printed before anything is written
    assert said.err.startswith("error: ")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--json", "--figures"])
def test_an_unwritable_folder_is_refused_before_the_training(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" / "folder" / "name"
    assert command.command(["--steps", "1000000", option, str(where)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {tmp_path / 'file'}")
    assert "cannot be written: Not a directory" in said.err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    assert command.command(["--steps", "1000000", "--json", str(tmp_path / "record.json")]) == 2
    assert capsys.readouterr().out == ""


def test_ctrl_c_ends_with_130_and_without_a_traceback(tmp_path: Path) -> None:
    figures = tmp_path / "figures"  # made right before the training
    line = [sys.executable, SCRIPT, "--steps", "1000000", "--seeds", "50", "--figures", figures]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        line, env={**os.environ, "PYTHONPATH": path}, stdout=-1, stderr=-1, text=True
    ) as run:
        deadline = time.monotonic() + 300
        while not figures.exists() and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=300)
    assert run.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "stopped by SIGINT"
    assert "Traceback" not in err
    assert list(figures.iterdir()) == []


NUMBERS = st.one_of(
    st.integers(-3, 2000),
    st.floats(),
    st.floats(0, 1),
    st.sampled_from([0, -1, 10**30, 10**400, 1e308, 1e23, -0.0, 5e-324, "nan", "inf", "9" * 5000]),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", ".", "/", "\0", "\ud800", "None", "True", "-", "--", "=", "{}", "x" * 300]
    ),
    st.sampled_from(["allostery", "regression", "iris", "xor", "conductance", "discrete"]),
)
OPTIONS = st.sampled_from(
    [
        *("--task", "--rule", "--seeds", "--steps", "--eta", "--rate", "--probability"),
        *("--cuts", "--cut-at", "--json", "--figures", "--help", "--no-such"),
    ]
)
WORDS = st.tuples(
    st.one_of(OPTIONS, OPTIONS, OPTIONS, TEXTS), st.one_of(NUMBERS, NUMBERS, TEXTS).map(str)
)


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=300,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(WORDS, max_size=4), st.booleans())
def test_any_command_line_is_taken_or_refused_in_words(
    words: list[tuple[str, str]], joined: bool
) -> None:
    """All that `command` does before it trains or touches a disk."""
    line = [f"{a}={b}" for a, b in words] if joined else [part for word in words for part in word]
    code = 0
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        try:
            assert isinstance(resolve(options.parse(command.Command, line).preset), ResolvedOptions)
        except UserError as error:
            code = 2
            print(error)
        except SystemExit as end:
            code = {0: 0, 2: 2}[end.code]  # type: ignore[index]
    shows_help = "--help" in line and code == 0
    # tyro shows what it was given, however long.
    assert (code == 2) == (0 < len(said.getvalue()) < 12_000 and not shows_help)
