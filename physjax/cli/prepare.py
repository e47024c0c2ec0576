"""Prepare a data set in a TFDS folder, without TensorFlow.

    physjax prepare --dataset cifar10
    physjax prepare --dataset cifar10 --archive cifar-10-binary.tar.gz

The first downloads it; on a machine without internet, bring the published files by hand. Their size
and checksum are compared with what is published.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from physjax.cli import options
from physjax.data import DATASETS, prepare

PREPARABLE = tuple(name for name, spec in DATASETS.items() if spec.archives)


@dataclass(frozen=True)
class Command:
    """What is to be prepared, from what, and where."""

    dataset: Annotated[str, options.choices(PREPARABLE)] = "cifar10"
    """Which."""
    data_dir: str | None = None
    """TFDS folder. None: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    archive: tuple[Path, ...] = ()
    """The published files, or a folder that holds them, packed or unpacked. None given: they are
    downloaded. CIFAR: the binary or the Python version."""
    unverified: bool = False
    """Take files too that are not the published ones, byte for byte. Every title and record of what
    is computed from them says so."""


def main() -> None:
    command = options.parse(Command, description=__doc__)
    folder = prepare(command.dataset, command.data_dir, command.archive or None, command.unverified)
    print(f"{command.dataset} is prepared in {folder}")
