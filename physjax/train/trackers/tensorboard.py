"""TensorBoard events in the run's folder."""

from __future__ import annotations

from pathlib import Path

from physjax.config import Config
from physjax.train.trackers.tracker import Tracker


class TensorBoard(Tracker):
    """Writes events in `<run>/tensorboard`, for `tensorboard --logdir`."""

    name = "tensorboard"
    package = "tensorboardX"

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__(folder, config)
        self._writer = self.imported().SummaryWriter(str(folder / "tensorboard"))

    def log(self, scalars: dict[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
