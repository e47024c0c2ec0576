"""The fields of a config: what each may hold, what it is for, and its default.

The defaults are those of the recipe `fast`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from physjax import schema
from physjax.config.names import Name, OutputPath, PathText, Word
from physjax.errors import UserError


class ConfigError(UserError):
    """A configuration that cannot be run; the message names the field and the way out."""


@dataclass(frozen=True)
class Trait:
    """What else is to say of a field, beside its type, limits and default."""

    incidental: bool = False
    """It says where and how fast, not what: configs that differ only here compute the same."""
    not_in_study: str = ""
    """Why the settings of a study must not name it; empty: they may."""
    option_of: str = ""
    """The field whose choice (of a law, a rule, ...) decides whether this one has an effect."""
    needs: tuple[str, ...] = ()
    """The choices of `option_of` that have it. Empty: the chosen law or rule says, in its
    `options`."""


_PLACE = Trait(incidental=True)
_BY_FLAG = "it belongs to a machine, not to a study: give {}"

Fraction = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(ge=0, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


@schema.strict(ConfigError, "data")
class DataConfig:
    """Which images, and from where."""

    dataset: Annotated[Word, Trait(not_in_study="it is an axis of the grid: datasets")] = "auto"
    """A name in `physjax.data.DATASETS`, or `auto`: CIFAR-10 where it can be had, else digits."""
    data_dir: Annotated[
        PathText | None, Trait(incidental=True, not_in_study=_BY_FLAG.format("--data-dir"))
    ] = None
    """TFDS folder. None: $TFDS_DATA_DIR, else TFDS's default (~/tensorflow_datasets)."""
    cache_dir: Annotated[
        PathText | None,
        Trait(incidental=True, not_in_study="it belongs to a machine: set $PHYSJAX_CACHE"),
    ] = None
    """Folder of the decoded-image cache. None: $PHYSJAX_CACHE, else ~/.cache/physjax."""
    train_examples: Count | None = None
    """Use only this many training images, equally many of each class. None: all."""
    test_examples: Count | None = None
    """Evaluate on only this many test images, equally many of each class. None: all."""
    holdout: Fraction = 0.0
    """Fraction of the training images put aside, stratified, as validation set."""


@schema.strict(ConfigError, "augment")
class AugmentConfig:
    """Random changes of the training images, made on the device inside the compiled step."""

    crop: Literal["none", "pad", "resized"] = "pad"
    """`pad`: reflect-pad and crop back; `resized`: random area and aspect, resized (Inception)."""
    pad: Annotated[int, Field(ge=0, le=256), Trait(option_of="augment.crop", needs=("pad",))] = 4
    """Pixels of reflection padding on each side, for crop=pad."""
    mirror: bool = True
    """Mirror left-right with probability 1/2, in data sets where a mirrored image makes sense."""
    cutout: Annotated[int, Field(ge=0, le=1024)] = 8
    """Side in pixels of a square set to the mean; 0: none (DeVries & Taylor, arXiv:1708.04552)."""
    normalize: Literal["dataset", "imagenet"] = "dataset"
    """Whose channel mean and standard deviation the images are normalised by."""


@schema.strict(ConfigError, "model")
class ModelConfig:
    """Which network, built of which layer."""

    name: Annotated[Word, Trait(not_in_study="it is an axis of the grid: models")] = "physics"
    """A name in `physjax.models.MODELS`."""
    size: Literal["cifar", "paper"] = "cifar"
    """`cifar`: for 32x32 images; `paper`: the original network (224x224 for the ImageNet ones)."""
    law: Annotated[
        Word, Trait(not_in_study="it is an axis of the grid: laws (an entry of [arms] may set it)")
    ] = "default"
    """A name in `physjax.forces.LAWS`; `default`: the model's own (ring for physics, else none)."""
    interaction_strength: Annotated[float, Field(ge=-1e6, le=1e6), Trait(option_of="model.law")] = (
        2.8
    )
    """Start value of the strength s that multiplies the force, in laws that have one."""
    learn_strength: Annotated[bool, Trait(option_of="model.law")] = True
    """Train the strength; False keeps it at its start value."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation after each convolution; the force acts after it."""
    dropout: Fraction = 0.2
    """Probability of dropping a unit before a dense layer of the head."""
    width: Annotated[float, Field(gt=0, le=64)] = 1.0
    """Factor on the number of channels of every layer."""
    conv: Literal["auto", "direct", "patch", "winograd2", "winograd4"] = "auto"
    """How convolutions are computed (`physjax.ops.conv`); auto: by platform and shape."""
    auxiliary_weight: Factor = 0.0
    """Factor on the losses of GoogLeNet's auxiliary heads, 0.3 in its paper; 0: no such heads."""


@schema.strict(ConfigError, "optim")
class OptimConfig:
    """Optimiser and learning-rate schedule. Learning rates are per step, for the mean loss."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    """Examples in a step, over all devices of all hosts."""
    learning_rate: Annotated[float, Field(gt=0, le=1e20)] = 0.1
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Decay to zero after the warm-up; `constant`: no decay."""
    warmup: Fraction = 0.2
    """Fraction of all steps in which the learning rate rises linearly from 0."""
    momentum: Fraction = 0.9
    """Decay per step of the gradients' moving sum."""
    nesterov: bool = True
    """Look ahead by the momentum (Nesterov)."""
    weight_decay: Factor = 5e-4
    """L2 penalty on kernels alone: never on biases, norms, forces or strengths."""
    bias_scale: Factor = 1.0
    """Factor on the learning rate of biases: the control arm that the force is compared with."""
    label_smoothing: Fraction = 0.1
    """Share of the target that is spread evenly over all classes."""
    ema: Fraction = 0.0
    """Decay per step of the parameters' moving average, used for evaluation; 0: none."""
    drop_remainder: bool = True
    """Drop the last, short batch of an epoch; False trains on it too (without a norm only)."""


