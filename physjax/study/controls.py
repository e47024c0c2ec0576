"""Which runs of a study each run is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from physjax.config import RECIPES, SETTINGS, Config, differences
from physjax.config.fields import OPEN
from physjax.study.arms import base_arm
from physjax.study.design import PLAIN, Cell, Study

_TREATMENTS = {"model.law": PLAIN, "rule.update_rule": "backprop"}
"""What arms are about, and its choice that does nothing."""
_BIAS_SCALE = SETTINGS["optim.bias_scale"]


def compared_with(cell: Cell, study: Study, runs: Mapping[Cell, Config]) -> tuple[Cell, ...]:
    """All runs that `cell` is compared with: :func:`controls_of`, and what the grid names beside.

    Args:
      cell: one of `runs`.
      study: the grid, whose tables `compare` and `must_beat` name arms.
      runs: those of the study.
    """
    arm = base_arm(cell.arm)
    named = (*study.compare.get(arm, ()), *study.must_beat.get(arm, ()))
    values = cell.arm.removeprefix(arm)
    others = [
        next(
            (
                twin
                for at in (values, "")  # An arm without a law is not swept over its settings.
                if (twin := dataclasses.replace(cell, arm=name + at)) in runs
            ),
            None,
        )
        for name in named
    ]
    found = (*controls_of(cell, runs), *(other for other in others if other is not None))
    return tuple(dict.fromkeys(found))


def controls_of(cell: Cell, runs: Mapping[Cell, Config]) -> tuple[Cell, ...]:
    """The runs that `cell` is compared with.

    The first is that of :func:`control_of`. A force law lets the offsets of its layer learn at
    another rate. So an arm with a law is also compared with the runs that are equal to this control
    in everything but the biases' rate, as those of the arm `scaled-bias` are.

    Args:
      cell: one of `runs`.
      runs: those of the study.

    Returns:
      Nothing where :func:`control_of` gives None.
    """
    control = control_of(cell, runs)
    if control is None:
        return ()
    config = runs[control]
    usual = _BIAS_SCALE.get(RECIPES[config.recipe])
    if _plain(runs[cell], "model.law") or _BIAS_SCALE.get(config) != usual:
        return (control,)
    scaled = [
        other
        for other in _siblings(cell, runs)
        if _BIAS_SCALE.get(runs[other]) != usual
        and not differences(runs[other].set("optim.bias_scale", usual), config)
    ]
    return (control, *scaled)


def control_of(cell: Cell, runs: Mapping[Cell, Config]) -> Cell | None:
    """The run that `cell` is compared with: equal to it in everything that it is not about.

    An arm with a force law is about the law: its control has the same settings and no law. One
    without a law, but with a learning rule of its own, is about the rule. Any other is about its
    settings, and compared with the plain arm, at the same values of the study's axes.

    Args:
      cell: one of `runs`.
      runs: those of the study.

    Returns:
      None for a run of the plain arm, and where the study has no such run.
    """
    plain_arm = PLAIN + cell.arm.removeprefix(base_arm(cell.arm))
    if cell.arm == plain_arm:
        return None
    about = next((key for key in _TREATMENTS if not _plain(runs[cell], key)), None)
    if about is None:
        twin = dataclasses.replace(cell, arm=plain_arm)
        return twin if twin in runs else None
    wanted = _without(runs[cell], about)
    found = [
        other
        for other in _siblings(cell, runs)
        if _plain(runs[other], about) and not differences(_without(runs[other], about), wanted)
    ]
    return min(found, key=lambda other: other.arm != plain_arm, default=None)


def _plain(config: Config, key: str) -> bool:
    return bool(SETTINGS[key].get(config) == _TREATMENTS[key])


def _without(config: Config, key: str) -> Config:
    """`config` with the choice that does nothing, and without the options of any other."""
    usual = RECIPES[config.recipe]
    options = {k: s.get(usual) for k, s in SETTINGS.items() if s.trait.option_of == key}
    own: dict[str, Any] = {part: {"own": {}} for part, choice in OPEN.items() if choice == key}
    return config.replace(**own).set_all({**options, key: _TREATMENTS[key]})


def _siblings(cell: Cell, runs: Mapping[Cell, Config]) -> list[Cell]:
    """The runs that have another arm than `cell`, and are like it otherwise."""
    twins = (dataclasses.replace(cell, arm=arm) for arm in dict.fromkeys(c.arm for c in runs))
    return [twin for twin in twins if twin in runs and twin != cell]
