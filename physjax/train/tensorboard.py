"""TensorBoard events of a run, for those who watch runs there (extra `tensorboard`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from physjax.errors import UserError
from physjax.records import EpochRecord
from physjax.train.callbacks import Callback

if TYPE_CHECKING:
    from physjax.train.trainer import Trainer


class TensorBoard(Callback):
    """Writes each epoch's figures at its step, as events in `folder`.

    Raises UserError where tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UserError(
                "--tensorboard needs the package tensorboardX: pip install 'physjax[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        writer = self._writer
        for split in ("train", "test", "validation"):
            for quantity in ("loss", "accuracy"):
                value = getattr(record, f"{split}_{quantity}")
                if value is not None:
                    writer.add_scalar(f"{quantity}/{split}", value, record.step)
        writer.add_scalar("learning_rate", record.learning_rate, record.step)
        writer.add_scalar("images_per_second", record.images_per_second, record.step)
        for layer, figures in record.physics.items():
            for name, value in figures.items():
                writer.add_scalar(f"{name}/{layer}", value, record.step)
        writer.flush()

    def close(self) -> None:
        self._writer.close()
