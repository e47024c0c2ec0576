"""A finished run opened for looking at it: its record, its images, and its variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from physjax import data, runtime
from physjax.config import Config
from physjax.records import RecordError, Result, RunFolder
from physjax.train.ended import restore
from physjax.train.origin import check_code
from physjax.train.setup import TrainSetup


@dataclass(frozen=True)
class TrainedRun:
    """What an evaluation needs of a run."""

    result: Result
    setup: TrainSetup
    dataset: data.Dataset
    variables: dict[str, Any]
    """`params` and, with a norm, `batch_stats`, as they were trained."""


class Opening(TypedDict, total=False):
    """How :func:`opened` opens a run, for what hands it on."""

    dataset: data.Dataset | None
    data_dir: str | None
    plugins: Sequence[str]
    other_code: bool
    log: Callable[[str], None]


@contextmanager
def opened(
    path: Path,
    *,
    dataset: data.Dataset | None = None,
    data_dir: str | None = None,
    plugins: Sequence[str] = (),
    other_code: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> Iterator[TrainedRun]:
    """The finished run in `path`, locked while inside.

    Args:
        path: the run's folder.
        dataset: whole, that the run was trained on; None: the one that its config names.
        data_dir: TFDS folder; None: as for training.
        plugins: to load instead of those that the record names, which may have moved since.
        other_code: also where the code of the law or the base model, or a setting of JAX that
            changes numbers, is not what it was trained with.
        log: is told what other code there is.

    Raises:
        RecordError: the run has not ended, or its images are not those here.
        OriginError: its code or settings are not those here, and `other_code` is not given.
        CheckpointError: the parameters are gone.
    """
    runtime.require_32_bits()
    folder = RunFolder(path)
    record = folder.read()
    if plugins:
        config = record.config.replace(run={"plugins": tuple(plugins)})
        record = dataclasses.replace(record, config=config)
    if record.result is None:
        raise RecordError(f"{path} has not ended: finish the run before you evaluate it")
    check_code(path, record, other_code, log)
    with folder.locked():
        config = record.config.set("data.data_dir", data_dir or _trained_from(record.config))
        dataset = data.load(config.data) if dataset is None else data.select(dataset, config.data)
        trained_on = record.result.data.fingerprint
        if dataset.info.fingerprint != trained_on:
            raise RecordError(
                f"the images of {dataset.info.name} here ({dataset.info.source}) are not those "
                f"that {folder.path} was trained on (fingerprints {dataset.info.fingerprint[:12]} "
                f"and {trained_on[:12]}); give their --data-dir"
            )
        setup = TrainSetup(config, dataset.info, len(dataset.train))
        variables = restore(setup, folder.checkpoints, record.result.steps)
        yield TrainedRun(record.result, setup, dataset, variables)


def _trained_from(config: Config) -> str | None:
    """The folder that the images of a run came from, where it names one that is still there."""
    named = config.data.data_dir
    return named if named is not None and Path(named).expanduser().exists() else None
