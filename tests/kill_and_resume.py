"""Kill a real run again and again, and see that it ends bit for bit as if nothing had happened.

    python tests/kill_and_resume.py --kills 50 --seed 0

trains a small network on the digits to its end, then does it again under SIGKILLs at random: half
of them at any moment from the start of the process to the end of the run, half of them just before
a file or folder of the run is made, renamed or removed, so that no save is spared. The same command
resumes it after every kill. Whenever a run has come to its end, its parameters and its records, but
for times, must be those of the first one, and another one is begun.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.progress import Progress

from helpers.runs import assert_same
from physjax import runtime

ROOT = Path(__file__).resolve().parents[1]

OPTIONS = [
    "--recipe=smoke",
    "--dataset=digits",
    "--model=cnn",
    "--law=ring",
    "--width=0.1",
    "--batch-size=20",
    "--devices=1",
    "--name=run",
]

# Runs the command, counts what it does to the run's files, and is killed before the given one.
COMMAND = """
import os, runpy, signal, sys
from pathlib import Path
script, folder, kill_at, count_to, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = script
kill_at, counted = int(kill_at), 0
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "open"}

def hook(event, arguments):
    global counted
    if event not in CHANGES or folder not in str(arguments[0]):
        return
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    counted += 1
    if counted == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
try:
    runpy.run_path(script, run_name="__main__")
finally:
    Path(count_to).write_text(str(counted), encoding="utf-8")
"""


@dataclass
class Outcome:
    """What came of it."""

    kills: int = 0
    runs: int = 0
    moments: list[str] = field(default_factory=list)
    """Of each kill: how long after the start of the process, or before which change."""


def start(folder: Path, epochs: int, kill_at: int = 0) -> subprocess.Popen[bytes]:
    """The command, with its run below `folder`."""
    words = [
        str(ROOT / "experiments" / "run.py"),
        str(folder / "run"),
        str(kill_at),
        str(folder.with_name("changes")),
        *OPTIONS,
        f"--epochs={epochs}",
        f"--runs-dir={folder}",
    ]
    # With malloc's settings there from the start, the command has no reason to start itself again.
    environment = {**os.environ, **runtime.environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end. Raises RuntimeError, with what it printed, unless it ended well."""
    output, _ = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"exit code {process.returncode}:\n{output.decode()}")


def kill_and_resume(
    folder: Path, kills: int, seed: int, epochs: int, progress: Progress
) -> Outcome:
    """Do it `kills` times. Raises AssertionError where a run ends otherwise than the first one."""
    random, outcome = np.random.default_rng(seed), Outcome()
    bar = progress.add_task("undisturbed run", total=kills)
    for _ in range(2):  # The second one finds its programs compiled, as all that follow do.
        shutil.rmtree(folder / "whole", ignore_errors=True)
        began = time.monotonic()
        finish(start(folder / "whole", epochs))
        seconds = time.monotonic() - began
    changes = int((folder / "changes").read_text(encoding="utf-8"))
    tried = folder / "tried"
    while outcome.kills < kills or tried.exists():
        left = outcome.kills < kills
        by_time, at = left and outcome.kills % 2 == 0, random.random()
        wait, kill_at = seconds * at, 1 + int(changes * at)
        process = start(tried, epochs, 0 if by_time or not left else kill_at)
        if by_time:
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                process.kill()
        finish(process)
        if process.returncode == 0:
            assert_same(tried / "run", folder / "whole" / "run")
            shutil.rmtree(tried)
            outcome.runs += 1
        else:
            outcome.kills += 1
            moment = f"{wait:.1f} s" if by_time else f"change {kill_at}"
            outcome.moments.append(moment)
        progress.update(
            bar,
            completed=outcome.kills,
            description=f"{outcome.kills} kills, {outcome.runs} runs the same to the last bit",
        )
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        outcome = kill_and_resume(
            Path(folder), options.kills, options.seed, options.epochs, progress
        )
    print(f"killed at {', '.join(outcome.moments)}")
    print(
        f"{outcome.kills} of {options.kills} kills resumed; {outcome.runs} runs came to their end, "
        "all with the parameters and records of the undisturbed one"
    )


if __name__ == "__main__":
    main()
