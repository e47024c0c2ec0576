"""What looks on while a run is trained: progress, trackers, diagnostics, and a user's own.

A callback sees the :class:`physjax.train.trainer.Trainer` at the moments named here. It reads what
it likes and changes nothing that is computed; checkpoints, metrics.jsonl and result.json are the
Trainer's own, since a resumed run depends on their order. On several hosts each one calls its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from physjax.records import EpochRecord, Result
from physjax.train.feed import streams
from physjax.train.ledger import describe
from physjax.train.progress import Display

if TYPE_CHECKING:
    from physjax.train.predict import Evaluation
    from physjax.train.state import Metrics
    from physjax.train.trainer import Trainer

Phase = Literal["restoring", "compiling", "training", "evaluating", "saving"]
"""What a run is at."""


class Callback:
    """Does nothing; a subclass overrides the moments that it is for.

    An exception ends the run like any other error: what was saved before stays, and the run goes on
    from there when it is started again.

    Attributes:
      interval: seconds between two calls of :meth:`on_step`, at most 1. With 0 it comes after every
        compiled call, and the devices wait for it.
    """

    interval: float = 1.0

    def on_phase(self, trainer: Trainer, phase: Phase) -> None:
        """Something else begins: the first is `restoring`, before there is a state."""

    def on_start(self, trainer: Trainer) -> None:
        """The state is there, restored or new, and all is compiled; no step was done yet."""

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        """The trainer looks up from training, about once in `interval`, and at each epoch's end.

        `metrics` are those of the training images since the epoch began, up to `trainer.step`.
        """

    def layer_metrics(
        self, trainer: Trainer, evaluation: Evaluation
    ) -> Mapping[str, Mapping[str, float]]:
        """Numbers to add to the epoch's record (`EpochRecord.physics`), by layer and name.

        Asked after each evaluation on the test images. They must be finite: the run ends otherwise.
        """
        return {}

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        """An epoch was trained, saved and evaluated, and its line is in metrics.jsonl."""

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """The run has come to its end, and its result is written."""

    def close(self) -> None:
        """The session is over, whether the run came to its end or not."""


class Callbacks(Callback):
    """Several callbacks as one, called in their order."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.each = tuple(callbacks)

    @property
    def interval(self) -> float:  # type: ignore[override]
        """The shortest of theirs, as they are now."""
        return min((c.interval for c in self.each), default=Callback.interval)

    def on_phase(self, trainer: Trainer, phase: Phase) -> None:
        for callback in self.each:
            callback.on_phase(trainer, phase)

    def on_start(self, trainer: Trainer) -> None:
        for callback in self.each:
            callback.on_start(trainer)

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        for callback in self.each:
            callback.on_step(trainer, metrics)

    def layer_metrics(
        self, trainer: Trainer, evaluation: Evaluation
    ) -> dict[str, dict[str, float]]:
        merged: dict[str, dict[str, float]] = {}
        for callback in self.each:
            for layer, values in callback.layer_metrics(trainer, evaluation).items():
                own = merged.setdefault(layer, {})
                own.update({name: float(value) for name, value in values.items()})
        return merged

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        for callback in self.each:
            callback.on_epoch_end(trainer, record)

    def on_end(self, trainer: Trainer, result: Result) -> None:
        for callback in self.each:
            callback.on_end(trainer, result)

    def close(self) -> None:
        for callback in self.each:
            callback.close()


class ShowProgress(Callback):
    """A bar on a terminal, plain lines elsewhere (:class:`physjax.train.progress.Display`)."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def on_phase(self, trainer: Trainer, phase: Phase) -> None:
        self._display.phase(phase)

    def on_start(self, trainer: Trainer) -> None:
        setup, count = trainer.setup, trainer.device.hosts
        hosts = f"{count} hosts x " if count > 1 else ""
        how = f" ({setup.config.run.sharding})" if setup.shards > 1 else ""
        streamed = ", streamed" if streams(trainer.config, trainer.dataset) else ""
        self._display.say(
            f"{setup.info.title}: {setup.train_size:,} training and {len(trainer.dataset.test):,} "
            f"test images{streamed}; {trainer.parameters:,} parameters; {hosts}"
            f"{setup.shards // count} x {trainer.device.kind}{how}; "
            f"compiled in {trainer.compile_seconds:.1f} s"
        )

    def on_step(self, trainer: Trainer, metrics: Metrics) -> None:
        self._display.step(
            trainer.step,
            trainer.images_per_second,
            metrics.loss,
            metrics.accuracy,
            f"epoch {trainer.epoch + 1}/{trainer.config.optim.epochs}",
        )

    def on_end(self, trainer: Trainer, result: Result) -> None:
        if result.spent is not None:
            self._display.say(describe(result.spent, result.steps))

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        parts = [
            f"epoch {record.epoch}/{trainer.config.optim.epochs}",
            f"train {record.train_loss:.3f} {record.train_accuracy:.2%}",
        ]
        if record.test_loss is not None and record.test_accuracy is not None:
            parts.append(f"test {record.test_loss:.3f} {record.test_accuracy:.2%}")
        if record.images_per_second:
            parts.append(f"{record.images_per_second:,.0f} images/s")
        if record.epoch < trainer.config.optim.epochs:
            parts.append(self._display.time_left())
        self._display.say("  ".join(part for part in parts if part))
