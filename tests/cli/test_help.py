"""What `--help` says of each command, on a terminal of 80 columns."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from physjax.cli import COMMANDS


def shown(*words: str, columns: int = 80) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "physjax", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": str(columns)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal_and_begins_with_an_example(command: str) -> None:
    text = shown(command, "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(rf"^    physjax {command} ", text, re.MULTILINE)
    assert "{png,svg,pdf}" in text or command in ("prepare", "predict", "export", "report")


def test_help_of_train_is_short_grouped_and_shows_choices() -> None:
    text = shown("train", "--help")
    groups = re.findall(r"^╭─ (.+?) options ─", text, re.MULTILINE)
    assert groups == ["data", "augmentation", "model", "optimiser", "learning rule", "run"]
    assert len(text.splitlines()) <= 110
    for choices in (
        "{fast,standard,speedrun,settling,paper,smoke}",
        "{constant,linear,cosine}",
        "{backprop,coupled,",
    ):
        assert choices in text
    assert "--no-dry-run" not in text
    full = shown("train", "--help-verbose")
    assert "Peak learning rate." in full
    assert len(full.splitlines()) > len(text.splitlines())


def test_what_help_lists_of_data_sets_can_be_prepared() -> None:
    assert "{cifar10,cifar100,svhn_cropped,mnist,fashion_mnist}" in shown("prepare", "--help")


def test_the_list_of_commands_is_there_at_once() -> None:
    """No library is loaded for it; JAX alone would take seconds."""
    code = (
        "import sys; sys.argv = ['physjax', '--help']; from physjax.cli import main; main();"
        "print(sorted({'jax', 'numpy', 'pydantic', 'pandas', 'tyro'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert max(map(len, done.stdout.splitlines())) <= 80
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["train", "study", "evaluate"])
def test_help_of_the_commands_that_train_loads_no_jax(command: str) -> None:
    code = (
        f"import sys; sys.argv = ['physjax', '{command}', '--help']\n"
        "from physjax.cli import main\n"
        "try: main()\n"
        "except SystemExit:\n"
        "    print(sorted({'jax', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
