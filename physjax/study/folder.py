"""The record of a study on disk: a folder that can be committed, and continued on any machine.

    results/studies/<study>/study.toml          the grid
                            records/<run>.json  config, epochs and result of each run that has ended
                            tables.md, *.csv    made of the records by `physjax.report.study`
                            figures/

Checkpoints are not in it. They lie under runs/<study>/<run> and matter only to a run that has not
ended. Nothing here imports JAX.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physjax import files, schema
from physjax.config import Config, differences, to_dict
from physjax.errors import UserError
from physjax.records import EpochRecord, RecordError, Result, RunRecord, provenance
from physjax.records.provenance import Origin
from physjax.records.run import Share
from physjax.study.design import Cell, Study, plan
from physjax.study.files import pinned, read_toml, to_toml


@dataclass(frozen=True)
class StudyRecord:
    """One run of a study that has ended, well or not."""

    cell: Cell
    config: Config
    epochs: tuple[EpochRecord, ...]
    result: Result | None
    """None where the run failed."""
    failure: str | None = None
    """Why it failed: its loss became infinite or not a number."""
    origin: provenance.Origin | None = None
    """None where it was made before origins were recorded."""
    test_accuracy_tta: Mapping[str, float] = field(default_factory=dict)
    """By the views that probabilities were averaged over (`Study.tta`), of the final parameters."""


def strip_machine_paths(cell: Cell, record: RunRecord, failure: str | None = None) -> StudyRecord:
    """The record of a run without the folders of the machine that it ran on."""
    config, result = record.config, record.result
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data_dir=None, cache_dir=None),
        run=dataclasses.replace(config.run, runs_dir="runs"),
    )
    if result is not None and Path(result.data.source).is_absolute():
        source = "/".join(Path(result.data.source).parts[-2:])
        result = dataclasses.replace(result, data=dataclasses.replace(result.data, source=source))
    origin = None if record.origin is None else provenance.strip_machine_paths(record.origin)
    return StudyRecord(cell, config, record.epochs, result, failure, origin)


class StudyFolder:
    """The files of one study below the results folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def grid_file(self) -> Path:
        return self.path / "study.toml"

    def record_file(self, cell: Cell) -> Path:
        """Where the record of a run lies, or will lie."""
        return self.path / "records" / f"{cell.name}.json"

    def read_study(self) -> Study:
        """The grid that the folder holds. Raises RecordError where there is none."""
        if not self.grid_file.exists():
            raise RecordError(f"{self.path} holds no study: there is no study.toml in it")
        return read_toml(self.grid_file)

    def check(self, study: Study) -> None:
        """Raise RecordError where `study` is no extension of the grid that is here, if one is.

        A grid extends another one where it has all its runs, each with the same config, and more.
        """
        if self.grid_file.exists():
            before, now = plan(self.read_study()), plan(study)
            for cell, config in before.items():
                if cell not in now:
                    raise RecordError(
                        f"{self.path} holds a study of another grid, with the run {cell.name}, "
                        "which is not in this one; extend that grid, or choose another --name"
                    )
                changed = differences(config, now[cell])
                if changed:
                    raise RecordError(
                        f"{self.path} holds a study of another config ({'; '.join(changed)} in "
                        f"{cell.name}); choose another --name"
                    )
        elif self.path.exists() and not files.is_empty(self.path):
            raise RecordError(f"{self.path} is not empty and holds no study; choose another --name")

    def open(self, study: Study) -> None:
        """Start the folder with `study`, go on in it, or extend its grid.

        What is kept says what the recipe's values were: of records that are there a report can be
        made when the recipe has become another one.

        Raises RecordError, and changes nothing, where :meth:`check` does.
        """
        self.check(study)
        text = to_toml(pinned(study))
        if not self.grid_file.exists() or files.read_text(self.grid_file) != text:
            files.atomic_write(self.grid_file, text)

    def read(self, runs: Mapping[Cell, Config], *, mixed: bool = False) -> dict[Cell, StudyRecord]:
        """The records there are, of the planned `runs`, in their order.

        Args:
          runs: the grid's.
          mixed: give records too that cannot be compared with each other.

        Raises:
          RecordError: a record is damaged or was made with another config than the planned one, or
            two records of one data set come from different images.
          OriginError: two records were made by different code or under different settings of JAX.
        """
        records = {}
        for cell, config in runs.items():
            path = self.record_file(cell)
            if not path.exists():
                continue
            records[cell] = read_record(path)
            if records[cell].cell != cell:
                raise RecordError(f"{path} is the record of {records[cell].cell}, not of {cell}")
            changed = differences(records[cell].config, config)
            if changed:
                raise RecordError(
                    f"{path} was made with another config ({'; '.join(changed)}); remove it to "
                    "have it made again, or choose another --name"
                )
        if not mixed:
            self._check_images(records)
            known = {c.name: r.origin for c, r in records.items() if r.origin is not None}
            clash = provenance.disagreement(known)
            if clash:
                raise provenance.OriginError(
                    f"the records in {self.path} cannot be compared: {clash}; the study's command "
                    "with --fresh makes those anew that are not of the code that is here"
                )
        return records

    def set_aside(self, cell: Cell) -> None:
        """Rename a run's record, so that the run is carried out anew; nothing if there is none."""
        path = self.record_file(cell)
        if path.exists():
            with files.naming(path, "renamed"):
                path.rename(files.free_name(path))

    def _check_images(self, records: Mapping[Cell, StudyRecord]) -> None:
        first: dict[str, tuple[str, Cell]] = {}
        for cell, record in records.items():
            if record.result is None:
                continue
            mark = record.result.data.fingerprint
            known, other = first.setdefault(cell.dataset, (mark, cell))
            if mark != known:
                raise RecordError(
                    f"in {self.path} the runs {other.name} and {cell.name} saw different images "
                    f"of {cell.dataset} (fingerprints {known[:12]} and {mark[:12]}): they cannot "
                    "be compared; remove the records of one copy"
                )

    def write(self, record: StudyRecord) -> None:
        """Write the record of a run that has ended: from now on it is never run again."""
        epochs = ",\n".join(f"  {_json(dataclasses.asdict(e))}" for e in record.epochs)
        result = None if record.result is None else dataclasses.asdict(record.result)
        origin = None if record.origin is None else provenance.to_dict(record.origin)
        tta = record.test_accuracy_tta
        views = f'"test_accuracy_tta": {_json(dict(tta))},\n' if tta else ""
        # A line for every part and epoch: small, and a reader's diff shows what differs.
        text = (
            f'{{"cell": {_json(dataclasses.asdict(record.cell))},\n'
            f'"config": {_json(to_dict(record.config))},\n'
            f'"epochs": [\n{epochs}\n],\n'
            f'"result": {_json(result)},\n{views}'
            f'"origin": {_json(origin)},\n'
            f'"failure": {_json(record.failure)}}}\n'
        )
        files.atomic_write(self.record_file(record.cell), text)


@schema.strict(RecordError)
class _File:
    """A record as its file holds it."""

    cell: Cell
    config: Config
    epochs: tuple[EpochRecord, ...]
    result: Result | None
    failure: str | None
    origin: Origin | None = None
    """Records of earlier versions do not have it."""
    test_accuracy_tta: dict[str, Share] = field(default_factory=dict)
    """Nor this, nor those of studies that name no views."""


def read_record(path: Path) -> StudyRecord:
    """The record in one file. Raises RecordError where it cannot be read."""
    try:
        text = files.read_text(path)
        content = schema.read_json(_File, text, str(path), RecordError)
    except (UserError, UnicodeDecodeError) as error:
        named = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise RecordError(
            f"{named}; it is no record of a run: remove it to have it made again"
        ) from None
    return StudyRecord(
        content.cell,
        content.config,
        content.epochs,
        content.result,
        content.failure,
        content.origin,
        content.test_accuracy_tta,
    )


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
