"""Signals: the first one is remembered, a second one ends the process whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from physjax.train import signals

START = """
import hashlib, signal, sys, time
from pathlib import Path
from physjax.train import signals
from physjax.cli.common import exit_code
from physjax.errors import Interrupted

def work():
    with signals.caught() as caught:
        print("at work", flush=True)
        {work}
        while not caught.received:
            time.sleep(0.01)
        raise Interrupted(caught.received, Path("runs/x"), "at step 3")

{before}
sys.exit(exit_code(work))
"""


def start(work: str = "pass", before: str = "pass") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", START.format(work=work, before=before)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize("number", signals.NUMBERS, ids=lambda n: signal.Signals(n).name)
def test_each_ends_the_work_with_its_own_exit_code(number: int) -> None:
    process = start()
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    # A warning means the same to a job file as the SIGTERM that would follow it.
    wanted = signal.SIGTERM if number == signal.SIGUSR1 else number
    assert process.returncode == 128 + wanted
    name = signal.Signals(number).name
    assert f"stopped by {name} at step 3; the same command goes on from there" in errors
    assert "Traceback" not in errors


LOST = """
import gc, sys, time
from physjax.cli.common import exit_code

def once(phase, info):
    gc.callbacks.remove(once)
    raise KeyboardInterrupt

class Finalised:
    def __del__(self):
        raise KeyboardInterrupt

def work():
    {lose}
    print("lost", flush=True)
    time.sleep(100)

sys.exit(exit_code(work))
"""


@pytest.mark.parametrize("lose", ["gc.callbacks.append(once); gc.collect()", "Finalised()"])
def test_ctrl_c_is_not_lost_where_python_cannot_raise(lose: str) -> None:
    """In a callback of the garbage collector, where JAX has one, and in a finaliser."""
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(lose=lose)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "stopped by SIGINT\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_second_one_ends_what_cannot_be_interrupted(number: int) -> None:
    """A call of C that lets other threads run, and takes hours: so does XLA's compiler."""
    process = start(work="hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)")
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while (line := process.stderr.readline()) != "SIGTERM: saving, then stopping; again: at once\n":
        assert line == "\n"
    time.sleep(1.1 * signals.TOGETHER)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert errors.strip() == f"{signal.Signals(number).name} again: stopped at once"


def test_a_warning_is_neither_a_first_signal_nor_a_second_one() -> None:
    """A batch system sends SIGUSR1, and SIGTERM when the time is up; the run is still saving."""
    process = start(work="hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)")
    assert process.stderr is not None

    def said(text: str) -> None:
        while (line := process.stderr.readline()) != f"{text}; again: at once\n":
            assert line == "\n"

    process.send_signal(signal.SIGUSR1)
    said("SIGUSR1: saving, then stopping")
    time.sleep(1.1 * signals.TOGETHER)
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGTERM)
    said("SIGTERM: still saving")
    time.sleep(1.1 * signals.TOGETHER)
    process.send_signal(signal.SIGUSR1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert errors.strip() == "SIGTERM again: stopped at once"


def test_in_a_notebook_a_second_ctrl_c_ends_the_call_alone() -> None:
    process = start(
        before="sys.ps1 = '>>> '",
        work="""
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            print("still here", flush=True)
            return
        """,
    )
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while process.stderr.readline() != "SIGINT: saving, then stopping; again: at once\n":
        pass
    time.sleep(1.1 * signals.TOGETHER)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out == "still here\n"


def test_a_hang_up_that_comes_twice_is_one() -> None:
    """The kernel and the shell both tell of a lost terminal."""
    source, sink = os.pipe()
    os.write(sink, bytes([signal.SIGWINCH, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP]))
    os.close(sink)
    caught = signals.Signals()
    caught._watch(source, -1)
    os.close(source)
    assert caught.received == signal.SIGHUP


def test_nohup_is_respected() -> None:
    process = start(before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=120)
    assert process.returncode == 143


def test_ctrl_c_outside_of_training_is_no_traceback() -> None:
    process = start(work="signal.signal(signal.SIGINT, signal.default_int_handler)")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in errors


def test_everything_is_as_before_afterwards() -> None:
    def state() -> list[object]:
        return [signal.getsignal(n) for n in signals.NUMBERS]

    before, threads = state(), threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(3):
        with signals.caught() as outer, signals.caught() as inner:
            assert inner is outer
            assert state() != before
        assert state() == before
        wakeup = signal.set_wakeup_fd(-1)
        assert wakeup == -1
    assert threading.active_count() == threads
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == descriptors
