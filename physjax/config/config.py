"""A config as a whole: its parts, what must fit together in it, and how fields are changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from pydantic import model_validator

from physjax import schema
from physjax.config.fields import (
    OPEN,
    AugmentConfig,
    DataConfig,
    LawConfig,
    ModelConfig,
    OptimConfig,
    OptimizerConfig,
    RuleConfig,
)
from physjax.config.run import RunConfig
from physjax.config.traits import ConfigError

RECIPE_NAMES = ("fast", "standard", "speedrun", "settling", "paper", "smoke")
"""The keys of `physjax.config.RECIPES`."""
_ONCE = {"gamma": 1e-3, "eta": 1.0, "resistance_min": 0.1, "resistance_max": 10.0}
"""What the rule's part of every config held, whichever the rule, before `law` was a part; at these
values it says nothing."""


@schema.strict(ConfigError)
class Config:
    """Everything that a run needs to know."""

    recipe: str = "standard"
    """The recipe that this config started from: a key of `RECIPES`."""
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    law: LawConfig = field(default_factory=LawConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, values: Any) -> Any:
        """`values` without what :data:`_ONCE` says of them."""
        rule = values.get("rule") if isinstance(values, dict) and "law" not in values else None
        if isinstance(rule, dict):
            kept = {k: v for k, v in rule.items() if k not in _ONCE or v != _ONCE[k]}
            return {**values, "rule": kept}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if self.recipe not in RECIPE_NAMES:
            raise ValueError(schema.unknown("recipe", self.recipe, RECIPE_NAMES))
        if self.model.norm == "batch" and not self.optim.drop_remainder:
            raise ValueError(
                "drop_remainder is False with norm 'batch': the statistics of a short, padded "
                "batch would be wrong; choose --norm none or --drop-remainder"
            )
        return self

    def replace(self, **parts: Any) -> Config:
        """A Config with the given fields changed: `replace(model={"name": "cnn"}, optim={...})`.

        Args:
          parts: for each part of the config a dictionary of fields, or a whole part; `recipe`.

        Raises:
          ConfigError: a field does not exist, or a value cannot be.
        """
        changed = {}
        for name, value in parts.items():
            old = getattr(self, name, None)
            if isinstance(value, Mapping) and dataclasses.is_dataclass(old):
                known = [f.name for f in dataclasses.fields(old)]
                for key in value:
                    if key not in known and name not in OPEN:
                        raise ConfigError(
                            schema.unknown("field", f"{name}.{key}", known, last=str(key))
                        )
                value = dataclasses.replace(old, **value)  # type: ignore[type-var]
            changed[name] = value
        return dataclasses.replace(self, **changed)

    def set(self, key: str, value: Any) -> Config:
        """A Config with one field changed: `set("optim.epochs", 3)`."""
        return self.set_all({key: value})

    def set_all(self, settings: Mapping[str, Any]) -> Config:
        """A Config with fields changed, given by their dotted names."""
        return self.replace(**nested(settings))


def nested(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{"optim.epochs": 3} -> {"optim": {"epochs": 3}}."""
    parts: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        part, dot, name = key.partition(".")
        if not (part and dot and name):
            raise ConfigError(f"{schema.show(key)} is no field; name it as in optim.epochs")
        parts.setdefault(part, {})[name] = value
    return parts
