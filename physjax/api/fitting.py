"""Runs are made, and loaded again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from physjax import runtime
from physjax.api.run import Run
from physjax.config import Config, ConfigError
from physjax.data import Dataset
from physjax.forces import LAWS
from physjax.records import RunFolder
from physjax.rules import RULES

if TYPE_CHECKING:
    from rich.console import Console

    from physjax.forces import ForceLaw
    from physjax.rules import LearningRule
    from physjax.train.callbacks import Callback


def fit(
    config: Config,
    dataset: Dataset | None = None,
    law: ForceLaw | str | None = None,
    rule: LearningRule | str | None = None,
    callbacks: Iterable[Callback] = (),
    *,
    start_from: Run | str | Path | None = None,
    fresh: bool = False,
    console: Console | None = None,
) -> Run:
    """Train `config` to its end, or go on where it stopped; a run that is complete is loaded.

    Args:
      config: of the run; its folder is `config.run.runs_dir` / name.
      dataset: one's own images (`physjax.from_arrays`); None: the data set that the config names.
      law: force law between the channels, instead of the config's: a name, or one of one's own.
      rule: learning rule, instead of the config's: a name, or one of one's own.
      callbacks: look on while it is trained (`physjax.Callback`).
      start_from: weights to begin with, instead of the config's `model.start_from`: a run that has
        ended or its folder, or a file (docs/export.md).
      fresh: start anew; the folder of an earlier run is renamed to <name>.old-1.
      console: where progress is shown; None: standard output.

    Raises:
      UserError: it cannot be run as asked; an OriginError where the run in the folder was made by
        other code, of other images, from other weights or under other settings of JAX.
      NotFinite: the loss became infinite or not a number.
      Interrupted: Ctrl-C or another signal; everything is saved, and the same call goes on.
    """
    runtime.configure()
    from physjax.train import loop

    config = _with_choices(config, law, rule)
    if start_from is not None:
        named = start_from.path if isinstance(start_from, Run) else start_from
        config = config.set("model.start_from", str(named))
    record = loop.fit(
        config,
        dataset=dataset,
        callbacks=callbacks,
        console=console,
        fresh="yes" if fresh else "no",
    )
    return Run(RunFolder.of(record.config).path, record, dataset)


def load_run(
    path: str | Path,
    law: ForceLaw | None = None,
    rule: LearningRule | None = None,
    *,
    dataset: Dataset | None = None,
    plugins: Sequence[str] = (),
    other_code: bool = False,
) -> Run:
    """The run in a folder.

    Args:
      path: of the folder.
      law: the force law, where it is one of one's own.
      rule: the learning rule, where it is one of one's own.
      dataset: the images, where they are one's own: only :meth:`Run.evaluate` needs them.
      plugins: to load instead of those that the record names, which may have moved since.
      other_code: predict also where the code of law or base is not what was trained.

    Raises:
      RecordError: there is no run, or it is damaged.
      ConfigError: `law` or `rule` is not the one that the run names.
    """
    record = RunFolder(Path(path)).read()
    if plugins:
        config = record.config.replace(run={"plugins": tuple(plugins)})
        record = dataclasses.replace(record, config=config)
    for thing, asked in ((law, record.config.model.law), (rule, record.config.rule.update_rule)):
        if thing is not None and thing.name != asked:
            raise ConfigError(f"{path} was trained with {asked!r}, and not with {thing.name!r}")
    _with_choices(record.config, law, rule)
    return Run(Path(path), record, dataset, other_code=other_code)


def _with_choices(
    config: Config, law: ForceLaw | str | None, rule: LearningRule | str | None
) -> Config:
    """`config` with another law and rule; objects are registered under their names."""
    if law is not None and not isinstance(law, str):
        LAWS.add(law, replace=True)
        law = law.name
    if rule is not None and not isinstance(rule, str):
        RULES.add(rule, replace=True)
        rule = rule.name
    model = {} if law is None else {"law": law}
    return config.replace(model=model, rule={} if rule is None else {"update_rule": rule})
