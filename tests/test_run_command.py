"""experiments/run.py from end to end, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "run.py"), *words, "--runs-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_smoke_run_ends_with_an_accuracy_and_figures(tmp_path: Path) -> None:
    words = ["--recipe", "smoke", "--model", "cnn", "--law", "ring", "--name", "mine"]
    words += ["--tensorboard", "--devices", "1"]
    done = run(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    result = json.loads((tmp_path / "mine" / "result.json").read_text())
    assert 0 < result["test_accuracy"] < 1
    for name in ("loss", "accuracy", "confusion", "physics", "law_parameters"):
        figure = tmp_path / "mine" / "figures" / f"{name}.png"
        assert figure.read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "mine" / "tensorboard").iterdir())
    # Plain lines when not on a terminal: no control characters of a bar.
    assert "\x1b" not in done.stdout
    again = run(*words, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "is complete already" in again.stdout


def test_dry_run_prints_the_config_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("--recipe", "paper", "--dataset", "digits", "--dry-run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    assert config["model"]["size"] == "paper"
    assert config["data"]["dataset"] == "digits"
    assert list(tmp_path.iterdir()) == []


def test_summary_counts_the_original_network(tmp_path: Path) -> None:
    done = run(
        *("--recipe", "paper", "--model", "alexnet", "--dataset", "digits", "--summary"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    # Krizhevsky's one-tower AlexNet at 10 classes: 61,100,840 less 990 outputs of 4,096 + 1.
    assert "57,044,810" in done.stdout
    assert "conv1  11x11  direct" in done.stdout
    assert "conv5  3x3    winograd4" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "lenet"), "no model 'lenet'"),
        (("--law", "magnet"), "no force law 'magnet'"),
        (("--recipe", "slow"), "no recipe 'slow'"),
        (("--epochs", "0"), "epochs is 0"),
        (("--dataset", "mnist1d"), "mnist1d"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    words: tuple[str, str], message: str, tmp_path: Path
) -> None:
    done = run("--dataset", "digits", *words, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
