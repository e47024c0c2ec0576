"""Learning rules, and their registry.

A new rule is one file with a :class:`LearningRule` in it and one line in `RULES`.
"""

from etils import epy

from physjax.config.registry import Registry

RULES: "Registry[LearningRule]" = Registry(
    "learning rule",
    "physjax.rules.rule:LearningRule",
    {
        "backprop": "physjax.rules.backprop",
        "coupled": "physjax.rules.coupled",
        "feedback-alignment": "physjax.rules.feedback_alignment",
        "equilibrium-propagation": "physjax.rules.equilibrium_propagation",
        "coupled-learning": "physjax.rules.coupled_learning",
        "contrastive": "physjax.rules.contrastive",
        "dual-propagation": "physjax.rules.dual_propagation",
        "channel-resistances": "physjax.rules.channel_resistances",
    },
)
"""By name; each file is imported when its rule is first asked for."""

with epy.lazy_api_imports(globals()):
    from physjax.rules.rule import LearningRule, Network, Outputs, Update

__all__ = ["RULES", "LearningRule", "Network", "Outputs", "Update", "get_rule"]


def get_rule(name: str) -> "LearningRule":
    """The rule of that name. Raises ConfigError with the names that exist."""
    return RULES.get_named(name)
