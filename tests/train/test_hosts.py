"""A run on several hosts: processes of this machine, each with devices of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from helpers.exports import small_run
from helpers.limits import UpAt
from helpers.on_hosts import first_steps
from helpers.runs import assert_same, parameters
from physjax import runtime
from physjax.cli import common
from physjax.errors import Interrupted
from physjax.records import RunFolder
from physjax.train import multihost
from physjax.train.loop import fit
from physjax.train.multihost import HostError
from physjax.train.time_limit import TimeLimit

pytestmark = pytest.mark.quick_compile

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ("-m", "physjax", "train", "--distributed")
CHILD = (str(ROOT / "tests" / "helpers" / "on_hosts.py"),)
NETWORK = ("--recipe", "smoke", "--model", "cnn", "--law", "ring", "--width", "0.1")
WORDS = (*NETWORK, "--batch-size", "20", "--epochs", "4", "--name", "run")
EIGHT = (*NETWORK, "--batch-size", "40", "--epochs", "2", "--name", "run")
"""For eight devices."""
# Only a test that hangs needs it; nothing here takes a tenth of it.
PATIENCE = 600

Host = subprocess.Popen[str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@contextmanager
def hosts(
    *words: str,
    of: int = 2,
    numbers: Sequence[int] | None = None,
    address: str | None = None,
    devices: int = 2,
) -> Iterator[list[Host]]:
    """Python with these words on every host, or those of `numbers`; they have as many devices."""
    address = address or f"localhost:{free_port()}"
    # A user's flags stay, as in conftest.py.
    flags = re.sub(r"(device_count)=\d+", rf"\1={devices}", os.environ["XLA_FLAGS"])
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(of) if numbers is None else numbers:
            environment = {
                # With malloc's settings there from the start no host starts itself again.
                **os.environ,
                **runtime.environment(),
                "XLA_FLAGS": flags,
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": str(of),
                "JAX_PROCESS_ID": str(number),
                "PYTHONUNBUFFERED": "1",
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            }
            host = subprocess.Popen(
                [sys.executable, *words],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(stack.enter_context(host))
            stack.callback(host.kill)
        yield started


def wait_for_epochs(folder: RunFolder, count: int, processes: Sequence[Host]) -> None:
    while len(folder.read_epochs()) < count:
        codes = [process.poll() for process in processes]
        assert codes == [None] * len(codes), [p.communicate() for p in processes]
        time.sleep(0.02)


def ends(processes: Sequence[Host], *codes: int) -> list[tuple[str, str]]:
    """What the processes, which end with these exit codes, have said on stdout and stderr."""
    outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == list(codes), outputs
    return outputs


def no_stack(text: str) -> None:
    for word in ("Traceback", "stack trace", "Terminating process", "coordination_service"):
        assert word not in text


@pytest.mark.exhaustive
def test_killed_and_stopped_hosts_go_on_to_the_same_end_bit_for_bit(tmp_path: Path) -> None:
    """One run of two hosts without a break; and one after a SIGKILL and a SIGTERM to host 1."""
    with hosts(*TRAIN, *WORDS, "--runs-dir", str(tmp_path / "whole")) as processes:
        (talk, _), (other, _) = ends(processes, 0, 0)
    assert "parameters; 2 hosts x 2 x cpu (pmap); compiled" in talk
    # What Gloo's threads print themselves may be torn and mixed; no word of it is one of these.
    for word in ("epoch", "parameters", "images/s", "accuracy", "figures"):
        assert word in talk
        assert word not in other
    whole = RunFolder(tmp_path / "whole" / "run")
    result = whole.read_result()
    assert result is not None
    assert (result.device.hosts, result.device.count) == (2, 4)
    assert (whole.figures / "accuracy.png").exists()

    words = (*TRAIN, *WORDS, "--runs-dir", str(tmp_path / "broken"))
    folder = RunFolder(tmp_path / "broken" / "run")
    with hosts(*words) as processes:
        wait_for_epochs(folder, 1, processes)
        processes[1].kill()
        (_, told), _ = ends(processes, 2, -signal.SIGKILL)
    assert f"error: host 1 ({socket.gethostname()}, 127.0.0.1) is gone" in told
    no_stack(told)
    with hosts(*words) as processes:
        wait_for_epochs(folder, 2, processes)
        processes[1].send_signal(signal.SIGTERM)
        outputs = ends(processes, 128 + signal.SIGTERM, 128 + signal.SIGTERM)
    steps = [re.findall(r"stopped by SIGTERM at step (\d+);", err) for _, err in outputs]
    assert len(steps[0]) == 1
    assert steps[0] == steps[1]
    assert folder.read_result() is None
    with hosts(*words) as processes:
        (talk, _), _ = ends(processes, 0, 0)
    assert f"at step {steps[0][0]} of" in talk
    assert_same(folder.path, whole.path)


@pytest.mark.exhaustive
def test_each_host_reads_its_own_images_and_all_end_as_with_those_on_the_devices(
    tmp_path: Path,
) -> None:
    for mode in ("device", "stream"):
        words = (*WORDS, "--data-mode", mode, "--holdout", "0.1")
        with hosts(*TRAIN, *words, "--runs-dir", str(tmp_path / mode)) as processes:
            (talk, _), _ = ends(processes, 0, 0)
        assert ("images, streamed; " in talk) == (mode == "stream")
    assert_same(tmp_path / "stream" / "run", tmp_path / "device" / "run")


@pytest.mark.exhaustive
def test_a_time_limit_that_one_host_sees_first_stops_both_at_one_step(tmp_path: Path) -> None:
    with hosts(*CHILD, "limit", "600", *WORDS, "--runs-dir", str(tmp_path)) as processes:
        outputs = ends(processes, 143, 143)
    steps = [re.findall(r"stopped by the time limit at step (\d+);", err) for _, err in outputs]
    assert steps[0] == steps[1] != []
    assert (tmp_path / "run" / "checkpoints" / steps[0][0]).is_dir()


@pytest.mark.parametrize(
    ("of", "ways", "losses"),
    [(2, "pmap,fsdp", 2), pytest.param(8, "pmap", 0, marks=pytest.mark.exhaustive)],
)
def test_hosts_take_the_batches_and_steps_of_one(
    tmp_path: Path, of: int, ways: str, losses: int
) -> None:
    """Eight devices of one process, of two, and of eight."""
    words = ("steps", "600", str(tmp_path / "found.json"), ways, str(losses), *EIGHT)
    with hosts(*CHILD, *words, of=of, devices=8 // of) as processes:
        one = first_steps(EIGHT, 8, losses=losses)
        ends(processes, *[0] * of)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert len(set(one["batches"])) == 20
    for way in ways.split(","):
        assert found[way]["batches"] == one["batches"]
    # Sums over devices are taken in another order.
    np.testing.assert_allclose(found["pmap"]["losses"], one["losses"], rtol=0, atol=1e-6)


@pytest.mark.exhaustive
def test_a_run_goes_on_over_two_hosts_with_its_state_in_parts(tmp_path: Path) -> None:
    """Begun by one process on eight devices under pmap, in the middle of an epoch."""
    still, moved = (
        common.parse([*EIGHT, "--runs-dir", str(tmp_path / name)]).config
        for name in ("still", "moved")
    )
    fit(still)
    limit = TimeLimit(1e6)
    with pytest.raises(Interrupted):
        fit(moved, time_limit=limit, callbacks=[UpAt(limit, 3)])
    words = ("--runs-dir", str(tmp_path / "moved"), "--sharding", "fsdp")
    with hosts(*CHILD, "fit", "600", *EIGHT, *words) as processes:
        (talk, _), _ = ends(processes, 0, 0)
    assert "resumed" in talk
    assert "at step 3 of 10" in talk
    assert "2 hosts x 2 x cpu (fsdp)" in talk
    folders = [RunFolder.of(config) for config in (moved, still)]
    for found, wanted in zip(*(folder.read_epochs() for folder in folders), strict=True):
        np.testing.assert_allclose(found.train_loss, wanted.train_loss, rtol=1e-4)
    arrays, same = (parameters(folder.checkpoints) for folder in folders)
    for name, wanted_array in same.items():
        np.testing.assert_allclose(arrays[name], wanted_array, rtol=1e-2, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("job", ["OSError", "MemoryError", "KeyboardInterrupt"])
def test_an_error_of_any_kind_on_one_host_ends_all(job: str) -> None:
    said = {
        "OSError": "OSError: [Errno 28] No space left on device",
        # Told by the call that failed or by the line between the hosts, whichever is heard first.
        "MemoryError": "MemoryError: no memory for 8 EiB",
        "KeyboardInterrupt": "KeyboardInterrupt",
    }[job]
    # The time-out is far longer than the test has: nobody waits for it.
    with hosts(*CHILD, job, "86400") as processes:
        code = 130 if job == "KeyboardInterrupt" else 2
        (_, told), (_, own) = ends(processes, 2, code)
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: host 1 ({socket.gethostname()}, 127.0.0.1) ")
    assert line.endswith(f": {said}")
    no_stack(told)
    assert job != "OSError" or "error: [Errno 28] No space left on device\n" in own


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_host_ends_all_the_others(victim: int) -> None:
    """Three hosts: what host 0 sees is told to host 2; and host 0 itself, the coordinator."""
    with hosts(*CHILD, "wait", "86400", of=3) as processes:
        for process in processes:
            assert process.stdout is not None
            while "ready" not in process.stdout.readline():
                assert process.poll() is None
        processes[victim].kill()
        codes = [-signal.SIGKILL if number == victim else 2 for number in range(3)]
        outputs = ends(processes, *codes)
    for number in {0, 1, 2} - {victim}:
        assert f"error: host {victim} ({socket.gethostname()}, " in outputs[number][1]
        assert "is gone" in outputs[number][1]
        no_stack(outputs[number][1])


@pytest.mark.exhaustive
def test_a_host_that_hangs_ends_the_others_after_the_time_out() -> None:
    # Heartbeats come ten times as often as they must, from a thread that waits for nothing.
    with hosts(*CHILD, "wait", "15") as processes:
        assert processes[0].stdout is not None
        while "ready" not in processes[0].stdout.readline():
            assert processes[0].poll() is None
        processes[1].send_signal(signal.SIGSTOP)
        (_, told), *_ = ends(processes[:1], 2)
    assert "has been silent for 15 s (--peer-timeout)" in told
    no_stack(told)


def test_hosts_that_do_not_come_are_named() -> None:
    address = f"localhost:{free_port()}"
    with hosts(*CHILD, "wait", "3", of=3, numbers=[0], address=address) as processes:
        ((_, told),) = ends(processes, 2)
    assert f"hosts 1, 2 of 3 did not come to {address} within 3 s (--peer-timeout)" in told
    address = f"localhost:{free_port()}"
    with hosts(*CHILD, "wait", "3", numbers=[1], address=address) as processes:
        ((_, told),) = ends(processes, 2)
    assert f"host 0 ({address}) did not answer within 3 s (--peer-timeout)" in told


def test_a_host_of_another_job_is_refused() -> None:
    """A second host 1 while a third one is awaited; the same port for a second host 0."""
    address = f"localhost:{free_port()}"
    with (
        hosts(*CHILD, "wait", "600", of=3, numbers=[0], address=address),
        hosts(*CHILD, "wait", "600", of=3, numbers=[1, 1], address=address) as twins,
    ):
        while all(twin.poll() is None for twin in twins):
            time.sleep(0.02)
        refused = next(twin for twin in twins if twin.poll() is not None)
        ((_, told),) = ends([refused], 2)
        assert "there are two hosts number 1 of 3" in told
        with hosts(*CHILD, "wait", "600", of=3, numbers=[0], address=address) as second:
            ((_, told),) = ends(second, 2)
        assert "host 0 cannot listen at port" in told


@pytest.mark.slow
def test_what_one_host_cannot_do_ends_both(tmp_path: Path) -> None:
    """A run folder of another config: both say why, the second one that it was the first."""
    other = common.parse([*WORDS, "--runs-dir", str(tmp_path), "--learning-rate", "0.5"]).config
    RunFolder(tmp_path / "run").open(other)
    with hosts(*TRAIN, *WORDS, "--runs-dir", str(tmp_path)) as processes:
        (_, own), (_, told) = ends(processes, 2, 2)
    why = "holds a run of another config (optim.learning_rate: 0.5 -> 0.05)"
    assert why in own
    assert why in told
    # Told by the call that failed or by the line between the hosts, whichever is heard first.
    assert f"error: host 0 ({socket.gethostname()}, " in told


@pytest.mark.exhaustive
def test_hosts_start_from_one_file_and_not_from_two(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors is missing: install the extra `export`")
    files = []
    for number in (0, 1):
        run = small_run(tmp_path / f"of{number}", learning_rate=0.01 * (number + 1))
        files.append(str(run.export("safetensors", tmp_path / f"{number}.safetensors")))
    words = (*TRAIN, *WORDS, "--runs-dir", str(tmp_path / "runs"), "--start-from")
    address = f"localhost:{free_port()}"
    with (
        hosts(*words, files[0], numbers=[0], address=address) as first,
        hosts(*words, files[1], numbers=[1], address=address) as second,
    ):
        for _, told in ends([*first, *second], 2, 2):
            assert "the hosts of this run have different weights in" in told
    assert not (tmp_path / "runs").exists()
    with hosts(*words, files[0]) as processes:
        (talk, _), _ = ends(processes, 0, 0)
    assert "starts from" in talk


def test_one_host_agrees_with_itself() -> None:
    assert multihost.is_lead_host()
    assert not multihost.is_multihost()
    assert multihost.allmax(7) == 7
    multihost.assert_equal("images", "they differ")


@pytest.mark.parametrize(
    ("set_to", "said"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "localhost:1"}, "JAX_NUM_PROCESSES, JAX_PROCESS_ID is not"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two'; give a whole number"),
        ({"JAX_PROCESS_ID": "2"}, "this is host 2 of 2; hosts are numbered from 0"),
        ({"JAX_COORDINATOR_ADDRESS": "first"}, "the address of host 0 is 'first'"),
    ],
)
def test_variables_that_cannot_be_are_refused(
    set_to: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {
        "JAX_COORDINATOR_ADDRESS": "localhost:1",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "0",
    }
    for name, value in {**(whole if "is not" not in said else {}), **set_to}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(HostError, match=re.escape(said)):
        multihost.initialize_distributed()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_a_time_out_must_be_one(seconds: float) -> None:
    with pytest.raises(HostError, match="give seconds from 1 to 86400"):
        multihost.initialize_distributed(seconds)


def test_without_a_cluster_the_variables_are_named() -> None:
    told = ("SLURM_", "OMPI_", "KUBERNETES_", "JAX_COORDINATOR", "TPU_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    run = subprocess.run(
        [sys.executable, *TRAIN],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID" in run.stderr
