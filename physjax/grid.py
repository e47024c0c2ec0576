"""A study as data: the grid of base models, force laws, data sets and seeds, and its runs.

A :class:`Study` comes from a command line or a small TOML file:

    models = ["alexnet", "cnn"]
    laws = ["none", "ring"]
    datasets = ["digits"]
    seeds = 3                     # 0, 1, 2; or a list
    recipe = "fast"

    [config]                      # any field of the config, for every run
    optim.epochs = 10

    [by_model.cnn]                # the same, for one base model
    optim.learning_rate = 0.05

    [arms.scaled-bias]            # one arm more beside the laws: whatever it changes
    model.law = "none"
    optim.bias_scale = 16.0

Nothing here imports JAX.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physjax.config import RECIPES, Config, ConfigError, from_dict, to_dict, validate

PLAIN = "none"
"""The arm that every other one is compared with: the model without a force."""
SCALED_BIAS = "scaled-bias"
"""The control arm: the plain model, the learning rate of its biases multiplied."""

Fields = Mapping[str, Mapping[str, Any]]
"""Values for fields of the config, by part and name."""

# What the grid itself decides, and what belongs to a machine and not to a study.
_NOT_TO_SET = {
    ("model", "name"): "it is an axis of the grid: models",
    ("model", "law"): "it is an axis of the grid: laws (an entry of [arms] may set it)",
    ("data", "dataset"): "it is an axis of the grid: datasets",
    ("run", "seed"): "it is an axis of the grid: seeds",
    ("run", "name"): "a run is named by its place in the grid",
    ("run", "runs_dir"): "give --runs-dir",
    ("run", "devices"): "give --devices",
    ("data", "data_dir"): "give --data-dir",
    ("data", "cache_dir"): "set $PHYSJAX_CACHE",
}


@dataclass(frozen=True, order=True)
class Cell:
    """The place of one run in the grid."""

    model: str
    arm: str
    """A force law's name, or that of an entry of `Study.arms`."""
    dataset: str
    seed: int

    @property
    def name(self) -> str:
        """Its name in records and folders."""
        return f"{self.model}-{self.arm}-{self.dataset}-seed{self.seed}"


@dataclass(frozen=True)
class Study:
    """A grid of runs, which differ in what the grid says and in nothing else."""

    models: tuple[str, ...]
    laws: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    recipe: str = "fast"
    config: Fields = field(default_factory=dict)
    """Changes of the recipe, for every run."""
    by_model: Mapping[str, Fields] = field(default_factory=dict)
    """Further changes for single base models."""
    arms: Mapping[str, Fields] = field(default_factory=dict)
    """Arms beside the laws, and what each of them changes."""

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The laws, then the other arms."""
        return (*self.laws, *self.arms)


def plan(study: Study) -> dict[Cell, Config]:
    """Every run of `study`, in the order in which they are carried out.

    The seed varies slowest and the arm fastest, so that a study that is stopped early holds whole
    pairs of all models. Raises ConfigError for a field or value that cannot be; whether models,
    laws and data sets exist is for `physjax.study` to say.
    """
    _check(study)
    runs = {}
    for seed in study.seeds:
        for dataset in study.datasets:
            for model in study.models:
                for arm in study.arm_names:
                    cell = Cell(model, arm, dataset, seed)
                    runs[cell] = _config(study, cell)
    return runs


def _check(study: Study) -> None:
    axes = {
        "models": study.models,
        "laws": study.laws,
        "datasets": study.datasets,
        "seeds": study.seeds,
    }
    for name, values in axes.items():
        if not values and not (name == "laws" and study.arms):
            raise ConfigError(f"the grid has no {name}; name at least one")
        if len(set(values)) < len(values):
            raise ConfigError(f"{name} names one twice: {', '.join(map(str, values))}")
    if study.recipe not in RECIPES:
        raise ConfigError(f"there is no recipe {study.recipe!r}; they are {', '.join(RECIPES)}")
    if "default" in study.laws:
        raise ConfigError("laws has 'default'; in a study a law is named, e.g. ring or none")
    if "auto" in study.datasets:
        raise ConfigError(
            "datasets has 'auto', which may mean something else on another machine; name one, "
            "e.g. cifar10 or digits"
        )
    for name in study.arms:
        if name in study.laws:
            raise ConfigError(f"{name!r} is an arm and among the laws; give the arm another name")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"an arm is called {name!r}; use letters, digits, '-' and '_'")
    for model in study.by_model:
        if model not in study.models:
            raise ConfigError(f"by_model has {model!r}, which is not among the models")


def _config(study: Study, cell: Cell) -> Config:
    values = to_dict(RECIPES[study.recipe])
    values["model"] |= {"name": cell.model, "law": cell.arm}
    values["data"]["dataset"] = cell.dataset
    values["run"] |= {"seed": cell.seed, "name": cell.name}
    _change(values, study.config, "config")
    _change(values, study.by_model.get(cell.model, {}), f"by_model.{cell.model}")
    if cell.arm in study.arms:
        values["model"]["law"] = PLAIN
        _change(values, study.arms[cell.arm], f"arms.{cell.arm}", law=True)
    return validate(from_dict(values))


def _change(values: dict[str, Any], fields: Fields, where: str, *, law: bool = False) -> None:
    kinds = typing.get_type_hints(Config)
    for part, changes in fields.items():
        if part not in values or not isinstance(values[part], dict):
            parts = ", ".join(p for p, v in values.items() if isinstance(v, dict))
            raise ConfigError(f"{where} has {part!r}; the parts of a config are {parts}")
        if not isinstance(changes, Mapping):
            raise ConfigError(f"{where}.{part} is {changes!r}; name a field, as in {part}.x = 1")
        hints = typing.get_type_hints(kinds[part])
        for name, value in changes.items():
            if name not in values[part]:
                raise ConfigError(
                    f"{where} has {part}.{name}, which no config has; there are "
                    f"{', '.join(values[part])}"
                )
            if (part, name) in _NOT_TO_SET and not (law and (part, name) == ("model", "law")):
                raise ConfigError(f"{where} sets {part}.{name}: {_NOT_TO_SET[part, name]}")
            values[part][name] = _typed(hints[name], value, f"{where}.{part}.{name}")


def _typed(hint: Any, value: Any, where: str) -> Any:
    """`value` as the field takes it. Raises ConfigError where it is of another kind."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            if value in typing.get_args(option):
                return value
        # A bool is an int to Python, but not to anybody who reads `epochs = true`.
        elif type(value) is option:
            return value
        elif option is float and type(value) is int:
            return float(value)
    raise ConfigError(f"{where} is {value!r}; it must be {' or '.join(map(_kind, options))}")


