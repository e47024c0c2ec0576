"""What a checkpoint costs, compared with the training between one and the next.

    python benchmarks/checkpoint_cost.py --json results/benchmarks/checkpoint_cost.json

AlexNet at full width with the ring force, and the recipe's optimiser. Training waits while the
state is copied, its arrays are digested and the writing is begun; the rest is written while it goes
on, and takes time from its steps on the same processor. Both are the cost. Beside them stand what
it takes until all is written, and until it is flushed to the disk (fsync of each file and folder,
which nobody waits for). By default a checkpoint is written every ten minutes, and at the end of
each epoch.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, alone, announce, options, write

EPOCH = 50_000
"""Images, of CIFAR-10."""


def measure(model: str, batch: int, saves: int) -> dict[str, Any]:
    """Seconds, each a median over the checkpoints; called in a process of its own."""
    import jax

    from physjax.config import RECIPES
    from physjax.train import multihost
    from physjax.train.checkpoint import Checkpoints, digests

    call, state, data = physjax_side.ready(physjax_side.setup(batch, 5000, name=model))

    def step() -> float:
        nonlocal state
        began = time.perf_counter()
        state = jax.block_until_ready(call(state, *data))
        return time.perf_counter() - began

    step()
    kinds = ("copy", "digest", "save", "slower steps", "written", "flush", "step")
    rows: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints")
        # The first one is waited for and read back.
        checkpoints.save(state, 0)
        for number in range(1, saves + 1):
            plain = statistics.median(step() for _ in range(3))
            began = time.perf_counter()
            host = multihost.fetch(state)
            rows["copy"].append(time.perf_counter() - began)
            began = time.perf_counter()
            digests(host)
            rows["digest"].append(time.perf_counter() - began)
            began = time.perf_counter()
            checkpoints.save(state, number)
            rows["save"].append(time.perf_counter() - began)
            beside = [step() for _ in range(3)]
            checkpoints.wait()
            rows["written"].append(time.perf_counter() - began)
            rows["step"].append(plain)
            rows["slower steps"].append(max(0.0, sum(beside) - 3 * plain))
            began = time.perf_counter()
            size = flush(Path(folder) / "checkpoints" / str(number))
            rows["flush"].append(time.perf_counter() - began)
        checkpoints.close()
    found = {kind: statistics.median(values) for kind, values in rows.items()}
    cost = found["save"] + found["slower steps"]
    epoch = EPOCH // batch * found["step"]
    minutes = RECIPES["standard"].run.checkpoint_minutes
    return {
        "seconds": found,
        "each": rows,
        "bytes": size,
        "cost_seconds": cost,
        "epoch_seconds": epoch,
        "share_of_interval": cost / (60 * minutes),
        "share_of_epoch": cost / epoch,
        "epoch_seconds_of_two_percent": cost / 0.02,
    }


def flush(folder: Path) -> int:
    """Have the system bring everything in `folder` to the disk; how many bytes it is."""
    size = 0
    for path in [folder, *folder.rglob("*")]:
        size += path.stat().st_size if path.is_file() else 0
        number = os.open(path, os.O_RDONLY)
        os.fsync(number)
        os.close(number)
    return size


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", default="physics")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--saves", type=int, default=7)
    parser.add_argument("--beside", default="", help="what else the machine does, for the record")
    arguments = parser.parse_args()
    facts = announce()
    what = {"model": arguments.model, "batch": arguments.batch, "saves": arguments.saves}
    found = alone(
        Contestant("checkpoint", "checkpoint_cost:measure", what, physjax_side.environment())
    )
    print(", ".join(f"{kind} {1e3 * value:.0f} ms" for kind, value in found["seconds"].items()))
    print(
        f"cost {1e3 * found['cost_seconds']:.0f} ms of {found['bytes'] / 1e6:.0f} MB: "
        f"{found['share_of_interval']:.3%} of the interval, {found['share_of_epoch']:.2%} of an "
        f"epoch of {found['epoch_seconds']:.0f} s; 2% of one of "
        f"{found['epoch_seconds_of_two_percent']:.0f} s"
    )
    write(arguments.json, {"machine": facts, "beside": arguments.beside, **what, **found})


if __name__ == "__main__":
    main()
