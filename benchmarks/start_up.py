"""How long until the first step: importing, reading the data, compiling, cold and warm.

    python benchmarks/start_up.py --json results/benchmarks/start_up.json [--data-dir D]

Every figure is of a process of its own. Cold: with empty caches of decoded images and of compiled
programs. Warm: with those that the cold one left.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, alone, announce, options, write


def start_up(model: str, data_dir: str | None) -> dict[str, float]:
    """Seconds of each part, in a process that has imported nothing yet."""
    start = time.perf_counter()
    from physjax import runtime

    runtime.configure(restart=True)

    import dataclasses

    import jax

    from physjax import data
    from physjax.config import RECIPES
    from physjax.train import loop  # noqa: F401
    from physjax.train.predict import Predictor
    from physjax.train.setup import TrainSetup, shuffle_indices
    from physjax.train.sharding import compile_step, place
    from physjax.train.state import init_state
    from physjax.train.step import train_step

    seconds = {"import": time.perf_counter() - start}

    start = time.perf_counter()
    base = RECIPES["standard"]
    config = dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, data_dir=data_dir),
        model=dataclasses.replace(base.model, name=model),
    )
    dataset = data.load(config.data)
    seconds["data"] = time.perf_counter() - start

    start = time.perf_counter()
    setup = TrainSetup(
        dataclasses.replace(
            config, data=dataclasses.replace(config.data, dataset=dataset.info.name)
        ),
        dataset.info,
        len(dataset.train),
    )
    state = place(setup, init_state(setup))
    seconds["initial state"] = time.perf_counter() - start

    train = place(setup, (dataset.train.images, dataset.train.labels))
    order = place(setup, shuffle_indices(state.seed, 0, setup.train_size))
    start = time.perf_counter()
    step = compile_step(setup, train_step, state, *train, order, donate=True)
    seconds["compiling the train step"] = time.perf_counter() - start
    start = time.perf_counter()
    jax.block_until_ready(step(state, *train, order))
    seconds["first step"] = time.perf_counter() - start
    state = place(setup, init_state(setup))
    start = time.perf_counter()
    Predictor(setup, state.variables)
    seconds["compiling the evaluation"] = time.perf_counter() - start
    return seconds


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", nargs="+", default=["physics", "alexnet", "cnn"])
    parser.add_argument("--data-dir", help="TFDS folder with CIFAR-10; without it the digits")
    arguments = parser.parse_args()
    facts = announce()
    record: dict[str, Any] = {"machine": facts, "models": {}}
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            settings = {**physjax_side.environment(), "PHYSJAX_CACHE": folder}
            what = {"model": model, "data_dir": arguments.data_dir}
            contestant = Contestant(model, "start_up:start_up", what, settings)
            cold, warm = alone(contestant), alone(contestant)
        record["models"][model] = {"cold": cold, "warm": warm}
        print(f"{model}: seconds cold, warm")
        for part, seconds in cold.items():
            print(f"  {part:26} {seconds:6.2f} {warm[part]:6.2f}", flush=True)
    write(arguments.json, record)


if __name__ == "__main__":
    main()
