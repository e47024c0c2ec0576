"""What the benchmarks share: the facts of the machine, contestants in turns, and their record."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Contestant:
    """Something to be timed, in a process of its own: libraries keep threads, memory and settings.

    `make` names a function, "module:function"; called with the arguments in that process, it
    returns what is timed. A name, so that no process imports another contestant's libraries. The
    script that calls :func:`race` is imported by all of them: it imports no such library either.
    """

    label: str
    make: str
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a contestant took."""

    seconds: list[float]
    """Of one call, a figure for each turn."""
    setup_seconds: float
    """From the process's start to the end of the first call: imports, data, compiling."""
    peak_memory_mib: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio(self, other: Outcome) -> float:
        """How many times as fast as `other`: the median over turns of the ratio in each turn."""
        return statistics.median(b / a for a, b in zip(self.seconds, other.seconds, strict=True))

    def ratio_quartiles(self, other: Outcome) -> tuple[float, float]:
        """First and third quartile of what :meth:`ratio` is the median of."""
        ratios = [b / a for a, b in zip(self.seconds, other.seconds, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        return low, high


# Threads of a library that has just been used spin for a while before they sleep.
_REST_SECONDS = 0.2


def race(
    contestants: Sequence[Contestant], turns: int, turn_seconds: float = 1.0
) -> dict[str, Outcome]:
    """Time the contestants in turns, each of as many calls as take about `turn_seconds`.

    The others wait, idle. What else the machine does hits all of them alike.
    """
    pipes, setups, calls = {}, {}, {}
    with contextlib.ExitStack() as processes:
        for contestant in contestants:
            start = time.perf_counter()
            ours = processes.enter_context(_process(_serve, contestant))
            pipes[contestant.label] = ours
            ours.recv()
            setups[contestant.label] = time.perf_counter() - start
            ours.send(1)
            calls[contestant.label] = max(1, round(turn_seconds / ours.recv()))
        seconds: dict[str, list[float]] = {label: [] for label in pipes}
        for _ in range(turns):
            for label, pipe in pipes.items():
                time.sleep(_REST_SECONDS)
                pipe.send(calls[label])
                seconds[label].append(pipe.recv() / calls[label])
        outcomes = {}
        for label, pipe in pipes.items():
            pipe.send(0)
            outcomes[label] = Outcome(seconds[label], setups[label], pipe.recv())
        return outcomes


def in_turns(contestants: Sequence[Contestant], rounds: int) -> Iterator[dict[str, Any]]:
    """What the contestants' calls return, round by round: each is called once in a round.

    As in :func:`race` each has a process of its own, and the others wait, idle.
    """
    with contextlib.ExitStack() as processes:
        pipes = {}
        for contestant in contestants:
            pipes[contestant.label] = processes.enter_context(_process(_report, contestant))
            # One after the other, so that none compiles beside another one.
            pipes[contestant.label].recv()
        for _ in range(rounds):
            found = {}
            for label, pipe in pipes.items():
                time.sleep(_REST_SECONDS)
                pipe.send("call")
                found[label] = pipe.recv()
            yield found


def alone(contestant: Contestant) -> Any:
    """What the contestant's function returns, called once in a process of its own."""
    with _process(_answer, contestant) as pipe:
        return pipe.recv()


@contextlib.contextmanager
def _process(
    target: Callable[[Connection, Contestant], None], contestant: Contestant
) -> Iterator[Connection]:
    """The pipe to a process that runs `target`, and is ended when the context is left."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, contestant), daemon=True)
    with _environment(contestant.environment):
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()
        process.close()
        ours.close()


def _named(make: str) -> Callable[..., Any]:
    module, _, function = make.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _answer(pipe: Connection, contestant: Contestant) -> None:
    pipe.send(_named(contestant.make)(**contestant.arguments))


def _report(pipe: Connection, contestant: Contestant) -> None:
    call = _named(contestant.make)(**contestant.arguments)
    pipe.send("ready")
    while pipe.recv():
        pipe.send(call())


def _serve(pipe: Connection, contestant: Contestant) -> None:
    call = _named(contestant.make)(**contestant.arguments)
    call()
    pipe.send("ready")
    while calls := pipe.recv():
        call()  # the caches are the last contestant's
        start = time.perf_counter()
        for _ in range(calls):
            call()
        pipe.send(time.perf_counter() - start)
    pipe.send(peak_memory_mib())


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def peak_memory_mib() -> float:
    """Most memory that this process had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which a process inherits from the one that it was forked from.
        line = next(
            x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM")
        )
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def machine() -> dict[str, Any]:
    """What this runs on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    widest = "?"
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        flags = next((line.split() for line in lines if line.startswith("flags")), [])
        model = names[0] if names else model
        widest = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "no AVX")
    versions = {}
    for name in ("jax", "jaxlib", "flax", "torch", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "cpu": model,
        "widest_vectors": widest,
        "cores": os.cpu_count(),
        # Of these, the ones that this process may use: fewer under taskset, which Linux alone has.
        "processors": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "system": platform.system(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "versions": versions,
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def matrix_product_gflops() -> float:
    """The rate of a product of two 2048 x 2048 matrices of float32 in NumPy: a peak to compare."""
    a = np.ones((2048, 2048), np.float32)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times) / 1e9


def describe(facts: dict[str, Any]) -> str:
    """One line about the machine."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    line = (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['widest_vectors']}, {facts['system']}, "
        f"{facts['libc']}; {versions}; load average before {facts['load_average_before']}"
    )
    if "matrix_product_gflops" in facts:
        line += f"; {facts['matrix_product_gflops']:.0f} GFLOP/s in matrix products"
    return line


def options(description: str | None) -> argparse.ArgumentParser:
    """The command line of a benchmark: the first line of its docstring, and `--json`."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser


def announce(products: bool = False) -> dict[str, Any]:
    """The facts of the machine, printed; with `products` its rate in matrix products too."""
    facts = machine()
    if products:
        facts["matrix_product_gflops"] = matrix_product_gflops()
    print(describe(facts))
    return facts


def write(path: Path | None, record: dict[str, Any]) -> None:
    """`record` as JSON, if there is a path."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {path}")
