"""What is said of every field of a config: its limits, and what it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from physjax.errors import UserError


class ConfigError(UserError):
    """A configuration that cannot be run; the message names the field and the way out."""


@dataclass(frozen=True)
class Trait:
    """What else is to say of a field, beside its type, limits and default."""

    incidental: bool = False
    """It says where and how fast, not what: configs that differ only here compute the same."""
    not_in_study: str = ""
    """Why the settings of a study must not name it; empty: they may."""
    option_of: str = ""
    """The field whose choice (of a law, a rule, ...) decides whether this one has an effect."""
    needs: tuple[str, ...] = ()
    """The choices of `option_of` that have it. Empty: the chosen law says."""


PLACE = Trait(incidental=True)
BY_FLAG = "it belongs to a machine, not to a study: give {}"

Fraction = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(ge=0, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
