"""Batches of images that do not all fit on the device, read ahead of the steps that need them.

A batch is a number: which rows it has follows from the epoch's order, which the device draws
(`physjax.train.setup.shuffle_indices`), and nothing random happens here. So what comes is the same
however many workers or hosts there are, and a run goes on at any batch. Grain
(google-grain.readthedocs.io) makes batches ahead of time, in threads or in worker processes.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from physjax.data.images import ignore_odd_files
from physjax.data.lazy import Images, LazyImages, Pixels
from physjax.data.types import DataError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Rows = npt.NDArray[np.integer]

LIMIT = 2 << 30
"""Bytes of decoded images up to which mode `auto` keeps all of them on the device."""
_THREADS = 8
_ON_DEVICE = 2
"""Batches that wait there for their step."""
_POLL = 0.01
_WORTH_STARTING = 10_000
"""So many images must be read in order for worker processes, which take seconds to start."""


def is_streamed(mode: str, count: int, side: int) -> bool:
    """Whether `count` images of that side do not lie on the device (`DataConfig.mode`)."""
    return mode == "stream" or (mode == "auto" and 3 * count * side**2 > LIMIT)


class Orders:
    """The orders of a run's epochs, in files, where worker processes find them.

    Few are there at a time: those of the epoch at hand and of the one that is read ahead.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="physjax-"))

    def __contains__(self, epoch: int) -> bool:
        return self._path(epoch).exists()

    def put(self, epoch: int, order: Rows) -> None:
        """Say in which order the epoch takes the training images, [N]."""
        new = self._path(epoch).with_suffix(".new")
        with new.open("wb") as file:
            np.save(file, order)
        new.rename(self._path(epoch))

    def drop(self, before: int) -> None:
        """Forget the epochs before this one."""
        for path in self._folder.glob("*.npy"):
            if int(path.stem) < before:
                path.unlink()

    def get(self, epoch: int) -> Rows:
        """The order of an epoch, when it is there. Raises DataError where the run has ended."""
        path = self._path(epoch)
        while not path.exists():
            if not self._folder.exists():
                raise DataError("the images of a run that has ended cannot be read")
            time.sleep(_POLL)
        return _order_in(path)

    def close(self) -> None:
        """Forget all; who waits for an order stops."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{epoch}.npy"


@functools.lru_cache(maxsize=2)
def _order_in(path: Path) -> Rows:
    order: Rows = np.load(path)
    return order


class Source(Protocol[T_co]):
    """What Grain reads: things by their number, which may be sent to worker processes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> T_co: ...


@dataclass(frozen=True)
class TrainingBatches:
    """The batches of the calls of a train step: images [steps, n, S, S, 3], labels [steps, n].

    In an epoch every call has `steps_per_call` steps, and the last one what is left. Past the end
    of the training set a batch is filled up with the last image of the order.
    """

    images: Images
    labels: npt.NDArray[np.int32]
    orders: Orders
    batch_size: int
    columns: Rows
    """[n]: which images of a batch are wanted here."""
    steps_per_epoch: int
    steps_per_call: int
    first_step: int
    last_step: int

    def __len__(self) -> int:
        return self._calls_before(self.last_step) - self._calls_before(self.first_step)

    def __getitem__(self, index: int) -> tuple[Pixels, npt.NDArray[np.int32]]:
        epoch, call = divmod(index + self._calls_before(self.first_step), self._calls_per_epoch)
        begin = call * self.steps_per_call
        end = min(begin + self.steps_per_call, self.steps_per_epoch)
        if index == 0:  # a run may go on in the middle of a call
            begin = self.first_step % self.steps_per_epoch
        order = self.orders.get(epoch)
        positions = np.arange(begin, end)[:, None] * self.batch_size + self.columns
        rows = order[np.minimum(positions, len(order) - 1)]
        images = gather(self.images, rows.ravel())
        return images.reshape(*rows.shape, *images.shape[1:]), self.labels[rows]

    def _calls_before(self, step: int) -> int:
        """How many calls begin before that step of the run, or at it where it is within a call."""
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs * self._calls_per_epoch + rest // self.steps_per_call

    @property
    def _calls_per_epoch(self) -> int:
        return -(-self.steps_per_epoch // self.steps_per_call)


@dataclass(frozen=True)
class BatchesInOrder:
    """Images in order, [n, S, S, 3] at a time; copies of the last one fill up the last batch."""

    images: Images
    batch_size: int
    columns: Rows
    """[n]: which images of a batch are wanted here."""

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index: int) -> Pixels:
        rows = np.minimum(index * self.batch_size + self.columns, len(self.images) - 1)
        return gather(self.images, rows)


def gather(images: Images, rows: Rows) -> Pixels:
    """Those images, decoded in this thread."""
    return images.decode(rows) if isinstance(images, LazyImages) else images[rows]


class ReadAhead(Iterator[T]):
    """What a source has, in order, made ahead of time.

    Args:
      source: of batches; it is sent to the workers.
      images: those that it reads. Where they lie in memory threads do, and no worker is started.
      workers: processes; 0: threads of this one.
      convert: is called on each thing in a thread, e.g. to bring it to the device.
    """

    def __init__(
        self,
        source: Source[Any],
        images: Images,
        workers: int,
        convert: Callable[[Any], T],
    ) -> None:
        # Here, not above: Grain takes a second to import, and JAX with it.
        import grain
        from absl import flags

        # Grain asks for flags of its own, which absl gives once a command line was parsed.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        lazy = isinstance(images, LazyImages)
        threads = min(_THREADS, os.cpu_count() or 1) if lazy and not workers else 1
        if lazy:
            ignore_odd_files()
        stages = grain.MapDataset.source(source).to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        )
        if lazy and workers:
            stages = stages.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=_begin_worker
            ).map(_copied)
        stages = grain.experimental.ThreadPrefetchIterDataset(
            stages.map(convert), prefetch_buffer_size=_ON_DEVICE
        )
        self._iterator = iter(stages)

    def start(self) -> None:
        """Begin to read, before the first thing is asked for."""
        self._iterator.start_prefetch()

    def __next__(self) -> T:
        try:
            found: T = next(self._iterator)
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise DataError(
                f"a process that reads images has ended ({error}); where there was no memory for "
                "it, give fewer --workers"
            ) from error
        return found

    def close(self) -> None:
        """Stop reading, and end the workers."""
        self._iterator.close()


def in_order(
    images: Images, batch_size: int, columns: Rows | None = None, workers: int = 0
) -> Iterator[Pixels]:
    """Batches as :class:`BatchesInOrder` has them; `columns`: None for all.

    Few images are read by threads, whatever `workers` says.

    Raises ImageError for an image that cannot be read.
    """
    source = BatchesInOrder(
        images, batch_size, np.arange(batch_size) if columns is None else columns
    )
    if not isinstance(images, LazyImages):
        yield from (source[index] for index in range(len(source)))
        return
    workers = workers if len(images) >= _WORTH_STARTING else 0
    ahead: ReadAhead[Pixels] = ReadAhead(source, images, workers, lambda batch: batch)
    try:
        yield from ahead
    finally:
        ahead.close()


def _copied(batch: Any) -> Any:
    """A batch of a worker in memory of this process.

    It comes in shared memory, which a device that is a CPU would go on to use, and hold.
    """
    return tuple(map(np.array, batch)) if isinstance(batch, tuple) else np.array(batch)


def _begin_worker(index: int, count: int) -> None:
    """What a worker process does first: it ends with the one that started it, and not before."""
    del index, count
    # A terminal and a batch system send signals to all processes; what they mean the first decides.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    ignore_odd_files()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
