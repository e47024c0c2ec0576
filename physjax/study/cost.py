"""What a run will cost, from the records of runs that ended on a machine like this one."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physjax.config import Config
from physjax.data import DATASETS
from physjax.errors import UserError
from physjax.records import DeviceFacts, Result, RunFolder
from physjax.study.folder import read_record

FinishedRun = tuple[Config, Result]
SETTLING = ("rounds", "scheme", "sweeps", "form", "output")
"""Settings of learning rules that decide how many passes a step takes."""


@dataclass(frozen=True)
class Estimate:
    """Predicted seconds of a whole run, and what the prediction stands on."""

    seconds: float | None
    """None: no record says anything about it."""
    basis: str


class CostModel:
    """Predicts from finished runs: seconds to compile, and seconds for each training image.

    `machine` is what this machine is; runs of other machines say nothing and are left out.
    """

    def __init__(self, finished: Iterable[FinishedRun], machine: DeviceFacts) -> None:
        self._machine = machine
        self._finished: list[FinishedRun] = []
        for config, result in finished:
            self.add(config, result)

    def add(self, config: Config, result: Result) -> None:
        """Take one more run into account."""
        try:
            _seconds_per_image(result)
        except (KeyError, TypeError, ZeroDivisionError):
            return  # Of another version, or damaged.
        if result.device == self._machine:
            self._finished.append((config, result))

    def estimate(self, config: Config) -> Estimate:
        """The median over the most similar runs there are."""
        like = [(c, r) for c, r in self._finished if _network(c) == _network(config)]
        same_data = [(c, r) for c, r in like if c.data.dataset == config.data.dataset]
        same_law = [(c, r) for c, r in same_data if c.model.law == config.model.law]
        for chosen, what in (
            (same_law, "like it"),
            (same_data, "of this model with other laws"),
            (like, "of this model on other data"),
        ):
            if chosen:
                compiling = statistics.median(r.compile_seconds for _, r in chosen)
                images = _images(config, chosen)
                if images is None:
                    continue
                per_image = statistics.median(_seconds_per_image(r) for _, r in chosen)
                seconds = compiling + per_image * images
                runs = "run" if len(chosen) == 1 else "runs"
                return Estimate(seconds, f"from {len(chosen)} {runs} {what}")
        return Estimate(None, "no record")


def _network(config: Config) -> tuple[Any, ...]:
    """What decides the cost of a step, the law and the data set apart."""
    m, o = config.model, config.optim
    heads = m.auxiliary_weight > 0
    layers = (m.name, m.size, m.width, m.norm, m.algorithm, heads)
    rule = config.rule
    settling = tuple(rule.own.get(name) for name in SETTLING)
    return (*layers, o.batch_size, config.run.precision, rule.update_rule, settling)


def _seconds_per_image(result: Result) -> float:
    images = result.epochs * result.data.examples["train"]
    return max(0.0, result.wall_seconds - result.compile_seconds) / images


def _images(config: Config, like: Iterable[FinishedRun]) -> float | None:
    """That a run will train on, over all epochs; of one's own as many as runs of them had."""
    name = config.data.dataset
    used: float | None = config.data.train_examples
    if used is None and name in DATASETS and DATASETS[name].train_examples:
        used = DATASETS[name].train_examples * (1 - config.data.holdout)
    elif used is None:
        known = [r.data.examples["train"] for c, r in like if c.data.dataset == name]
        used = statistics.median(known) if known else None
    return None if used is None else config.optim.epochs * used


def finished_runs(results_dir: Path, runs_dir: Path) -> list[FinishedRun]:
    """All runs that ended, of studies below `results_dir` and single ones below `runs_dir`.

    A record that cannot be read predicts nothing; it is for whoever needs it to complain.
    """
    runs: list[FinishedRun] = []
    for path in sorted(results_dir.glob("*/records/*.json")):
        try:
            record = read_record(path)
        except UserError:
            continue
        if record.result is not None:
            runs.append((record.config, record.result))
    for path in sorted(runs_dir.glob("*/result.json")):
        try:
            single = RunFolder(path.parent).read()
        except UserError:
            continue
        if single.result is not None:
            runs.append((single.config, single.result))
    return runs
