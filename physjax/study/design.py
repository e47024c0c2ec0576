"""A study as data: the grid of base models, force laws, data sets and seeds, and its runs.

A :class:`Study` comes from a command line or a small TOML file (`physjax.study.files`):

    models = ["alexnet", "cnn"]
    laws = ["none", "ring"]
    datasets = ["digits"]
    seeds = 3                     # 0, 1, 2; or a list
    recipe = "fast"
    tta = "mirror+shift"          # evaluate each run over these views too, at its end

    [config]                      # any field of the config, for every run
    optim.epochs = 10

    [by_model.cnn]                # the same, for one base model
    optim.learning_rate = 0.05

    [arms.scaled-bias]            # one arm more beside the laws: whatever it changes
    model.law = "none"
    optim.bias_scale = 16.0

    [arms.longer]                 # plain, with as many seconds as an arm that costs 10 % more
    cost = 1.1

    [axes]                        # fields that are swept: every arm once with each value
    optim.momentum = [0.8, 0.9]
    law.length = [1.0, 2.0]       # a setting of a law, in the arms that have one

    [compare]                     # further arms that an arm is compared with
    ring = ["longer"]

    [must_beat]                   # those which it must beat, or it has gained nothing
    ring = ["none", "scaled-bias"]

Nothing here imports JAX.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from physjax import schema
from physjax.config import RECIPES, Config, ConfigError, get_setting, recipe
from physjax.config.names import DatasetName, Plugins, Word, in_folder_name
from physjax.study.arms import COST, arm_changes, longer
from physjax.study.fields import dotted, flatten, settable

PLAIN = "none"
"""The arm that every other one is compared with: the model without a force."""
SCALED_BIAS = "scaled-bias"
"""The control arm: the plain model, the learning rate of its biases multiplied."""
MOST_RUNS = 100_000

Fields = dict[str, Any]
"""Values for fields of the config: nested by part, or by dotted names."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]


@dataclass(frozen=True, order=True)
class Cell:
    """The place of one run in the grid."""

    model: str
    arm: str
    """A force law's name, or that of an entry of `Study.arms`; with axes their values follow, as in
    `ring@momentum=0.8`."""
    dataset: str
    seed: int

    @property
    def name(self) -> str:
        """Its name in records and folders."""
        return f"{self.model}-{self.arm}-{in_folder_name(self.dataset)}-seed{self.seed}"


@schema.strict(ConfigError)
class Study:
    """A grid of runs, which differ in what the grid says and in nothing else."""

    models: tuple[Word, ...]
    laws: tuple[Word, ...]
    datasets: tuple[DatasetName, ...]
    seeds: tuple[Seed, ...]
    recipe: str = "fast"
    config: Fields = field(default_factory=dict)
    """Changes of the recipe, for every run."""
    by_model: dict[str, Fields] = field(default_factory=dict)
    """Further changes for single base models."""
    arms: dict[Word, Fields] = field(default_factory=dict)
    """Arms beside the laws, and what each of them changes."""
    axes: Fields = field(default_factory=dict)
    """Fields that are swept, each with the list of its values."""
    plugins: Plugins = ()
    """Modules or files with laws, rules, bases or data sets from outside."""
    tta: Literal["mirror", "mirror+shift"] | None = None
    """Views of each test image that a run, when it has ended, is evaluated over too; None: none."""
    corruptions: tuple[Word, ...] = ()
    """Corruptions of the test images that a run, when it has ended, is evaluated under too."""
    compare: dict[Word, tuple[Word, ...]] = field(default_factory=dict)
    """Further arms that an arm is compared with, beside its controls."""
    must_beat: dict[Word, tuple[Word, ...]] = field(default_factory=dict)
    """Arms that an arm is compared with, and must beat by two standard errors each."""
    families: dict[Word, tuple[Word, ...]] = field(default_factory=dict)
    """Arms whose comparisons are corrected for each other, by the family's name. Those in no family
    are one more: without any, the comparisons of all arms are corrected together."""
    screening: Word | None = None
    """The study that chose what this one confirms; they share no seed."""

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The laws, then the other arms, each with every combination of the axes' values."""
        return tuple(_arms(self))


