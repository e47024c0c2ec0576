"""What one host of several does in test_hosts.py: on_hosts.py JOB PEER_TIMEOUT ..."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax

from physjax.cli import common
from physjax.data import load
from physjax.train import loop, multihost
from physjax.train.batch import select_batch
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.sharding import compile_step, place, place_state
from physjax.train.state import TrainState, init_state
from physjax.train.step import train_step
from physjax.train.time_limit import TimeLimit


def first_steps(words: tuple[str, ...], shards: int) -> dict[str, np.ndarray[Any, Any]]:
    """The first batches of a run's second epoch and its first losses, on `shards` devices.

    `rows` int [steps, batch] are the rows of the training set, `inputs` the augmented images
    [steps, batch, S, S, 3], and `losses` [2] the mean loss after one step and after two.
    """
    config = common.parse(words).config
    dataset = load(config.data)
    size = len(dataset.train.labels)
    setup = TrainSetup(config, dataset.info, size, shards)
    state = place_state(setup, init_state(setup))
    images, labels, numbers, order = place(
        setup,
        (
            dataset.train.images,
            dataset.train.labels,
            np.arange(size, dtype=np.int32),
            shuffle_indices(0, 1, size),
        ),
    )

    def batch(setup: TrainSetup, state: TrainState, *data: jax.Array, shard: jax.Array) -> Any:
        chosen = select_batch(setup, state, *data, shard)
        assert setup.axis_name is not None
        return lax.all_gather((chosen.targets, chosen.inputs), setup.axis_name, tiled=True)

    select = compile_step(setup, batch, state, images, numbers, order)
    picked = []
    for step in range(3):
        at = state.replace(step=place(setup, np.int32(setup.steps_per_epoch + step)))
        picked.append(jax.tree.map(np.array, select(at, images, numbers, order)))
    train = compile_step(setup, train_step, state, images, labels, order)
    losses = []
    for _ in range(2):
        state = train(state, images, labels, order)
        losses.append(float(np.array(state.metrics.loss_sum)) / float(state.metrics.count))
    rows, inputs = zip(*picked, strict=True)
    return {"rows": np.stack(rows), "inputs": np.stack(inputs), "losses": np.array(losses)}


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
    from limits import UpAt  # This is a script, and the file lies beside it.

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
}


def main() -> None:
    job, timeout = sys.argv[1], float(sys.argv[2])
    with multihost.distributed(timeout):
        if job in JOBS:
            JOBS[job]()
        else:
            found = first_steps(tuple(sys.argv[4:]), jax.device_count())
            if multihost.is_lead_host():
                np.savez(Path(sys.argv[3]) / "found.npz", **found)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(common.exit_code(main))
