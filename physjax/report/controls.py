"""Which run of a study another one is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from physjax.config import Config, differences
from physjax.grid import PLAIN, Cell


def control_of(cell: Cell, runs: Mapping[Cell, Config]) -> Cell | None:
    """The run that `cell` is compared with: all settings the same, but neither a law nor a rule.

    A run that has neither, and is no run of the plain arm, differs from the plain arm in the
    settings of its own arm: those are what it is compared for.

    Args:
        cell: one of `runs`.
        runs: those of the study.

    Returns:
        None for a run of the plain arm, and where the study has no such run.
    """
    if cell.arm == PLAIN:
        return None
    if _is_plain(runs[cell]):
        plain_arm = dataclasses.replace(cell, arm=PLAIN)
        return plain_arm if plain_arm in runs else None
    wanted = _plain(runs[cell])
    for other, config in runs.items():
        if _is_plain(config) and not differences(_plain(config), wanted):
            return other
    return None


def _is_plain(config: Config) -> bool:
    return config.model.law == PLAIN and config.rule.update_rule == Config().rule.update_rule


def _plain(config: Config) -> Config:
    """`config` without its law and its rule, and without their parameters."""
    default = Config()
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model,
            law=PLAIN,
            interaction_strength=default.model.interaction_strength,
            learn_strength=default.model.learn_strength,
        ),
        rule=default.rule,
    )
