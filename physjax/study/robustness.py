"""A study's runs under corruptions, once they have ended: recorded beside its records.

    results/studies/<study>/robustness/<run>.json

It survives the folders of the runs, as the records do, and belongs to the very training that it was
evaluated after. Nothing here imports JAX.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from physjax import files
from physjax.evaluate.record import RobustnessRecord
from physjax.records import RecordError
from physjax.study.design import Cell, Study
from physjax.study.folder import StudyFolder, StudyRecord


@dataclass(frozen=True)
class StudyRobustness:
    """What a run of a study did on corrupted test images."""

    run: str
    """Its name."""
    epochs: str
    """SHA-256 of the epochs of its record: another training, even of this name, has others."""
    found: RobustnessRecord

    __pydantic_config__ = ConfigDict(extra="forbid")


_SCHEMA = TypeAdapter(StudyRobustness)


def robustness_file(folder: StudyFolder, cell: Cell) -> Path:
    """Where the evaluation of a run lies, or will lie."""
    return folder.path / "robustness" / f"{cell.name}.json"


def read_robustness_of(
    folder: StudyFolder, records: Iterable[StudyRecord]
) -> dict[Cell, RobustnessRecord]:
    """The evaluations that there are of runs that ended well; of none that was trained anew since.

    Raises:
      RecordError: a file is damaged.
    """
    found = {}
    for record in records:
        path = robustness_file(folder, record.cell)
        if record.result is None or not path.exists():
            continue
        try:
            kept = _SCHEMA.validate_json(files.read_text(path))
        except (ValidationError, UnicodeDecodeError) as error:
            first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise RecordError(
                f"{path} is no evaluation of a run ({first}): remove it to have it made again"
            ) from error
        if (kept.run, kept.epochs) == (record.cell.name, _mark(record)):
            found[record.cell] = kept.found
    return found


def without_corruptions(
    study: Study, done: Mapping[Cell, StudyRecord], folder: StudyFolder
) -> list[Cell]:
    """The runs that ended well and lack a corruption that the study names."""
    if not study.corruptions:
        return []
    found = read_robustness_of(folder, done.values())
    return [
        cell
        for cell, record in done.items()
        if record.result is not None
        and not (cell in found and set(study.corruptions) <= set(found[cell].corruptions))
    ]


def write_robustness_of(folder: StudyFolder, record: StudyRecord, found: RobustnessRecord) -> None:
    """Write down what the run of `record` did under corruptions."""
    kept = StudyRobustness(record.cell.name, _mark(record), found)
    path = robustness_file(folder, record.cell)
    files.atomic_write(path, _SCHEMA.dump_json(kept, indent=1).decode() + "\n")


def _mark(record: StudyRecord) -> str:
    epochs = [dataclasses.asdict(epoch) for epoch in record.epochs]
    return hashlib.sha256(json.dumps(epochs).encode()).hexdigest()
