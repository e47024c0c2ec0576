"""What a config chooses: its force law, learning rule and optimiser with their settings, and
whether what is asked for is there and does something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from physjax import config as configs
from physjax.config import Config, ConfigError, checked
from physjax.config.keywords import no_setting
from physjax.data.loading import is_own
from physjax.forces import ForceLaw, get_law
from physjax.models import get_spec, image_size, law_name
from physjax.optimizers import Optimizer, get_optimizer
from physjax.rules import LearningRule, get_rule
from physjax.train.plugins import load_plugins

Chosen = ForceLaw | LearningRule | Optimizer


def chosen_law(config: Config) -> ForceLaw:
    """The force law of `config`, its settings bound; those of other laws are left out.

    Raises ConfigError for a model or law that does not exist, and for a value that cannot be.
    """
    load_plugins(config.run.plugins)
    law = get_law(law_name(config.model))
    return law.configured(_known(law, config.law.own))


def chosen_rule(config: Config) -> LearningRule:
    """The learning rule of `config`, as :func:`chosen_law`."""
    load_plugins(config.run.plugins)
    rule = get_rule(config.rule.update_rule)
    return rule.configured(_known(rule, config.rule.own))


def chosen_optimizer(config: Config) -> Optimizer:
    """The optimiser of `config`, as :func:`chosen_law`."""
    load_plugins(config.run.plugins)
    optimizer = get_optimizer(config.optim.optimizer)
    return optimizer.configured(_known(optimizer, config.optimizer.own))


def resolve_choices(config: Config, *, in_study: bool = False) -> Config:
    """`config` in the one form that all which ask for the same run share.

    An alias like `physics` becomes what it stands for, the model's default law is named, images of
    one's own get the size that the network sees, and of the settings of law and rule those stay
    that differ from their defaults.

    Args:
      config: of a run.
      in_study: it is one of many, whose common options need not do something in each.

    Raises:
      ConfigError: a model, law or rule does not exist, a value cannot be, or an option has no
        effect.
    """
    lines = without_effect(config)
    if lines and not in_study:
        raise ConfigError("; ".join(lines))
    model, side = config.model, config.data.image_size
    if side is None and is_own(config.data):
        side = image_size(model)
    base = get_spec(model).alias_of or model.name
    return config.replace(
        data={"image_size": side},
        model={"name": base, "law": law_name(model)},
        **{
            part: {"own": checked(chosen.settings, _known(chosen, own), part, owner)}
            for part, owner, chosen, own in _choices(config)
        },
    )


def without_effect(config: Config) -> list[str]:
    """What is asked for, unlike the recipe, and does nothing in this run; a line each.

    Raises ConfigError for a model, law or rule that does not exist, and for a value that cannot be.
    """
    law = chosen_law(config)
    chosen_rule(config)
    chosen_optimizer(config)
    strength = ("interaction_strength", "learn_strength") if law.has_strength else ()
    return configs.without_effect(config, {"model.law": (law.name, strength)}) + [
        f"{part}.{name} is {value!r}, which does nothing: "
        f"{no_setting(chosen.settings, name, part, owner)}"
        for part, owner, chosen, own in _choices(config)
        for name, value in own.items()
        if name not in chosen.settings
    ]


def _choices(
    config: Config,
) -> Iterator[tuple[str, str, Chosen, Mapping[str, Any]]]:
    """(part of the config, what stands in it, the chosen thing itself, the settings given)."""
    law = get_law(law_name(config.model))
    yield "law", f"force law {law.name!r}", law, config.law.own
    rule = get_rule(config.rule.update_rule)
    yield "rule", f"learning rule {rule.name!r}", rule, config.rule.own
    optimizer = get_optimizer(config.optim.optimizer)
    yield "optimizer", f"optimiser {optimizer.name!r}", optimizer, config.optimizer.own


def _known(chosen: Chosen, own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in own.items() if name in chosen.settings}
