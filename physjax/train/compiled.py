"""The images of a run on its devices, and what is compiled for them ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from physjax import data
from physjax.train.feed import Batches, make_feed, steps_per_call, streams
from physjax.train.predict import Evaluation, Predictor
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.sharding import compile_step, own_columns, place, place_batches
from physjax.train.state import TrainState
from physjax.train.step import train_step


class CompiledSteps:
    """The steps of a run, to be called with what changes alone.

    Args:
      setup: what the steps need.
      dataset: its images; they are copied to the devices, or streamed.

    Attributes:
      streamed: whether the images come batch by batch; else all of them lie on the devices.
      steps_per_call: that the config asks for, or a choice for the platform.
    """

    def __init__(self, setup: TrainSetup, dataset: data.Dataset) -> None:
        self._setup = setup
        self.streamed = streams(setup.config, dataset)
        wanted = setup.config.run.steps_per_call
        chosen = wanted or steps_per_call(setup, jax.default_backend())
        self.steps_per_call = min(chosen, setup.steps_per_epoch)
        self._feed = make_feed(setup, dataset)
        self._train: dict[int, Callable[..., Any]] = {}
        self._evaluated = {"test": dataset.test}
        if dataset.validation is not None:
            self._evaluated["validation"] = dataset.validation

    @property
    def splits(self) -> tuple[str, ...]:
        """Those to evaluate: `test`, and `validation` where images are held out."""
        return tuple(self._evaluated)

    def compile(self, state: TrainState) -> Iterator[None]:
        """Compile all that a run usually calls, and yield after each: it takes seconds to minutes.

        What is streamed is read ahead from the step of `state` on, meanwhile.

        Uncompiled functions would wait for each other; ahead of time all compiling is one figure.
        """
        setup, per_call = self._setup, self.steps_per_call
        self._feed.start(int(state.step), per_call)
        self._shuffle = (
            jax.jit(shuffle_indices, static_argnums=2)
            .lower(state.seed, np.int32(0), setup.train_size)
            .compile()
        )
        self._begin_epoch(state.seed, int(state.step) // setup.steps_per_epoch)
        example = place(setup, np.zeros(setup.train_size, np.int32))
        for repeat in {per_call, setup.steps_per_epoch % per_call} - {0}:
            self._train_call(state, example, repeat)
            yield
        self._predictor = Predictor(setup, state.variables)
        # They stay on the devices for all epochs.
        self._batches = {
            name: list(self._predictor.batches(split.images))
            for name, split in self._evaluated.items()
            if not self.streamed
        }
        yield

    def shuffle(self, seed: jax.Array, epoch: int) -> Any:
        """int32 [N]: the order of an epoch, on the devices."""
        self._begin_epoch(seed, epoch)
        return place(self._setup, self._shuffle(seed, np.int32(epoch)))

    def _begin_epoch(self, seed: jax.Array, epoch: int) -> None:
        self._feed.begin_epoch(epoch, lambda n: np.asarray(self._shuffle(seed, np.int32(n))))

    def in_call(self, step: int) -> int:
        """How many steps the call at `step` does."""
        most, at = self.steps_per_call, step % self._setup.steps_per_epoch
        # Fewer at the end of an epoch, and after a resume within a call of several steps.
        return min(most - at % most, self._setup.steps_per_epoch - at)

    def next_batches(self, step: int, order: Any, repeat: int) -> Batches:
        """What the call of :meth:`train` at `step` takes; streamed images are waited for.

        Raises ImageError for one that cannot be read.
        """
        return self._feed.next(step, order, repeat)

    def train(self, state: TrainState, order: Any, batches: Batches, repeat: int) -> TrainState:
        """The state after `repeat` steps; the buffers of `state` are taken away."""
        return self._train_call(state, order, repeat)(state, order, *batches)

    def _train_call(self, state: TrainState, order: Any, repeat: int) -> Callable[..., Any]:
        if repeat not in self._train:
            # Other numbers than the usual ones come after a resume within a call of several steps.
            batch = np.arange(self._setup.config.optim.batch_size)
            size = len(own_columns(self._setup, batch))
            side = self._setup.info.image_size
            images = np.zeros((repeat, size, side, side, 3), np.uint8)
            examples = place_batches(self._setup, (images, np.zeros((repeat, size), np.int32)))
            self._train[repeat] = compile_step(
                self._setup,
                _gathered_step,
                *(state, order, *examples),
                repeat=repeat,
                batches=2,
                donate=True,
            )
        return self._train[repeat]

    def evaluate(self, variables: Any, name: str, between: Callable[[], None]) -> Evaluation:
        """Evaluate the network on a split, and call `between` after each batch."""
        split = self._evaluated[name]
        batches = self._batches.get(name) or self._predictor.batches(split.images)
        return self._predictor.evaluate(variables, batches, split.labels, between)

    def close(self) -> None:
        """No step comes any more: what is read ahead is stopped."""
        self._feed.close()


def _gathered_step(
    setup: TrainSetup,
    state: TrainState,
    order: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    shard: jax.Array | int,
) -> TrainState:
    return train_step(setup, state, images, labels, order, shard, gathered=True)