@schema.strict(ConfigError, "rule")
class RuleConfig:
    """How the network learns (`physjax.rules`)."""

    update_rule: Word = "backprop"
    """A name in `physjax.rules.RULES`; `coupled`: resistances between the channels learn by the
    paper's Eq. (1)."""
    gamma: Annotated[Factor, Trait(option_of="rule.update_rule")] = 1e-3
    """Learning rate of the resistances in Eq. (1), per step; 0: they stay at 1."""
    eta: Annotated[Positive, Trait(option_of="rule.update_rule")] = 1.0
    """Nudge amplitude: how far the clamped state moves along minus the loss gradient."""
    resistance_min: Annotated[float, Field(gt=0, le=1), Trait(option_of="rule.update_rule")] = 0.1
    """Resistances are clipped to [resistance_min, resistance_max]."""
    resistance_max: Annotated[float, Field(ge=1, le=1e6), Trait(option_of="rule.update_rule")] = (
        10.0
    )
    """Resistances are clipped to [resistance_min, resistance_max]."""


@schema.strict(ConfigError, "run")
class RunConfig:
    """How and where a run is carried out. Nothing here changes what it computes, bar the first."""

    seed: Annotated[
        int, Field(ge=0, lt=2**32), Trait(not_in_study="it is an axis of the grid: seeds")
    ] = 0
    """Decides initial parameters, batches, augmentation and dropout."""
    precision: Literal["float32", "bf16"] = "float32"
    """Arithmetic of activations; parameters, norms and losses stay float32."""
    name: Annotated[
        Name | None,
        Trait(incidental=True, not_in_study="a run is named by its place in the grid"),
    ] = None
    """Folder below runs_dir. None: made of model, data set, recipe, seed and a short hash."""
    runs_dir: Annotated[
        OutputPath, Trait(incidental=True, not_in_study=_BY_FLAG.format("--runs-dir"))
    ] = "runs"
    """Folder that runs lie below."""
    devices: Annotated[
        Annotated[int, Field(ge=1, le=1_000_000)] | None,
        Trait(incidental=True, not_in_study=_BY_FLAG.format("--devices")),
    ] = None
    """How many local devices to use; None: all."""
    steps_per_call: Annotated[int, Field(ge=0, le=1_000_000), _PLACE] = 0
    """Steps that one compiled call scans over; 0: a measured choice for the platform."""
    eval_batch_size: Annotated[int, Field(ge=1, le=1_000_000), _PLACE] = 500
    """Images that are evaluated at a time."""
    evaluate_every: Annotated[int, Field(ge=1, le=1_000_000), _PLACE] = 1
    """Epochs from one evaluation on the test images to the next; the last epoch always has one."""
    checkpoint_minutes: Annotated[Positive, _PLACE] = 10.0
    """Save within a long epoch too, whenever this long has passed; every epoch ends with a save."""
    tensorboard: Annotated[bool, _PLACE] = False
    """Write TensorBoard events too (extra `tensorboard`)."""


RECIPE_NAMES = ("fast", "paper", "smoke")
"""The keys of `physjax.config.RECIPES`."""


@schema.strict(ConfigError)
class Config:
    """Everything that a run needs to know."""

    recipe: str = "fast"
    """The recipe that this config started from: a key of `RECIPES`."""
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if self.recipe not in RECIPE_NAMES:
            raise ValueError(schema.unknown("recipe", self.recipe, RECIPE_NAMES))
        if self.model.norm == "batch" and not self.optim.drop_remainder:
            raise ValueError(
                "drop_remainder is False with norm 'batch': the statistics of a short, padded "
                "batch would be wrong; choose --norm none or --drop-remainder"
            )
        return self

    def replace(self, **parts: Any) -> Config:
        """A Config with the given fields changed: `replace(model={"name": "cnn"}, optim={...})`.

        Args:
          parts: for each part of the config a dictionary of fields, or a whole part; `recipe`.

        Raises:
          ConfigError: a field does not exist, or a value cannot be.
        """
        changed = {}
        for name, value in parts.items():
            old = getattr(self, name, None)
            if isinstance(value, Mapping) and dataclasses.is_dataclass(old):
                known = [f.name for f in dataclasses.fields(old)]
                for key in value:
                    if key not in known:
                        raise ConfigError(
                            schema.unknown("field", f"{name}.{key}", known, last=str(key))
                        )
                value = dataclasses.replace(old, **value)  # type: ignore[type-var]
            changed[name] = value
        return dataclasses.replace(self, **changed)

    def set(self, key: str, value: Any) -> Config:
        """A Config with one field changed: `set("optim.epochs", 3)`."""
        return self.set_all({key: value})

    def set_all(self, settings: Mapping[str, Any]) -> Config:
        """A Config with fields changed, given by their dotted names."""
        return self.replace(**nested(settings))


def nested(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{"optim.epochs": 3} -> {"optim": {"epochs": 3}}."""
    parts: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        part, dot, name = key.partition(".")
        if not (part and dot and name):
            raise ConfigError(f"{schema.show(key)} is no field; name it as in optim.epochs")
        parts.setdefault(part, {})[name] = value
    return parts
