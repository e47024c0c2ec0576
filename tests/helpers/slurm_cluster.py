"""A SLURM cluster of one node: this machine, as long as somebody looks.

    python tests/helpers/slurm_cluster.py FOLDER

starts it, prints the line that makes a shell use it, and ends it with Ctrl-C. Its daemons, their
key, sockets, files and ports are its own, below FOLDER; nothing of a cluster that this machine
belongs to is touched. It needs root, and what Debian has in slurm-wlm and munge.

There are two partitions: a job in `high` preempts one in `low`, which is queued again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_PATIENCE = 120.0

# `cred_expire` is also how long a job that is queued again waits.
_SETTINGS = """
ClusterName=physjax
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=60
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes={host} PriorityTier=2 PreemptMode=OFF
"""


def missing() -> str:
    """Why there can be no cluster here; "": there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root"


@dataclass(frozen=True)
class Cluster:
    """One that runs.

    Attributes:
      folder: of all its files.
      environment: of a process that uses it.
    """

    folder: Path
    environment: dict[str, str]

    def call(self, *words: str) -> str:
        """What a command of SLURM says. Raises CalledProcessError where it fails."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    def submit(self, *words: str) -> str:
        """The number of the job that `sbatch` makes of these words."""
        return self.call("sbatch", "--parsable", *words)

    def job(self, number: str) -> dict[str, str]:
        """What the controller knows of a job, by SLURM's names: JobState, Restarts, ..."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for(self, number: str, **wanted: str) -> dict[str, str]:
        """What is known of a job as soon as it has these values: `JobState="RUNNING"`."""
        job: dict[str, str] = {}

        def is_so() -> bool:
            job.update(self.job(number))
            return all(job.get(name) == value for name, value in wanted.items())

        _wait(is_so, lambda: f"job {number} is not {wanted}: {job}")
        return job


def _wait(
    condition: Callable[[], bool], complaint: Callable[[], str], seconds: float = 600.0
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(complaint())
        time.sleep(0.2)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster of this machine, its files below `folder`; ended with the block.

    Raises:
      RuntimeError: it cannot be had (:func:`missing`), or does not come up.
    """
    reason = missing()
    if reason:
        raise RuntimeError(reason)
    folder = folder.absolute()
    for name in ("munge", "spool", "state"):
        (folder / name).mkdir(parents=True)
    # A socket in a folder that only root may enter is refused by munge's clients.
    (folder / "munge").chmod(0o755)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    settings = folder / "slurm.conf"
    ports = _free_ports(2)
    settings.write_text(
        _SETTINGS.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            controller_port=ports[0],
            node_port=ports[1],
        ),
        encoding="utf-8",
    )
    environment = {
        # A job that this process may itself be in is not that of the new cluster.
        **{k: v for k, v in os.environ.items() if not k.startswith("SLURM_")},
        "SLURM_CONF": str(settings),
        "PATH": _PATH,
    }
    with contextlib.ExitStack() as stack:
        for words in (
            ["munged", "--foreground", "--force", *_munge_files(folder / "munge")],
            ["slurmctld", "-D", "-i", "-f", str(settings)],
            ["slurmd", "-D", "-f", str(settings)],
        ):
            log = stack.enter_context((folder / f"{words[0]}.out").open("wb"))
            daemon = subprocess.Popen(
                words, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(_end, daemon)
            if words[0] == "munged":
                _wait((folder / "munge" / "socket").exists, lambda: "munged does not start", 60)
        here = Cluster(folder, environment)

        def is_idle() -> bool:
            with contextlib.suppress(subprocess.SubprocessError):
                return here.call("sinfo", "--noheader", "--format=%T", "-p", "low") == "idle"
            return False

        _wait(is_idle, lambda: f"the cluster in {folder} does not come up", _PATIENCE)
        stack.callback(_cancel_all, here)
        yield here


def _munge_files(folder: Path) -> list[str]:
    names = {"key": "key-file", "log": "log-file", "pid": "pid-file", "seed": "seed-file"}
    options = [f"--{option}={folder / name}" for name, option in names.items()]
    return [*options, f"--socket={folder / 'socket'}"]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def _cancel_all(here: Cluster) -> None:
    """End the jobs, whose processes are no children of this one, before the daemons."""
    here.call("scancel", "--user=root")
    with contextlib.suppress(TimeoutError):
        _wait(lambda: not here.call("squeue", "--noheader"), lambda: "jobs are left", 90)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cluster(Path(sys.argv[1])) as here:
        print(f"export SLURM_CONF={here.environment['SLURM_CONF']}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
