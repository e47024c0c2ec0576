"""Weights & Biases, on its server or, with WANDB_MODE=offline, in a folder."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

from physjax.config import Config
from physjax.train.trackers.tracker import Tracker, kept_id, parameters


class WandB(Tracker):
    """A run of the project that WANDB_PROJECT names, else of `physjax`.

    Its files lie in `<run>/wandb`. The package's own environment variables hold: WANDB_MODE,
    WANDB_ENTITY, WANDB_BASE_URL, ...
    """

    name = "wandb"
    package = "wandb"

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__(folder, config)
        wandb = self.imported()
        settings = wandb.Settings(console="off", silent=True)
        self._run = wandb.init(
            project=None if settings.project else "physjax",
            id=kept_id(folder, self.name, partial(secrets.token_hex, 4)),
            name=folder.name,
            resume="allow",
            dir=str(folder),
            config=parameters(config),
            settings=settings,
        )

    def log(self, scalars: dict[str, float], step: int) -> None:
        self._run.log(scalars, step=step)

    def close(self) -> None:
        self._run.finish(exit_code=0 if self._ended else 1)
