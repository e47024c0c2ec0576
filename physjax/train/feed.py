"""Where the train step's batches come from: images that lie on the devices, or a stream of them.

Both give the same rows of the same images to the same compiled step.
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
from physjax.train.batch import rows_of_steps
from physjax.train.setup import TrainSetup
from physjax.train.sharding import compile_gather, own_columns, place, place_batches

Batches = tuple[Any, Any]
"""Images and labels for the steps of a call, as `physjax.train.sharding.place_batches` has them."""

_MOST_IN_A_CALL = 64 << 20
"""Bytes of images that a call of several steps takes."""


class Feed(ABC):
    """The training images, as the calls of the train step take them."""

    @abstractmethod
    def start(self, step: int, steps_per_call: int) -> None:
        """The run goes on at `step`, in calls of so many steps."""

    @abstractmethod
    def begin_epoch(self, epoch: int, draw: Callable[[int], np.ndarray]) -> None:
        """The next steps are of that epoch; `draw` gives the order of any epoch, [N]."""

    @abstractmethod
    def next(self, step: int, order: jax.Array, repeat: int) -> Batches:
        """What the call at `step` takes, which is the next one.

        Args:
          step: of the run.
          order: of its epoch, on the devices.
          repeat: how many steps the call has.
        """

    @abstractmethod
    def close(self) -> None:
        """No call comes any more."""


class OnDevice(Feed):
    """All training images lie on each device, which takes the rows of its batches from them."""

    def __init__(self, setup: TrainSetup, train: Split) -> None:
        self._setup = setup
        self._images = place(setup, (train.images, train.labels))
        self._gather: dict[int, Callable[..., Batches]] = {}

    def start(self, step: int, steps_per_call: int) -> None:
        del step, steps_per_call

    def begin_epoch(self, epoch: int, draw: Callable[[int], np.ndarray]) -> None:
        del epoch, draw

    def next(self, step: int, order: jax.Array, repeat: int) -> Batches:
        arguments = self._images, order, place(self._setup, np.int32(step))
        if repeat not in self._gather:
            rows = partial(_rows, self._setup, repeat)
            self._gather[repeat] = compile_gather(self._setup, rows, *arguments)
        return self._gather[repeat](*arguments)

    def close(self) -> None:
        pass


def _rows(setup: TrainSetup, repeat: int, order: jax.Array, step: jax.Array) -> jax.Array:
    return setup.in_device_order(rows_of_steps(setup, order, step, repeat))


class Streamed(Feed):
    """Batches that are read ahead, each host those rows that its devices take.

    Where the run goes on is a number, the step of its checkpoint: nothing else is to be saved.
    """

    def __init__(self, setup: TrainSetup, train: Split) -> None:
        self._setup, self._train = setup, train
        self._orders = Orders()
        self._ahead: ReadAhead[Batches] | None = None
        whole = np.arange(setup.config.optim.batch_size)
        self._columns = own_columns(setup, setup.in_device_order(whole))

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

    def next(self, step: int, order: jax.Array, repeat: int) -> Batches:
        del step, order, repeat
        assert self._ahead is not None
        return next(self._ahead)

    def close(self) -> None:
        self._orders.close()
        if self._ahead is not None:
            self._ahead.close()


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


def steps_per_call(setup: TrainSetup, platform: str) -> int:
    """How many steps one compiled call takes, where the config does not say it.

    On XLA:CPU a convolution in a loop body is hundreds of times slower than outside one.
    """
    if platform == "cpu":
        return 1
    size = 3 * setup.config.optim.batch_size * setup.info.image_size**2
    return min(16, max(1, _MOST_IN_A_CALL // size))
