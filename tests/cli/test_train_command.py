"""experiments/run.py from end to end, as a user types it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from physjax import runtime

pytestmark = pytest.mark.quick_compile

ROOT = Path(__file__).resolve().parents[2]


def run(
    *words: str, folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "run.py"), *words, "--runs-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def test_smoke_run_ends_with_an_accuracy_and_figures(tmp_path: Path) -> None:
    words = ["--recipe", "smoke", "--model", "cnn", "--law", "ring", "--name", "mine"]
    words += ["--width", "0.1", "--tracker", "tensorboard", "--devices", "1"]
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
    other = run(*words, folder=tmp_path, environment={"JAX_THREEFRY_PARTITIONABLE": "0"})
    assert other.returncode == 2
    assert "jax_threefry_partitionable was True and is False" in other.stderr
    assert "set JAX_THREEFRY_PARTITIONABLE=True, or start anew with --fresh" in other.stderr


def test_dry_run_prints_the_config_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("--recipe", "paper", "--dataset", "digits", "--dry-run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    assert config["model"]["size"] == "imagenet"
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


IN_ONE_PROCESS = """
import json, sys
from physjax.cli import run
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    print(words, "exit code", run("train"), file=sys.stderr, flush=True)
"""


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path) -> None:
    said = {
        ("--model", "lenet"): "no model 'lenet'",
        ("--law", "magnet"): "no force law 'magnet'",
        ("--recipe", "slow"): "no recipe 'slow'",
        ("--epochs", "0"): "epochs is 0",
        ("--dataset", "mnist1d"): "mnist1d",
    }
    common = ("--dataset", "digits", "--runs-dir", str(tmp_path))
    lines = [words if "--dataset" in words else (*common, *words) for words in said]
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS, json.dumps(lines)],
        capture_output=True,
        text=True,
        check=False,
        # With these set from the start no command starts its process anew.
        env={**os.environ, **runtime.environment()},
    )
    assert done.returncode == 0, done.stderr
    parts = re.split(r"\[.*\] exit code 2\n", done.stderr)
    for message, text in zip(said.values(), parts, strict=False):
        assert message in text
        assert "Traceback" not in text
    assert parts[len(said) :] == [""]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("JAX_PLATFORMS", "cuda", "none of the devices that JAX_PLATFORMS=cuda asks for"),
        ("JAX_PLATFORMS", "abacus", "none of the devices that JAX_PLATFORMS=abacus asks for"),
        ("JAX_ENABLE_X64", "1", "JAX_ENABLE_X64 is set"),
        ("JAX_ENABLE_X64", "maybe", "invalid truth value 'maybe'"),
        ("XLA_FLAGS", "/not/there", "neither a list of flags like --xla_x=1 nor a file"),
        ("XLA_FLAGS", "--xla_dump_to=/x --xla_dum_to=/y", "XLA_FLAGS has --xla_dum_to, which XLA"),
    ],
)
def test_an_environment_that_cannot_be_is_said_in_one_line(
    name: str, value: str, message: str, tmp_path: Path
) -> None:
    done = run("--recipe", "smoke", folder=tmp_path, environment={name: value})
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.exhaustive
def test_an_inherited_backend_of_matplotlib_and_a_file_of_flags_do_no_harm(tmp_path: Path) -> None:
    flags = tmp_path / "flags"
    flags.write_text("--xla_cpu_multi_thread_eigen=true")
    environment = {"MPLBACKEND": "module://not.installed", "XLA_FLAGS": str(flags)}
    words = ("--recipe", "smoke", "--model", "cnn", "--law", "none", "--width", "0.1")
    words += ("--epochs", "1", "--devices", "1")
    done = run(*words, folder=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "figures in" in done.stdout
