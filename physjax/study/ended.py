"""What a study wants to know of a run that has ended, beside its record: views, corruptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from physjax.config import Config
from physjax.errors import UserError
from physjax.study.corruptions import evaluate_corruptions
from physjax.study.design import Cell, Study
from physjax.study.folder import StudyFolder, StudyRecord
from physjax.study.robustness import without_corruptions
from physjax.study.views import with_views, without_views


def not_evaluated(
    study: Study, done: Mapping[Cell, StudyRecord], folder: StudyFolder
) -> list[Cell]:
    """The runs of which something is not known that the study asks for."""
    lacking = {*without_views(study, done), *without_corruptions(study, done, folder)}
    return [cell for cell in done if cell in lacking]


def evaluate_ended(
    study: Study,
    record: StudyRecord,
    config: Config,
    folder: StudyFolder,
    *,
    poll: Callable[[], None],
) -> StudyRecord:
    """Evaluate a run that has ended in the ways that the study asks for and that are missing.

    Args:
      study: that asks.
      record: of the run.
      config: the run's, with the folders of this machine.
      folder: of the study.
      poll: called now and then; it may raise.

    Returns:
      The record, with its accuracy over the study's views; what it did under corruptions is
      written beside it.

    Raises:
      UserError: the folder of the run is not here, or holds another run or no parameters.
    """
    if without_views(study, {record.cell: record}):
        record = with_views(study, record, config)
    if without_corruptions(study, {record.cell: record}, folder):
        evaluate_corruptions(study, record, config, folder, log=lambda text: poll())
    return record


def evaluate_later(
    study: Study,
    record: StudyRecord,
    config: Config,
    folder: StudyFolder,
    *,
    poll: Callable[[], None],
    say: Callable[[str], None],
) -> StudyRecord:
    """As :func:`evaluate_ended`; what cannot be had any more is said, and left out."""
    try:
        return evaluate_ended(study, record, config, folder, poll=poll)
    except UserError as error:
        one = {record.cell: record}
        lacks = [f"over the views {study.tta!r}"] if without_views(study, one) else []
        lacks += ["under corruptions"] if without_corruptions(study, one, folder) else []
        say(
            f"{record.cell.name} has no accuracy {' and '.join(lacks)}: {error}; to have it "
            "trained again, remove its record"
        )
        return record
