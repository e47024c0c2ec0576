"""The tables of a study that set fields of the config: flattened, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from physjax import schema
from physjax.config import ConfigError, get_setting


def flatten(fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    """{"optim": {"epochs": 3}} and {"optim.epochs": 3} -> {"optim.epochs": 3}, checked.

    Raises ConfigError, with `where`, for a field that does not exist, that a study does not set, or
    that is set twice, and for a value that cannot be.
    """
    flat = dotted(fields, where)
    for key, value in flat.items():
        setting = settable(key, where)
        schema.check(setting.kind, value, f"{where}.{key}", ConfigError)
        if key == "model.law" and value == "default":
            raise ConfigError(f"{where}.{key} is 'default'; name a law, e.g. ring or none")
    return flat


def dotted(fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`fields` by their dotted names, unchecked. Raises ConfigError for what sets one twice."""
    flat: dict[str, Any] = {}
    for part, value in fields.items():
        if "." in part:
            pairs = {part: value}
        elif isinstance(value, Mapping):
            pairs = {f"{part}.{name}": each for name, each in value.items()}
        else:
            raise ConfigError(
                f"{where}.{part} is {schema.show(value)}; name a field, as in optim.epochs = 3"
            )
        for key, each in pairs.items():
            if key in flat:
                raise ConfigError(f"{where} sets {key} twice; leave out one of them")
            flat[key] = each
    return flat


def settable(key: str, where: str) -> Any:
    """The field of that name. Raises ConfigError where there is none that a study may set."""
    try:
        setting = get_setting(key)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    reason = setting.trait.not_in_study
    if reason and not (where.startswith("arms.") and key == "model.law"):
        raise ConfigError(f"{where} sets {key}: {reason}")
    return setting
