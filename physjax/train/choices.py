"""Whether what a config asks for is there, and does something."""

from __future__ import annotations

from physjax import config as configs
from physjax.config import Config
from physjax.forces import get_law
from physjax.models import law_name
from physjax.rules import get_rule


def without_effect(config: Config) -> list[str]:
    """What is asked for, unlike the recipe, and does nothing in this run; a line each.

    Raises ConfigError for a model, law or rule that does not exist.
    """
    law, rule = get_law(law_name(config.model)), get_rule(config.rule.update_rule)
    return configs.without_effect(
        config,
        {"model.law": (law.name, law.options), "rule.update_rule": (rule.name, rule.options)},
    )
