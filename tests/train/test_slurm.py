"""The job files on a real cluster of one node: told to stop, preempted, queued again, the same end.

Needs SLURM's daemons and root (tests/helpers/slurm_cluster.py); skipped elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.runs import assert_same
from helpers.slurm_cluster import Cluster, cluster, missing
from physjax import runtime
from physjax.records import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.quick_compile,
    pytest.mark.skipif(bool(missing()), reason=f"no cluster can be made here: {missing()}"),
]

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "experiments" / "jobs"
HERE = ("--partition=low", "--gpus-per-node=0", "--cpus-per-task=2")
"""What this cluster has instead of the job files' nodes and GPUs."""
WORDS = (
    *("--recipe=smoke", "--dataset=digits", "--model=cnn", "--law=ring", "--width=0.1"),
    *("--batch-size=20", "--epochs=40", "--devices=1", "--name=run"),
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    with cluster(folder) as made, pytest.MonkeyPatch.context() as patch:
        # The checkout's package and this Python's `physjax`, wherever both are.
        patch.setitem(made.environment, "PYTHONPATH", str(ROOT))
        beside = f"{Path(sys.executable).parent}:{made.environment['PATH']}"
        patch.setitem(made.environment, "PATH", beside)
        made.environment.update(runtime.environment())
        made.environment["XLA_FLAGS"] = os.environ["XLA_FLAGS"]
        yield made


def submit(here: Cluster, *words: str) -> str:
    return here.submit(f"--chdir={ROOT}", *words)


@pytest.mark.parametrize("name", ["seeds", "hosts", "study"])
def test_the_job_files_are_accepted(here: Cluster, name: str) -> None:
    less = ("--nodes=1", "--mem=0") if name == "hosts" else ()
    words = ("sbatch", "--test-only", f"--chdir={ROOT}", *HERE, *less)
    done = subprocess.run(
        [*words, str(JOBS / f"slurm_{name}.sh")],
        env=here.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Job \d+ to start at", done.stderr)


@pytest.mark.exhaustive
def test_told_and_preempted_and_queued_again_it_ends_bit_for_bit(
    here: Cluster, tmp_path: Path
) -> None:
    """SIGUSR1 as --signal sends it; then a job of the higher partition."""
    whole = subprocess.run(
        [sys.executable, "-m", "physjax", "train", *WORDS, f"--runs-dir={tmp_path / 'whole'}"],
        env=here.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert whole.returncode == 0, whole.stderr
    folder, log = RunFolder(tmp_path / "run"), tmp_path / "job.out"
    job = submit(
        *(here, *HERE, "--array=0", f"--output={log}"),
        *(str(JOBS / "slurm_seeds.sh"), *WORDS, f"--runs-dir={tmp_path}"),
    )

    def wait_for_epochs(count: int) -> None:
        while len(folder.read_epochs()) < count:
            state = here.job(job)["JobState"]
            assert state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"), log.read_text()
            time.sleep(0.1)

    wait_for_epochs(2)
    here.call("scancel", "--signal=USR1", job)
    here.wait_for(job, Restarts="1")
    wait_for_epochs(len(folder.read_epochs()) + 2)
    other = submit(here, "--partition=high", "--cpus-per-task=2", "--output=/dev/null", "--wrap=:")
    here.wait_for(job, Restarts="2")
    here.wait_for(other, JobState="COMPLETED")
    here.wait_for(job, JobState="COMPLETED")
    said = log.read_text(encoding="utf-8")
    steps = [int(step) for step in re.findall(r"stopped by SIG(?:USR1|TERM) at step (\d+);", said)]
    assert len(steps) == 2, said
    assert 0 < steps[0] < steps[1] < 400
    assert re.findall(r"resumed \S+ at step (\d+) of 400", said) == [str(step) for step in steps]
    assert "stopped by SIGUSR1" in said
    assert "stopped by SIGTERM" in said
    assert_same(folder.path, tmp_path / "whole" / "run")


def test_what_is_cancelled_saves_and_is_not_queued_again(here: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "job.out"
    work = "import signal,sys,time; signal.signal(15, lambda *_: sys.exit(143)); time.sleep(600)"
    command = f"exec experiments/jobs/requeue.sh srun {sys.executable} -c '{work}'"
    job = submit(here, *HERE, f"--output={log}", "--requeue", f"--wrap={command}")
    here.wait_for(job, JobState="RUNNING")
    time.sleep(2)
    here.call("scancel", job)
    assert here.wait_for(job, JobState="CANCELLED")["Restarts"] == "0"
    assert "queued again" not in log.read_text(encoding="utf-8")
