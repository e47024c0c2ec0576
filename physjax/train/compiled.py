"""The images of a run on its devices, and what is compiled for them ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from physjax import data
from physjax.train.predict import Evaluation, Predictor
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.sharding import compile_step, place
from physjax.train.state import TrainState
from physjax.train.step import train_step


class CompiledSteps:
    """The steps of a run, to be called with what changes alone.

    Args:
      setup: what the steps need.
      dataset: its images; they are copied to the devices.
    """

    def __init__(self, setup: TrainSetup, dataset: data.Dataset) -> None:
        self._setup = setup
        self._images = place(setup, (dataset.train.images, dataset.train.labels))
        self._train: dict[int, Callable[..., Any]] = {}
        self._evaluated = {"test": dataset.test}
        if dataset.validation is not None:
            self._evaluated["validation"] = dataset.validation

    @property
    def splits(self) -> tuple[str, ...]:
        """Those to evaluate: `test`, and `validation` where images are held out."""
        return tuple(self._evaluated)

    def compile(self, state: TrainState, steps_per_call: int) -> Iterator[None]:
        """Compile all that a run usually calls, and yield after each: it takes seconds to minutes.

        Uncompiled functions would wait for each other; ahead of time all compiling is one figure.
        """
        setup = self._setup
        self._shuffle = (
            jax.jit(shuffle_indices, static_argnums=2)
            .lower(state.seed, np.int32(0), setup.train_size)
            .compile()
        )
        example = place(setup, np.zeros(setup.train_size, np.int32))
        for repeat in {steps_per_call, setup.steps_per_epoch % steps_per_call} - {0}:
            self._train_call(state, example, repeat)
            yield
        self._predictor = Predictor(setup, state.variables)
        # They stay on the devices for all epochs.
        self._batches = {
            name: list(self._predictor.batches(split.images))
            for name, split in self._evaluated.items()
        }
        yield

    def shuffle(self, seed: jax.Array, epoch: int) -> Any:
        """int32 [N]: the order of an epoch, on the devices."""
        return place(self._setup, self._shuffle(seed, np.int32(epoch)))

    def train(self, state: TrainState, order: Any, repeat: int) -> TrainState:
        """The state after `repeat` steps; the buffers of `state` are taken away."""
        return self._train_call(state, order, repeat)(state, *self._images, order)

    def _train_call(self, state: TrainState, order: Any, repeat: int) -> Callable[..., Any]:
        if repeat not in self._train:
            # Other numbers than the usual ones come after a resume within a call of several steps.
            arguments = (state, *self._images, order)
            self._train[repeat] = compile_step(
                self._setup, train_step, *arguments, repeat=repeat, donate=True
            )
        return self._train[repeat]

    def evaluate(self, variables: Any, name: str, between: Callable[[], None]) -> Evaluation:
        """Evaluate the network on a split, and call `between` after each batch."""
        labels = self._evaluated[name].labels
        return self._predictor.evaluate(variables, self._batches[name], labels, between)


def steps_per_call(platform: str) -> int:
    """On XLA:CPU a convolution in a loop body is hundreds of times slower than outside one."""
    return 1 if platform == "cpu" else 16
