"""Learning rules, and their registry.

A new rule is one file with a :class:`LearningRule` in it and one line in `RULES`.
"""

from physjax.config import ConfigError
from physjax.rules.backprop import BACKPROP
from physjax.rules.coupled import COUPLED
from physjax.rules.feedback_alignment import FEEDBACK_ALIGNMENT
from physjax.rules.rule import LearningRule, Network, Outputs, Update

RULES: dict[str, LearningRule] = {
    rule.name: rule for rule in (BACKPROP, COUPLED, FEEDBACK_ALIGNMENT)
}

__all__ = ["RULES", "LearningRule", "Network", "Outputs", "Update", "get_rule"]


def get_rule(name: str) -> LearningRule:
    """The rule of that name. Raises ConfigError with the names that exist."""
    if name not in RULES:
        raise ConfigError(f"there is no learning rule {name!r}; the rules are {', '.join(RULES)}")
    return RULES[name]
