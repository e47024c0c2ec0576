"""physjax's side of the benchmarks: what is timed, made in a process of its own.

JAX is imported in the functions: the processes of other contestants import this module too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

EXAMPLES = 50_000


def environment() -> dict[str, str]:
    """What a command of physjax sets before it starts (`physjax.runtime.configure`)."""
    from physjax import runtime

    return runtime.environment()


def images(examples: int = EXAMPLES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [examples, 32, 32, 3] noise and int32 labels: what they show changes no time."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (examples, 32, 32, 3), np.uint8),
        rng.integers(0, 10, examples, np.int32),
    )


def setup(
    batch_size: int = 128,
    examples: int = EXAMPLES,
    rule: Any = "backprop",
    augmented: bool = True,
    recipe: str = "standard",
    **model: Any,
) -> Any:
    """A setup of a recipe on data shaped like CIFAR-10.

    `rule`: its name, or the fields and settings of that part of the config; `model`: fields of it.
    """
    import dataclasses

    from physjax.config import RECIPES
    from physjax.data import DATASETS, DatasetInfo
    from physjax.train.setup import TrainSetup

    spec = DATASETS["cifar10"]
    info = DatasetInfo(
        name=spec.name,
        title="noise shaped like CIFAR-10",
        num_classes=spec.num_classes,
        class_names=spec.class_names,
        mean=spec.mean,
        std=spec.std,
        mirror=spec.mirror,
        version="",
        source="noise",
        fingerprint="",
        notice="",
    )
    base = RECIPES[recipe]
    config = dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, **model),
        optim=dataclasses.replace(base.optim, batch_size=batch_size, drop_remainder=True),
        rule=dataclasses.replace(
            base.rule, **({"update_rule": rule} if isinstance(rule, str) else rule)
        ),
        augment=base.augment
        if augmented
        else dataclasses.replace(base.augment, crop="none", mirror=False, cutout=0),
    )
    return TrainSetup(config, info, examples)


def ready(what: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """The compiled train step of a setup, the state it starts from, and its further arguments."""
    from physjax import runtime
    from physjax.train.setup import shuffle_indices
    from physjax.train.sharding import compile_step, place, place_state
    from physjax.train.state import init_state
    from physjax.train.step import train_step

    state = place_state(what, init_state(what))
    order = place(what, shuffle_indices(0, 0, what.train_size))
    data = (*place(what, images(what.train_size)), order)
    runtime.trim_memory()
    call = compile_step(what, train_step, state, *data, donate=True)
    runtime.trim_memory()
    return call, state, data


def train(
    batch_size: int = 128,
    examples: int = EXAMPLES,
    devices: int = 1,
    rule: Any = "backprop",
    augmented: bool = True,
    recipe: str = "standard",
    **model: Any,
) -> Callable[[], None]:
    """A train step, with gathering, normalising and, if `augmented`, augmenting its batch."""
    import dataclasses

    import jax

    what = setup(batch_size, examples, rule, augmented, recipe, **model)
    call, state, data = ready(dataclasses.replace(what, shards=devices))

    def step() -> None:
        nonlocal state
        state = jax.block_until_ready(call(state, *data))

    return step


def epochs(config: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Trains an epoch whenever it is called: seconds, and accuracy on the validation images.

    Compiling comes before the first call; its seconds stand in every answer.

    Args:
      config: as `physjax.config.to_dict` gives it, with images held out.
    """
    import time

    import jax

    from physjax import data, runtime
    from physjax.config import from_dict
    from physjax.train.compiled import CompiledSteps
    from physjax.train.setup import TrainSetup
    from physjax.train.sharding import place
    from physjax.train.state import init_state

    whole = from_dict(config)
    dataset = data.load(whole.data)
    what = TrainSetup(whole, dataset.info, len(dataset.train))
    state = place(what, init_state(what, dataset.train.images))
    steps = CompiledSteps(what, dataset)
    start = time.perf_counter()
    for _ in steps.compile(state):
        runtime.trim_memory()
    compiling = time.perf_counter() - start
    done = 0

    def epoch() -> dict[str, float]:
        nonlocal state, done
        start = time.perf_counter()
        order = steps.shuffle(state.seed, done)
        for step in range(what.steps_per_epoch):
            batches = steps.next_batches(step, order, 1)
            state = jax.block_until_ready(steps.train(state, order, batches, 1))
        seconds = time.perf_counter() - start
        done += 1
        metrics = steps.evaluate(state.variables, "validation", lambda: None).metrics
        return {"seconds": seconds, "accuracy": metrics.accuracy, "compile_seconds": compiling}

    return epoch


def parameter_count(**model: Any) -> int:
    """Trainable numbers of a network; `model`: fields of its config."""
    import jax

    from physjax.train.state import init_state

    what = setup(**model)
    params = jax.eval_shape(lambda: init_state(what).params)
    return sum(x.size for x in jax.tree.leaves(params))


def predict(batch_size: int = 500, folded: bool = True, **model: Any) -> Callable[[], Any]:
    """Probabilities of a batch of uint8 images, by the network as it stands or folded."""
    import dataclasses

    from physjax.evaluate.network import TrainedNetwork
    from physjax.train.state import init_state

    what = setup(batch_size, **model)
    run = dataclasses.replace(what.config.run, eval_batch_size=batch_size)
    what = dataclasses.replace(what, config=dataclasses.replace(what.config, run=run))
    network = TrainedNetwork(what, init_state(what).variables, merge=folded)
    batch, _ = images(batch_size)
    return lambda: network.log_probabilities(batch)
