"""Evaluating a study's runs under corruptions, once they have ended."""

from __future__ import annotations

from collections.abc import Callable

from physjax import schema
from physjax.config import Config, ConfigError
from physjax.evaluate.corruptions import CORRUPTIONS
from physjax.evaluate.robustness import evaluate
from physjax.study.design import Study
from physjax.study.folder import StudyFolder, StudyRecord
from physjax.study.robustness import write_robustness_of
from physjax.study.views import run_folder


def check_corruptions(study: Study) -> None:
    """Raise ConfigError where the study names a corruption that there is none of, or one twice."""
    for name in study.corruptions:
        if name not in CORRUPTIONS:
            raise ConfigError(f"corruptions: {schema.unknown('corruption', name, CORRUPTIONS)}")
    if len(set(study.corruptions)) < len(study.corruptions):
        raise ConfigError(f"corruptions names one twice: {', '.join(study.corruptions)}")


def evaluate_corruptions(
    study: Study,
    record: StudyRecord,
    config: Config,
    folder: StudyFolder,
    log: Callable[[str], None] = lambda text: None,
) -> None:
    """Evaluate the final parameters of a run under the study's corruptions, and write it down.

    Args:
      study: that names corruptions.
      record: of a run that ended well.
      config: the run's, with the folders of this machine.
      folder: of the study.
      log: is called after every severity, and may end it: nothing is written before all is known.

    Raises:
      UserError: the folder of the run is not here, or holds another run or no parameters.
    """
    found = evaluate(
        run_folder(record, config),
        corruptions=study.corruptions,
        data_dir=config.data.data_dir,
        log=log,
    )
    write_robustness_of(folder, record, found)
