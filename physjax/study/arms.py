"""The arms of a study: their names, and what the tables of a grid say of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from physjax import schema
from physjax.config import Config, ConfigError
from physjax.study.fields import flatten

COST = "cost"
"""The key of an arm's table that makes it train for as long as one that costs this factor more."""
Cost = Annotated[float, Field(gt=1, le=100)]


def base_arm(arm: str) -> str:
    """The arm's name without the values of axes: `ring` of `ring@momentum=0.8`."""
    return arm.partition("@")[0]


def arm_changes(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry of `Study.arms` changes, by dotted names; `COST` among them where it has one.

    Raises ConfigError, as :func:`physjax.study.fields.flatten`, and for a cost that cannot be.
    """
    where = f"arms.{name}"
    changes = flatten({key: value for key, value in fields.items() if key != COST}, where)
    if COST in fields:
        cost = schema.check(Cost, fields[COST], f"{where}.{COST}", ConfigError)
        if "optim.epochs" in changes:
            raise ConfigError(f"{where} sets optim.epochs, and by its cost too; leave out one")
        changes[COST] = cost
    return changes


def longer(config: Config, factor: float | None) -> Config:
    """`config` with as many epochs, rounded up, as take `factor` times as long; None: as it is.

    So it has at least the seconds of a run of the given epochs whose steps cost that much more.
    """
    if factor is None:
        return config
    return config.set("optim.epochs", math.ceil(round(factor * config.optim.epochs, 6)))
