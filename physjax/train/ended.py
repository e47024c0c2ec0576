"""What a run that has ended leaves of its network: the images' facts, and the variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from physjax.data import DATASETS, DatasetInfo
from physjax.records import DataFacts, RecordError
from physjax.train.checkpoint import Checkpoints
from physjax.train.checkpoint_errors import CheckpointError
from physjax.train.setup import TrainSetup
from physjax.train.sharding import place
from physjax.train.state import init_state


def restore(setup: TrainSetup, checkpoints: Path, step: int) -> dict[str, Any]:
    """The variables that a run ended with at `step`, as they were trained.

    Raises:
      CheckpointError: that step is not there or cannot be read.
    """
    if not checkpoints.is_dir():
        raise CheckpointError(f"there is no {checkpoints}: only a run with checkpoints has a model")
    store = Checkpoints(checkpoints, read_only=True)
    try:
        state = store.restore(place(setup, init_state(setup)), step)
    finally:
        store.close()
    if state is None:
        raise CheckpointError(f"{checkpoints} has no checkpoint of step {step}, the run's last")
    return state.variables


def dataset_info(facts: DataFacts) -> DatasetInfo:
    """What the network must know of the images that it was trained on.

    Raises:
      RecordError: an older record, of arrays, does not say it.
    """
    mean, std, mirror = facts.mean, facts.std, facts.mirror
    if mean is None or std is None or mirror is None:
        # Of a record that was made before it held them.
        if facts.name not in DATASETS:
            raise RecordError(
                f"the record does not say by which mean and deviation the images of {facts.name!r} "
                "are normalised; train the run again"
            )
        spec = DATASETS[facts.name]
        mean, std, mirror = spec.mean, spec.std, spec.mirror
    return DatasetInfo(
        name=facts.name,
        title=facts.title,
        num_classes=len(facts.class_names),
        class_names=facts.class_names,
        mean=mean,
        std=std,
        mirror=mirror,
        version=facts.version,
        source=facts.source,
        fingerprint=facts.fingerprint,
        notice="",
        image_size=facts.image_size,
        native=facts.native or _native(facts),
    )


def _native(facts: DataFacts) -> tuple[int, int, int]:
    """What images were before their border, where an older record does not say it."""
    spec = DATASETS.get(facts.name)
    return (facts.image_size, facts.image_size, 3) if spec is None else spec.native
