"""The images of a run on its devices, and what is compiled for them ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from physjax import data
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.sharding import compile_step, place
from physjax.train.state import TrainState
from physjax.train.step import Evaluation, batch_starts, eval_step, train_step


class CompiledSteps:
    """The steps of a run, to be called with what changes alone.

    Args:
      setup: what the steps need.
      dataset: its images; they are copied to the devices.
    """

    def __init__(self, setup: TrainSetup, dataset: data.Dataset) -> None:
        self._setup = setup
        self._splits = {
            name: _arrays(setup, split)
            for name, split in (
                ("train", dataset.train),
                ("test", dataset.test),
                ("validation", dataset.validation),
            )
            if split is not None
        }
        self._train: dict[int, Callable[..., Any]] = {}
        self._evaluate: dict[int, Callable[..., Any]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that there are, of `train`, `test` and `validation`."""
        return tuple(self._splits)

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
        for name, split in self._splits.items():
            if name != "train" and len(split[1]) not in self._evaluate:
                self._evaluate[len(split[1])] = compile_step(
                    setup, eval_step, state.variables, *split, np.int32(0)
                )
                yield

    def shuffle(self, seed: jax.Array, epoch: int) -> Any:
        """int32 [N]: the order of an epoch, on the devices."""
        return place(self._setup, self._shuffle(seed, np.int32(epoch)))

    def train(self, state: TrainState, order: Any, repeat: int) -> TrainState:
        """The state after `repeat` steps; the buffers of `state` are taken away."""
        return self._train_call(state, order, repeat)(state, *self._splits["train"], order)

    def _train_call(self, state: TrainState, order: Any, repeat: int) -> Callable[..., Any]:
        if repeat not in self._train:
            # Other numbers than the usual ones come after a resume within a call of several steps.
            arguments = (state, *self._splits["train"], order)
            self._train[repeat] = compile_step(
                self._setup, train_step, *arguments, repeat=repeat, donate=True
            )
        return self._train[repeat]

    def evaluate(self, variables: Any, name: str) -> Iterator[Evaluation]:
        """The sums of each batch of a split, `test` or `validation`."""
        split = self._splits[name]
        call = self._evaluate[len(split[1])]
        for start in batch_starts(self._setup, len(split[1])):
            yield jax.tree.map(np.array, call(variables, *split, np.int32(start)))


def _arrays(setup: TrainSetup, split: data.Split) -> tuple[jax.Array, jax.Array]:
    images, labels = place(setup, (split.images, split.labels))
    return jnp.asarray(images), jnp.asarray(labels)
