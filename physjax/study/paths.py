"""Where a study and its runs lie on this machine, and what they run on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from physjax.config import Config
from physjax.study.folder import StudyFolder


@dataclass(frozen=True)
class Paths:
    """Folders and devices of this machine; they change nothing that is computed."""

    results_dir: Path = Path("results/studies")
    """Studies lie below it: what is committed."""
    runs_dir: Path = Path("runs")
    """Checkpoints lie below it, in runs_dir/<study>/<run>."""
    data_dir: str | None = None
    """TFDS folder. None: $TFDS_DATA_DIR, else TFDS's default."""
    devices: int | None = None
    """How many local devices to use; None: all."""

    def study_folder(self, name: str) -> StudyFolder:
        """Records, tables and figures of the study `name`."""
        return StudyFolder(self.results_dir / name)

    def localize(self, config: Config, name: str) -> Config:
        """The config of a run of the study `name`, with the folders and devices of this machine."""
        return config.replace(
            data={"data_dir": self.data_dir},
            run={"runs_dir": str(self.runs_dir / name), "devices": self.devices},
        )
