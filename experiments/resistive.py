"""Train networks of resistors: `python experiments/resistive.py --task iris --seeds 20`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from physjax import files
from physjax.resistive import NetworkError
from physjax.resistive.presets import run_study


@dataclass(frozen=True)
class Options:
    """Train resistor networks on a task; print error or accuracy, write a record and figures."""

    task: Literal["allostery", "regression", "power-efficient", "iris", "digits", "xor", "and"] = (
        "allostery"
    )
    rule: Literal["conductance", "resistance", "discrete", "equilibrium"] = "conductance"
    seeds: int = 1
    """How many networks, each with its own start and examples; trained side by side."""
    steps: int | None = None
    """Updates; the task's own number if not given."""
    eta: float | None = None
    """Nudge amplitude in (0, 1]; for equilibrium propagation, beta in siemens."""
    rate: float | None = None
    """alpha or gamma; the discrete rule has none."""
    probability: float = 1.0
    """Probability that an edge updates in a step; below 1 the rule is asynchronous."""
    cuts: int = 0
    """How many random edges to cut."""
    cut_at: int = 0
    """Before which update to cut them."""
    json: Path | None = None
    """Where to write the record."""
    figures: Path | None = None
    """Folder for the figures: course of training; network before and after."""


def main(options: Options) -> None:
    result, record, before, after, tasks = run_study(
        options.task,
        options.rule,
        seeds=options.seeds,
        steps=options.steps,
        eta=options.eta,
        rate=options.rate,
        probability=options.probability,
        cuts=options.cuts,
        cut_at=options.cut_at,
    )
    hidden = ("squared_errors", "test_accuracies", "seeds")
    for key, value in result.items():
        if key not in hidden:
            print(f"{key:28} {value}")
    if options.json:
        files.atomic_write(options.json, json.dumps(result, indent=1) + "\n")
    if options.figures:
        from physjax.resistive import figures

        stem = f"resistive_{options.task}_{options.rule}"
        course = figures.draw_course(record, f"{options.task}, {options.rule} rule")
        figures.save(course, options.figures / f"{stem}_history.png")
        states = figures.draw_states(before[0], after[0], tasks[0])
        figures.save(states, options.figures / f"{stem}_network.png")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except NetworkError as error:
        raise SystemExit(f"error: {error}") from None
