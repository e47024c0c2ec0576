"""What one host of several does in test_hosts.py: on_hosts.py JOB PEER_TIMEOUT ..."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from helpers.limits import UpAt
from helpers.steps import batch_digests
from physjax.cli import common
from physjax.data import load
from physjax.train import loop, multihost, sharding
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.sharding import compile_step, place
from physjax.train.state import start_state
from physjax.train.step import train_step
from physjax.train.time_limit import TimeLimit


def first_steps(
    words: Sequence[str], shards: int, way: str = "pmap", losses: int = 2
) -> dict[str, list[Any]]:
    """What a run's first steps take and give, on `shards` devices.

    `batches` are digests of twenty batches, and `losses` the mean losses after one step, two, ...
    """
    config = common.parse(words).config.set("run.sharding", way)
    dataset = load(config.data)
    size = len(dataset.train.labels)
    setup = TrainSetup(config, dataset.info, size, shards)
    batches, seen = batch_digests(setup, dataset, range(20)), []
    if losses:
        state = start_state(setup, dataset.train.images)
        order = shuffle_indices(0, 1, size)
        arrays = place(setup, (dataset.train.images, dataset.train.labels, order))
        train = compile_step(setup, train_step, state, *arrays)
    for _ in range(losses):
        state = train(state, *arrays)
        seen.append(float(np.array(state.metrics.loss_sum)) / float(state.metrics.count))
    return {"batches": batches, "losses": seen}


def _ask_for_ever(at_five: Callable[[], None]) -> None:
    """Meet the other hosts again and again, and say so; the last host does `at_five` once."""
    for count in range(10**9):
        multihost.allmax(count)
        if count == 3:
            print("ready", flush=True)
        if count == 5 and jax.process_index() == jax.process_count() - 1:
            at_five()
        time.sleep(0.05)


def _raise(error: BaseException) -> Callable[[], None]:
    def raising() -> None:
        raise error

    return raising


def _one_cannot() -> None:
    for _ in range(3):
        multihost.barrier()
    with multihost.all_or_none("write the record"):
        if not multihost.is_lead_host():
            raise MemoryError("no memory for 8 EiB")


def _limited() -> None:
    """The time is up on the last host, at step 3."""
    limit = TimeLimit(1e6)
    config = common.parse(sys.argv[3:]).config
    is_last = jax.process_index() == jax.process_count() - 1
    loop.fit(config, time_limit=limit, callbacks=[UpAt(limit, 3 if is_last else 10**9)])


JOBS: dict[str, Callable[[], None]] = {
    "wait": lambda: _ask_for_ever(lambda: None),
    "OSError": lambda: _ask_for_ever(_raise(OSError(28, "No space left on device"))),
    "KeyboardInterrupt": lambda: _ask_for_ever(_raise(KeyboardInterrupt())),
    "MemoryError": _one_cannot,
    "limit": _limited,
    "fit": lambda: print(loop.fit(common.parse(sys.argv[3:]).config).result is not None),
}


def main() -> None:
    job, timeout = sys.argv[1], float(sys.argv[2])
    sharding.WHOLE_BELOW = 128  # The networks are small.
    with multihost.distributed(timeout):
        if job in JOBS:
            JOBS[job]()
        else:
            file, ways, losses, *words = sys.argv[3:]
            devices = jax.device_count()
            found = {
                way: first_steps(words, devices, way, int(losses) * (way == "pmap"))
                for way in ways.split(",")
            }
            if multihost.is_lead_host():
                Path(file).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(common.exit_code(main))
