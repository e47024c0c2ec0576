"""Clocks that go by as they are told to, and limits that are over at a step."""

from __future__ import annotations

from physjax.train.callbacks import Callback
from physjax.train.state import Metrics
from physjax.train.time_limit import TimeLimit
from physjax.train.trainer import Trainer


class Clock:
    """Seconds; goes by as it is told to."""

    start = 1000.0

    def __init__(self) -> None:
        self.now = self.start

    def __call__(self) -> float:
        return self.now


class UpAt(Callback):
    """Lets the time be up when a run has come to a step."""

    interval = 0.0

    def __init__(self, limit: TimeLimit, step: int) -> None:
        self._limit, self._step = limit, step

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        if trainer.step >= self._step:
            self._limit.seconds = 1e-9
