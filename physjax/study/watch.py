"""What a run of a study looks at while it is made: whether it still is this process's to make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from physjax import files
from physjax.study.shards import Claim
from physjax.train.callbacks import Callback, Phase

if TYPE_CHECKING:
    from physjax.train.state import Metrics
    from physjax.train.trainer import Trainer


class StopWhenLost(Callback):
    """Ends a run that another process has taken over; what it saved stays."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    def _check(self) -> None:
        if self._claim.lost:
            raise files.Locked(
                "this process gave no sign of life for too long, and another one has taken it over"
            )

    def on_phase(self, trainer: Trainer, phase: Phase) -> None:
        self._check()

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        self._check()