def plan(study: Study) -> dict[Cell, Config]:
    """Every run of `study`, in the order in which they are carried out.

    The seed varies slowest and the arm fastest, so that a study that is stopped early holds whole
    pairs of all models. Raises ConfigError for a field or value that cannot be; whether models,
    laws and data sets exist is for `physjax.study.runner` to say.
    """
    _check(study)
    arms = _arms(study)
    common = flatten(study.config, "config")
    by_model = {m: flatten(f, f"by_model.{m}") for m, f in study.by_model.items()}
    runs = {}
    for seed, dataset, model in itertools.product(study.seeds, study.datasets, study.models):
        for arm, changes in arms.items():
            cell = Cell(model, arm, dataset, seed)
            settings = {
                "model.name": model,
                "data.dataset": dataset,
                "run.seed": seed,
                "run.name": cell.name,
                "run.plugins": study.plugins,
                **common,
                **by_model.get(model, {}),
                **changes,
            }
            factor = settings.pop(COST, None)
            try:
                runs[cell] = longer(RECIPES[study.recipe].set_all(settings), factor)
            except ConfigError as error:
                raise ConfigError(f"{schema.show(cell.name)}: {error}") from None
    return runs


def _arms(study: Study) -> dict[str, dict[str, Any]]:
    """Every arm of the study at every combination of the axes' values: name -> what it changes."""
    plain: dict[str, dict[str, Any]] = {law: {"model.law": law} for law in study.laws}
    for name, fields in study.arms.items():
        plain[name] = {"model.law": PLAIN, **arm_changes(name, fields)}
    axes = {key: _axis(key, values) for key, values in dotted(study.axes, "axes").items()}
    fixed = dict.fromkeys(dotted(study.config, "config"), "config")
    for table in ("by_model", "arms"):
        for name, fields in getattr(study, table).items():
            where = f"{table}.{name}"
            own = {k: v for k, v in fields.items() if k != COST or table != "arms"}
            fixed |= dict.fromkeys(dotted(own, where), where)
    for key in axes:
        if key in fixed:
            raise ConfigError(f"{key} is swept by axes and set by {fixed[key]}; leave out one")
    arms = {}
    for name, changes in plain.items():
        # Without a law its options do nothing: one run does for all their values.
        without = changes["model.law"] == PLAIN
        swept = [
            key for key in axes if not (without and get_setting(key).trait.option_of == "model.law")
        ]
        for values in itertools.product(*(axes[key] for key in swept)):
            at = dict(zip(swept, values, strict=True))
            suffix = "".join(f"@{key.partition('.')[2]}={value}" for key, value in at.items())
            arms[name + suffix] = changes | at
    return arms


def _axis(key: str, values: Any) -> tuple[Any, ...]:
    setting = settable(key, "axes")
    if not isinstance(values, list | tuple) or not values:
        raise ConfigError(f"axes.{key} is {schema.show(values)}; it must be a list of values")
    for value in values:
        schema.check(setting.kind, value, f"axes.{key}", ConfigError)
    if len({str(value) for value in values}) < len(values):
        raise ConfigError(f"axes.{key} names a value twice: {', '.join(map(str, values))}")
    return tuple(values)


def _check(study: Study) -> None:
    recipe(study.recipe)
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
    if len(set(map(in_folder_name, study.datasets))) < len(study.datasets):
        raise ConfigError(
            "datasets has two whose runs would have the same name, as '/' becomes '-' in it"
        )
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
            raise ConfigError(
                f"an arm is called {schema.show(name)}; use letters, digits, '-' and '_'"
            )
    _check_arms_named(study)
    for model in study.by_model:
        if model not in study.models:
            raise ConfigError(f"by_model has {schema.show(model)}, which is not among the models")
    runs = len(study.arm_names)
    for values in (study.seeds, study.datasets, study.models):
        runs *= len(values)
    if runs > MOST_RUNS:
        raise ConfigError(f"the grid has {runs:,} runs; at most {MOST_RUNS:,} fit into a study")


def _check_arms_named(study: Study) -> None:
    """Raise ConfigError where a table names an arm that is not there, or that has two families."""
    known = {*study.laws, *study.arms}
    for table in ("compare", "must_beat"):
        for arm, others in getattr(study, table).items():
            for name in (arm, *others):
                if name not in known:
                    raise ConfigError(f"{table}: {schema.unknown('arm', name, known)}")
            if arm in others:
                raise ConfigError(f"{table}.{arm} compares the arm with itself")
    places: dict[str, str] = {}
    for family, arms in study.families.items():
        for name in arms:
            if name not in known:
                raise ConfigError(f"families.{family}: {schema.unknown('arm', name, known)}")
            if name in places:
                raise ConfigError(
                    f"families has {name!r} in {places[name]} and in {family}; leave out one"
                )
            places[name] = family
