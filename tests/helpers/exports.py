"""What the tests of predictions and exports share."""

from __future__ import annotations

from pathlib import Path

import physjax
from physjax.data import DatasetInfo

OWN = DatasetInfo(
    name="own",
    title="Own",
    num_classes=7,
    class_names=tuple("abcdefg"),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.25),
    mirror=True,
    version="1.0.0",
    source="a test",
    fingerprint="",
    notice="",
)
"""Images of which a test knows all that a network must know."""


def small_run(folder: Path, **optim: float) -> physjax.Run:
    """A run of a second on scikit-learn's digits, with a force."""
    config = physjax.recipe("smoke").replace(
        model={"name": "cnn", "law": "ring", "width": 0.1},
        data={"train_examples": 80},
        optim={"epochs": 1} | optim,
        run={"runs_dir": str(folder), "devices": 1, "seed": 5},
    )
    return physjax.fit(config)