def _kind(option: Any) -> str:
    if typing.get_origin(option) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(option)))}"
    return str(option.__name__)


def read_toml(path: Path) -> Study:
    """The study in a TOML file. Raises ConfigError, naming the file and what is wrong in it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    try:
        return _from_values(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _from_values(values: dict[str, Any]) -> Study:
    known = {f.name for f in dataclasses.fields(Study)}
    for name in values:
        if name not in known:
            raise ConfigError(f"there is no {name!r} in a study; it has {', '.join(sorted(known))}")
    seeds = values.get("seeds", ())
    if type(seeds) is int:
        seeds = range(seeds)
    axes = {name: values.get(name, ()) for name in ("models", "laws", "datasets")}
    for name, names in axes.items():
        if isinstance(names, str) or not all(isinstance(n, str) for n in names):
            raise ConfigError(f"{name} is {names!r}; it must be a list of names")
    if not isinstance(seeds, range | list | tuple) or not all(type(s) is int for s in seeds):
        raise ConfigError(f"seeds is {seeds!r}; it must be a number of seeds, or a list of them")
    tables = {name: values.get(name, {}) for name in ("config", "by_model", "arms")}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{name} is {table!r}; it must be a table")
    study = Study(
        models=tuple(axes["models"]),
        laws=tuple(axes["laws"]),
        datasets=tuple(axes["datasets"]),
        seeds=tuple(seeds),
        recipe=values.get("recipe", Study.recipe),
        **tables,
    )
    plan(study)
    return study


def parse_setting(text: str) -> dict[str, dict[str, Any]]:
    """`optim.epochs=3` -> {"optim": {"epochs": 3}}; a value that TOML cannot read is a string.

    Raises ConfigError where `text` is of another form.
    """
    key, equals, value = text.partition("=")
    part, dot, name = key.strip().partition(".")
    if not (equals and dot and part and name):
        raise ConfigError(f"{text!r} sets nothing; write it as in optim.epochs=3")
    try:
        return {part: {name: tomllib.loads(f"x = {value}")["x"]}}
    except tomllib.TOMLDecodeError:
        return {part: {name: value.strip()}}


def from_options(
    models: Sequence[str],
    laws: Sequence[str],
    datasets: Sequence[str],
    seeds: int,
    recipe: str,
    settings: Sequence[str] = (),
    bias_scale: float | None = None,
) -> Study:
    """The study that options of a command line describe; `settings` are like optim.epochs=3.

    `bias_scale` adds the arm scaled-bias. Raises ConfigError as :func:`plan` does.
    """
    config: dict[str, dict[str, Any]] = {}
    for setting in settings:
        for part, changes in parse_setting(setting).items():
            config.setdefault(part, {}).update(changes)
    arms = {} if bias_scale is None else {SCALED_BIAS: {"optim": {"bias_scale": bias_scale}}}
    study = Study(
        models=tuple(models),
        laws=tuple(laws),
        datasets=tuple(datasets),
        seeds=tuple(range(seeds)),
        recipe=recipe,
        config=config,
        arms=arms,
    )
    plan(study)
    return study


def to_toml(study: Study) -> str:
    """`study` as a TOML file that :func:`read_toml` reads back as an equal one."""
    values = dataclasses.asdict(study)
    lines = [f"{name} = {_toml(v)}" for name, v in values.items() if not isinstance(v, dict)]
    tables = {"config": values["config"]}
    for group in ("by_model", "arms"):
        tables |= {f"{group}.{_key(name)}": fields for name, fields in values[group].items()}
    for title, fields in tables.items():
        if fields:
            lines += ["", f"[{title}]"]
            for part, changes in fields.items():
                lines += [f"{part}.{name} = {_toml(value)}" for name, value in changes.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    # A key without quotes may have ASCII letters, digits, '-' and '_'; which ones an arm has.
    return name if name.isascii() else json.dumps(name, ensure_ascii=False)


def _toml(value: Any) -> str:
    # Strings, numbers, booleans and lists of them look the same in TOML and in JSON.
    return json.dumps(value)
