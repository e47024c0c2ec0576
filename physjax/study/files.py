"""Studies from TOML files and from options of a command line, and back into TOML."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tomli_w

from physjax import schema
from physjax.config import (
    RECIPES,
    ConfigError,
    get_setting,
    nested,
    parse_settings,
    settings_of,
)
from physjax.study.design import MOST_RUNS, SCALED_BIAS, Study, plan
from physjax.study.fields import dotted


def read_toml(path: Path) -> Study:
    """The study in a TOML file. Raises ConfigError, naming the file and what is wrong in it."""
    try:
        values = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (at byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        # Of a number with too many digits, tomllib passes on the error of int.
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    seeds = values.get("seeds")
    if type(seeds) is int:
        if not 1 <= seeds <= MOST_RUNS:
            raise ConfigError(f"{path}: seeds is {schema.show(seeds)}; name how many, or a list")
        values["seeds"] = list(range(seeds))
    for name in ("models", "laws", "datasets", "seeds"):
        values.setdefault(name, [])
    study = schema.read(Study, values, str(path), ConfigError)
    try:
        plan(study)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return study


def from_options(
    models: Sequence[str],
    laws: Sequence[str],
    datasets: Sequence[str],
    seeds: int,
    recipe: str,
    settings: Sequence[str] = (),
    bias_scale: float | None = None,
    plugins: Sequence[str] = (),
    tta: Literal["mirror", "mirror+shift"] | None = None,
    corruptions: Sequence[str] = (),
) -> Study:
    """The study that options of a command line describe; `settings` are like optim.epochs=3.

    `bias_scale` adds the arm scaled-bias. Raises ConfigError as `plan` does.
    """
    if not 1 <= seeds <= MOST_RUNS:
        raise ConfigError(f"seeds is {schema.show(seeds)}; name how many, from 1 on")
    arms = {} if bias_scale is None else {SCALED_BIAS: {"optim": {"bias_scale": bias_scale}}}
    study = Study(
        models=tuple(models),
        laws=tuple(laws),
        datasets=tuple(datasets),
        seeds=tuple(range(seeds)),
        recipe=recipe,
        config=nested(parse_settings(settings)),
        arms=arms,
        plugins=tuple(plugins),
        tta=tta,
        corruptions=tuple(corruptions),
    )
    plan(study)
    return study


def arm_settings(study: Study) -> list[str]:
    """A line for each model and arm: in what they differ from the recipe, the axes apart."""
    usual = settings_of(RECIPES[study.recipe])
    lines = [f"recipe {study.recipe}, and in it:"]
    seen: set[tuple[str, str]] = set()
    for cell, config in plan(study).items():
        if (cell.model, cell.arm) in seen:
            continue
        seen.add((cell.model, cell.arm))
        changed = [
            f"{key}={value}"
            for key, value in settings_of(config).items()
            if key not in ("run.plugins", "model.name", "data.dataset", "run.seed", "run.name")
            and value != usual.get(key)
        ]
        lines.append(f"  {cell.model} {cell.arm}: {' '.join(changed) or 'nothing else'}")
    return lines


def pinned(study: Study) -> Study:
    """The same runs, whatever becomes of the recipe: its values are among those of `config`.

    Without those that the grid sets or sweeps, that no study sets, that change no result, or that
    are None.
    """
    named = {*dotted(study.config, "config"), *dotted(study.axes, "axes")}

    def kept_back(key: str) -> bool:
        trait = get_setting(key).trait
        return key in named or trait.incidental or bool(trait.not_in_study)

    recipe = settings_of(RECIPES[study.recipe])
    kept = {key: v for key, v in recipe.items() if v is not None and not kept_back(key)}
    return dataclasses.replace(study, config=nested(kept | dotted(study.config, "config")))


def to_toml(study: Study) -> str:
    """`study` as a TOML file that :func:`read_toml` reads back as an equal one.

    Raises ConfigError for a None, which TOML cannot hold.
    """
    return tomli_w.dumps(_for_toml(dataclasses.asdict(study), ""))


def _for_toml(value: Any, where: str) -> Any:
    if value is None:
        raise ConfigError(f"{where} is None, which a TOML file cannot hold; leave it out")
    if isinstance(value, dict):
        # An empty table of an arm says that there is such an arm; an empty group says nothing.
        return {
            key: _for_toml(each, f"{where}.{key}" if where else key)
            for key, each in value.items()
            if where or each not in ({}, (), None)
        }
    if isinstance(value, list | tuple):
        return [_for_toml(each, where) for each in value]
    return value
