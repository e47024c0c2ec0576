"""Where the train step takes its images from: those that lie on the devices, or batches that come.

Both give the step the same rows of the same images, and it does the same with them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from physjax.config import Config
from physjax.data import Dataset, Split
from physjax.data.lazy import LazyImages
from physjax.data.stream import Orders, ReadAhead, TrainingBatches, is_streamed
from physjax.train.setup import TrainSetup
from physjax.train.sharding import compile_step, own_columns, place, place_batches
from physjax.train.state import TrainState
from physjax.train.step import train_step

_MOST_IN_A_CALL = 32 << 20
"""Bytes of streamed images that one call of several steps takes."""


class Feed(ABC):
    """The training images, as the calls of the train step take them."""

    @abstractmethod
    def start(self, step: int, steps_per_call: int) -> None:
        """The run goes on at `step`, in calls of so many steps."""

    @abstractmethod
    def begin_epoch(self, epoch: int, draw: Callable[[int], np.ndarray]) -> None:
        """The next steps are of that epoch; `draw` gives the order of any epoch, [N]."""

    @abstractmethod
    def compile(self, state: TrainState, order: Any, repeat: int) -> Callable[..., TrainState]:
        """(state, order, *:meth:`next`) -> the state after `repeat` steps; donates the state."""

    @abstractmethod
    def next(self) -> tuple[Any, Any]:
        """Images and labels for the next call."""

    @abstractmethod
    def close(self) -> None:
        """No call comes any more."""


class OnDevice(Feed):
    """All training images, whole on each device: a step takes the rows of its batch from them."""

    def __init__(self, setup: TrainSetup, train: Split) -> None:
        self._setup = setup
        self._images = place(setup, (train.images, train.labels))

    def start(self, step: int, steps_per_call: int) -> None:
        del step, steps_per_call

    def begin_epoch(self, epoch: int, draw: Callable[[int], np.ndarray]) -> None:
        del epoch, draw

    def compile(self, state: TrainState, order: Any, repeat: int) -> Callable[..., TrainState]:
        call = compile_step(
            self._setup, train_step, state, *self._images, order, repeat=repeat, donate=True
        )
        return lambda state, order, images, labels: call(state, images, labels, order)

    def next(self) -> tuple[Any, Any]:
        return self._images

    def close(self) -> None:
        pass


class Streamed(Feed):
    """Batches that are read ahead, each host those rows that its devices take.

    Where the run goes on is a number, the step of its checkpoint: nothing else is to be saved.
    """

    def __init__(self, setup: TrainSetup, train: Split) -> None:
        self._setup, self._train = setup, train
        self._orders = Orders()
        self._ahead: ReadAhead[tuple[Any, Any]] | None = None
        self._columns = own_columns(setup, setup.config.optim.batch_size)

    def start(self, step: int, steps_per_call: int) -> None:
        setup = self._setup
        if step >= setup.total_steps:
            return
        source = TrainingBatches(
            images=self._train.images,
            labels=self._train.labels,
            orders=self._orders,
            batch_size=setup.config.optim.batch_size,
            columns=self._columns,
            steps_per_epoch=setup.steps_per_epoch,
            steps_per_call=steps_per_call,
            first_step=step,
            last_step=setup.total_steps,
        )
        self._ahead = ReadAhead(
            source,
            self._train.images,
            setup.config.data.workers,
            partial(place_batches, setup),
        )
        self._ahead.start()

    def begin_epoch(self, epoch: int, draw: Callable[[int], np.ndarray]) -> None:
        self._orders.drop(epoch)
        # Of the next one too: reading ahead does not end with an epoch.
        for number in range(epoch, min(epoch + 2, self._setup.config.optim.epochs)):
            if number not in self._orders:
                self._orders.put(number, draw(number))

    def compile(self, state: TrainState, order: Any, repeat: int) -> Callable[..., TrainState]:
        size, side = len(self._columns), self._train.images.shape[1]
        images = np.zeros((repeat, size, side, side, 3), np.uint8)
        examples = place_batches(self._setup, (images, np.zeros((repeat, size), np.int32)))
        return compile_step(
            self._setup,
            _streamed_step,
            state,
            order,
            *examples,
            repeat=repeat,
            batches=2,
            donate=True,
        )

    def next(self) -> tuple[Any, Any]:
        assert self._ahead is not None
        return next(self._ahead)

    def close(self) -> None:
        self._orders.close()
        if self._ahead is not None:
            self._ahead.close()


def _streamed_step(
    setup: TrainSetup,
    state: TrainState,
    order: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    shard: jax.Array | int,
) -> TrainState:
    return train_step(setup, state, images, labels, order, shard, gathered=True)


def make_feed(setup: TrainSetup, dataset: Dataset) -> Feed:
    """That of the mode that the config asks for (`DataConfig.mode`)."""
    return (Streamed if streams(setup.config, dataset) else OnDevice)(setup, dataset.train)


def streams(config: Config, dataset: Dataset) -> bool:
    """Whether the training images are streamed."""
    if isinstance(dataset.train.images, LazyImages):
        return True
    held = 0 if dataset.validation is None else len(dataset.validation)
    count = len(dataset.train) + len(dataset.test) + held
    return is_streamed(config.data.mode, count, dataset.info.image_size)


def steps_per_call(setup: TrainSetup, platform: str, streamed: bool) -> int:
    """How many steps one compiled call takes, where the config does not say it.

    On XLA:CPU a convolution in a loop body is hundreds of times slower than outside one.
    """
    if platform == "cpu":
        return 1
    most = 16
    if streamed:
        size = 3 * setup.config.optim.batch_size * setup.info.image_size**2
        most = min(most, max(1, _MOST_IN_A_CALL // size))
    return most
