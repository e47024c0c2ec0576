"""A run over two hosts: two processes of this machine, each with devices of its own."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from physjax.cli import common
from physjax.records import RunFolder
from physjax.train import multihost
from physjax.train.loop import fit
from physjax.train.multihost import HostError

ROOT = Path(__file__).resolve().parents[1]
WORDS = (
    *("--recipe", "smoke", "--model", "cnn", "--law", "ring", "--width", "0.1"),
    *("--batch-size", "20", "--epochs", "5", "--name", "run"),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@contextmanager
def two_hosts(*words: str) -> Iterator[list[subprocess.Popen[str]]]:
    """The command on both hosts, which have two devices each."""
    address = f"localhost:{free_port()}"
    started = []
    for number in (0, 1):
        environment = {
            **os.environ,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(number),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, str(ROOT / "experiments" / "run.py"), "--distributed", *words]
        started.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_two_hosts_train_as_one_and_stop_and_go_on_together(tmp_path: Path) -> None:
    """SIGTERM to the second host alone stops both at one step; what follows is the same run."""
    config = common.parse([*WORDS, "--runs-dir", str(tmp_path / "one"), "--devices", "4"]).config
    one = fit(config)
    words = (*WORDS, "--runs-dir", str(tmp_path / "two"))
    folder = RunFolder(tmp_path / "two" / "run")
    with two_hosts(*words) as processes:
        while len(folder.read_epochs()) < 2:
            codes = [process.poll() for process in processes]
            assert codes == [None, None], [p.communicate() for p in processes]
            time.sleep(0.05)
        processes[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [128 + signal.SIGTERM] * 2, outputs
    assert folder.read_result() is None
    assert len(folder.read_epochs()) < 5

    with two_hosts(*words) as processes:
        outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (talk, _), (other, _) = outputs
    assert "resumed" in talk
    assert "4 x cpu" in talk
    # What Gloo's threads print themselves may be torn and mixed; no word of it is one of these.
    for word in ("resumed", "epoch", "parameters", "images/s", "accuracy", "figures"):
        assert word in talk
        assert word not in other
    two = folder.read()
    assert two.result is not None
    assert one.result is not None
    assert two.result.device == dataclasses.replace(one.result.device, hosts=2)
    assert [epoch.step for epoch in two.epochs] == [epoch.step for epoch in one.epochs]
    for mine, theirs in zip(two.epochs, one.epochs, strict=True):
        # Sums over devices are taken in another order.
        np.testing.assert_allclose(mine.train_loss, theirs.train_loss, rtol=2e-3)
        np.testing.assert_allclose(mine.test_loss, theirs.test_loss, rtol=1e-2)
    assert (folder.figures / "accuracy.png").exists()


@pytest.mark.slow
def test_what_one_host_cannot_do_ends_both(tmp_path: Path) -> None:
    """A run folder of another config: the first host says why, the second that it was the other."""
    other = common.parse([*WORDS, "--runs-dir", str(tmp_path), "--learning-rate", "0.5"]).config
    RunFolder(tmp_path / "run").open(other)
    with two_hosts(*WORDS, "--runs-dir", str(tmp_path)) as processes:
        outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    assert "holds a run of another config (optim.learning_rate: 0.5 -> 0.05)" in outputs[0][1]
    assert "another host could not open the run's folder" in outputs[1][1]


def test_one_host_agrees_with_itself() -> None:
    assert multihost.is_lead_host()
    assert not multihost.is_multihost()
    assert multihost.allmax(7) == 7
    multihost.assert_equal("images", "they differ")


def test_half_of_the_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    with pytest.raises(HostError, match="JAX_NUM_PROCESSES, JAX_PROCESS_ID is not; set all"):
        multihost.initialize_distributed()


def test_without_a_cluster_the_variables_are_named() -> None:
    told = ("SLURM_", "OMPI_", "KUBERNETES_", "JAX_COORDINATOR", "TPU_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    command = [sys.executable, str(ROOT / "experiments" / "run.py"), "--distributed"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID" in run.stderr
