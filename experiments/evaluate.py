"""Evaluate a trained run on its test set, clean and corrupted; write a table and figures into it.

python experiments/evaluate.py runs/physics-cifar10-fast-seed0-1a2b3c
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from physjax import cli, runtime


@dataclass(frozen=True)
class Command:
    """Which run, and how it is evaluated."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    tta: Literal["none", "mirror", "mirror+shift"] = "none"
    """Average the probabilities over views of each image."""
    data_dir: str | None = None
    """TFDS folder. None: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""


def main() -> None:
    command = tyro.cli(Command, description=__doc__)
    runtime.configure()

    # After configure(), which must stand before the first use of JAX.
    from physjax.report import robustness as report
    from physjax.robustness import evaluate

    evaluate(command.run, tta=command.tta, data_dir=command.data_dir, say=print)
    for path in report.draw(command.run):
        print(path)


if __name__ == "__main__":
    sys.exit(cli.exit_code(main))
