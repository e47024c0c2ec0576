"""A trace of a few train steps: where their time goes, operation by operation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jax

from physjax.train.callbacks import Callback

if TYPE_CHECKING:
    from physjax.train.state import Metrics
    from physjax.train.trainer import Trainer


class Profile(Callback):
    """Traces steps with JAX's profiler, in `<run>/profile`.

    There TensorBoard finds it (`tensorboard --logdir`, with its profile plug-in), and Perfetto
    (ui.perfetto.dev) opens the file :attr:`trace`.

    Args:
      steps: that are traced, at least.
      skip: steps of the session that come before: the first ones still warm caches.

    Attributes:
      trace: the trace for Perfetto, gzipped JSON; None before there is one.
    """

    def __init__(self, steps: int = 10, skip: int = 3) -> None:
        self._steps, self._skip = steps, skip
        self._first: int | None = None
        self._tracing = False
        self.interval = 0.0
        self.trace: Path | None = None

    def on_start(self, trainer: Trainer) -> None:
        self._folder = trainer.folder.path / "profile"
        self._first = trainer.step + self._skip
        if not self._skip:
            self._start()

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        if self._first is None or self.trace is not None:
            return
        if self._tracing and trainer.step >= self._first + self._steps:
            self.close()
        elif not self._tracing and trainer.step >= self._first:
            self._start()

    def _start(self) -> None:
        jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
        self._tracing = True

    def close(self) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
            self.trace = max(self._folder.rglob("perfetto_trace.json.gz"), key=_written)
        # From here on the devices wait for nobody.
        self.interval = Callback.interval


def _written(path: Path) -> float:
    return path.stat().st_mtime
