"""The configuration of a run: its fields, the recipes, and the dotted names that set them."""

from physjax.config.config import Config, nested
from physjax.config.fields import (
    AugmentConfig,
    DataConfig,
    LawConfig,
    ModelConfig,
    OptimConfig,
    OptimizerConfig,
    RuleConfig,
)
from physjax.config.keywords import Keyword, bind, checked, keywords
from physjax.config.recipes import RECIPES, recipe
from physjax.config.run import RunConfig
from physjax.config.settings import (
    SETTINGS,
    Setting,
    differences,
    from_dict,
    get_setting,
    identity,
    parse_settings,
    run_name,
    settings_of,
    to_dict,
    without_effect,
)
from physjax.config.traits import ConfigError, Trait

__all__ = [
    "RECIPES",
    "SETTINGS",
    "AugmentConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "Keyword",
    "LawConfig",
    "ModelConfig",
    "OptimConfig",
    "OptimizerConfig",
    "RuleConfig",
    "RunConfig",
    "Setting",
    "Trait",
    "bind",
    "checked",
    "differences",
    "from_dict",
    "get_setting",
    "identity",
    "keywords",
    "nested",
    "parse_settings",
    "recipe",
    "run_name",
    "settings_of",
    "to_dict",
    "without_effect",
]
