"""The accuracy of a study's runs over several views of each test image, once they have ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from physjax.config import Config, ConfigError
from physjax.data import DATASETS
from physjax.evaluate.robustness import evaluate
from physjax.records import RecordError, RunFolder
from physjax.study.design import Cell, Study
from physjax.study.folder import StudyRecord


def check_views(study: Study) -> None:
    """Raise ConfigError where the study's views change the class of one of its data sets.

    Plug-ins must have been loaded.
    """
    for name in study.datasets if study.tta else ():
        if name in DATASETS and not DATASETS[name].mirror:
            raise ConfigError(
                f"tta is {study.tta!r}, but {DATASETS[name].title} mirrored shows no such class; "
                "leave it out"
            )


def without_views(study: Study, done: Mapping[Cell, StudyRecord]) -> list[Cell]:
    """The runs that ended well and have no accuracy over the study's views."""
    return [
        cell
        for cell, record in done.items()
        if study.tta and record.result is not None and study.tta not in record.test_accuracy_tta
    ]


def with_views(study: Study, record: StudyRecord, config: Config) -> StudyRecord:
    """`record` with the accuracy of the final parameters over the study's views.

    Args:
      study: that names views.
      record: of a run that ended well.
      config: the run's, with the folders of this machine.

    Raises:
      UserError: the folder of the run is not here, or holds another run or no parameters.
    """
    assert study.tta is not None
    found = evaluate(run_folder(record, config), tta=study.tta, data_dir=config.data.data_dir)
    accuracies = {**record.test_accuracy_tta, study.tta: found.clean.accuracy}
    return dataclasses.replace(record, test_accuracy_tta=accuracies)


def run_folder(record: StudyRecord, config: Config) -> Path:
    """The folder of a recorded run on this machine.

    Raises:
      UserError: it is not here, or holds another run.
    """
    folder = RunFolder.of(config)
    if folder.read().epochs != record.epochs:
        raise RecordError(f"{folder.path} holds another run than the study's record")
    return folder.path
