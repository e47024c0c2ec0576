"""The configuration of a run.

A :class:`Config` says everything that decides what a run computes. A command line, a TOML file or
Python overrides single fields of a recipe, under the same dotted names: `--set optim.epochs=3`,
`optim.epochs = 3`, `config.set("optim.epochs", 3)`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from physjax import schema
from physjax.config.config import Config, nested
from physjax.config.fields import OPEN
from physjax.config.names import SettingValue, check_setting_name, in_folder_name
from physjax.config.recipes import RECIPES
from physjax.config.traits import ConfigError, Trait

# ---- fields by their dotted names ----


@dataclass(frozen=True)
class Setting:
    """A field of the config, by its dotted name."""

    key: str
    kind: Any
    """Its type, with the limits."""
    trait: Trait
    doc: str

    def get(self, config: Config) -> Any:
        """Its value in `config`; None for a setting of a law or rule that is at its default."""
        part, _, name = self.key.partition(".")
        holder = getattr(config, part)
        return getattr(holder, name) if self.key in SETTINGS else holder.own.get(name)


def _settings() -> dict[str, Setting]:
    settings = {}
    for part, kind in typing.get_type_hints(Config).items():
        if not dataclasses.is_dataclass(kind):
            continue
        hints = typing.get_type_hints(kind, include_extras=True)
        docs = kind.__pydantic_fields__  # type: ignore[union-attr]
        for f in dataclasses.fields(kind):
            if f.name == schema.OWN:
                continue
            hint, key = hints[f.name], f"{part}.{f.name}"
            traits = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Trait)]
            settings[key] = Setting(
                key, hint, traits[0] if traits else Trait(), docs[f.name].description or ""
            )
    return settings


SETTINGS: dict[str, Setting] = _settings()
"""Every field of the config, by its dotted name; the settings of single laws and rules apart."""


def get_setting(key: str) -> Setting:
    """The field of that dotted name, or the setting of a law or rule, which may not exist.

    Raises ConfigError with the nearest that exists.
    """
    if key in SETTINGS:
        return SETTINGS[key]
    part, dot, name = str(key).partition(".")
    if dot and part in OPEN:
        try:
            check_setting_name(name)
        except ValueError as error:
            raise ConfigError(f"{schema.show(key)} names no setting; {error}") from None
        return Setting(key, SettingValue, Trait(option_of=OPEN[part]), "")
    parts = list(dict.fromkeys([*(k.partition(".")[0] for k in SETTINGS), *OPEN]))
    if not dot:
        of = [k for k in SETTINGS if k.endswith(f".{part}")]
        hint = f"; did you mean {of[0]!r}?" if of else schema.suggestion(part, parts)
        raise ConfigError(
            f"there is no field {schema.show(key)}; a field is named as in optim.epochs, and its "
            f"first part is one of {', '.join(parts)}{hint}"
        )
    if part not in parts:
        raise ConfigError(schema.unknown("part of a config", part, parts))
    names = [k.partition(".")[2] for k in SETTINGS if k.startswith(f"{part}.")]
    raise ConfigError(schema.unknown("field", str(key), names, last=name))


def settings_of(config: Config) -> dict[str, Any]:
    """Everything that `config` holds, by dotted name: its fields, and its law's and rule's own
    settings that are not at their defaults."""
    values = {key: setting.get(config) for key, setting in SETTINGS.items()}
    for part in OPEN:
        own = getattr(config, part).own
        values |= {f"{part}.{name}": own[name] for name in sorted(own)}
    return values


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """`["optim.epochs=3"]` -> {"optim.epochs": 3}, checked against the fields.

    A value is written as in TOML, or is plain text; `None` is None.

    Raises:
      ConfigError: a text is of another form, a field does not exist or is set twice, or a value
        cannot be.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and key and value):
            raise ConfigError(f"{schema.show(text)} sets nothing; write it as in optim.epochs=3")
        setting = get_setting(key)
        if key in settings:
            raise ConfigError(f"{key} is set twice; leave out one of them")
        settings[key] = _parse(setting, value)
    return settings


def _parse(setting: Setting, text: str) -> Any:
    refusals = []
    for value in [None] if text == "None" else [*_as_toml(text), text]:
        try:
            schema.check(setting.kind, value, setting.key, ConfigError)
        except ConfigError as refusal:
            refusals.append(refusal)
        else:
            return value
    raise refusals[0]


def _as_toml(text: str) -> list[Any]:
    """The value that `text` is in TOML, if it is one."""
    try:
        return [] if "\n" in text else [tomllib.loads(f"x = {text}")["x"]]
    except (ValueError, RecursionError):
        return []


# ---- a config as a whole ----


def to_dict(config: Config) -> dict[str, Any]:
    """`config` as nested plain dictionaries, ready for JSON."""
    values: dict[str, Any] = {"recipe": config.recipe}
    parts = [f.name for f in dataclasses.fields(config) if f.name != "recipe"]
    return values | {part: {} for part in parts} | nested(settings_of(config))


def from_dict(values: Any, where: str = "config") -> Config:
    """The Config that :func:`to_dict` wrote. Raises ConfigError, which names `where` and field."""
    return schema.read(Config, values, where, ConfigError)


def identity(config: Config) -> dict[str, Any]:
    """What decides the result, by dotted name: what a resumed run must agree in."""
    return {"recipe": config.recipe} | {
        key: value
        for key, value in settings_of(config).items()
        if not get_setting(key).trait.incidental
    }


def differences(one: Config, other: Config) -> list[str]:
    """Lines `part.field: one -> other` for each field in which the identities differ."""
    before, after = identity(one), identity(other)
    return [
        f"{key}: {_shown(before, key)} -> {_shown(after, key)}"
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]


def _shown(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "its default"


def without_effect(config: Config, chosen: Mapping[str, tuple[str, Collection[str]]]) -> list[str]:
    """A line for each option unlike its recipe's that the law, rule or other choice does not have.

    Args:
      config: of a run.
      chosen: by the dotted name of a choice, what it amounts to and the options that it has.
        Choices that say at the field itself which options they have need not be named.
    """
    usual, lines = RECIPES[config.recipe], []
    for key, setting in SETTINGS.items():
        of, needs = setting.trait.option_of, setting.trait.needs
        value = setting.get(config)
        if not of or value == setting.get(usual):
            continue
        choice, options = chosen.get(of, (SETTINGS[of].get(config), ()))
        if choice not in needs and key.partition(".")[2] not in options:
            lines.append(
                f"{key} is {value!r}, which does nothing: {of} is {choice!r}, "
                "and has no such option"
            )
    return lines


_IN_THE_NAME = ("recipe", "model.name", "model.law", "data.dataset", "run.seed")


def run_name(config: Config) -> str:
    """Folder name of a run: the given one, or model, data set, recipe, seed and a short hash.

    The hash is over the other fields in which `config` differs from its recipe, and left out where
    there are none: a field that comes later renames no run, and two different runs never share a
    folder by accident.
    """
    if config.run.name is not None:
        return config.run.name
    usual = identity(RECIPES[config.recipe])
    changed = {
        key: value
        for key, value in identity(config).items()
        if value != usual.get(key) and key not in _IN_THE_NAME
    }
    law = "" if config.model.law in ("default", "none") else f"-{config.model.law}"
    dataset = in_folder_name(config.data.dataset)
    name = f"{config.model.name}{law}-{dataset}-{config.recipe}-seed{config.run.seed}"
    if not changed:
        return name
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
    return f"{name}-{digest[:6]}"
