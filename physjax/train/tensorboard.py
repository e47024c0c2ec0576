"""TensorBoard events of a run, for those who watch runs there (extra `tensorboard`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from physjax.errors import UserError
from physjax.records import EpochRecord


def open_writer(folder: Path) -> Any:
    """A writer of events into `folder`. Raises UserError where tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UserError(
            "--tensorboard needs the package tensorboardX: pip install 'physjax[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder))


def write_epoch(writer: Any, epoch: EpochRecord) -> None:
    """Add one epoch's figures at its step."""
    for arm in ("train", "test", "validation"):
        for quantity in ("loss", "accuracy"):
            value = getattr(epoch, f"{arm}_{quantity}")
            if value is not None:
                writer.add_scalar(f"{quantity}/{arm}", value, epoch.step)
    writer.add_scalar("learning_rate", epoch.learning_rate, epoch.step)
    writer.add_scalar("images_per_second", epoch.images_per_second, epoch.step)
    for layer, figures in epoch.physics.items():
        for name, value in figures.items():
            writer.add_scalar(f"{name}/{layer}", value, epoch.step)
    writer.flush()
