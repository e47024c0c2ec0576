"""The configuration of a run: frozen dataclasses, and the one place that holds a default.

A :class:`Config` says everything that decides what a run computes. `RECIPES` are Configs too: a
recipe is data, and a command line overrides single fields of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from physjax.errors import UserError


class ConfigError(UserError):
    """A configuration that cannot be run; the message names the field and the way out."""


@dataclass(frozen=True)
class DataConfig:
    """Which images, and from where."""

    dataset: str = "auto"
    """A name in `physjax.data.DATASETS`, or `auto`: CIFAR-10 where it can be had, else digits."""
    data_dir: str | None = None
    """TFDS folder. None: $TFDS_DATA_DIR, else TFDS's default (~/tensorflow_datasets)."""
    cache_dir: str | None = None
    """Folder of the decoded-image cache. None: $PHYSJAX_CACHE, else ~/.cache/physjax."""
    train_examples: int | None = None
    """Use only this many training images, equally many of each class. None: all."""
    holdout: float = 0.0
    """Fraction of the training images put aside, stratified, as validation set."""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training images, made on the device inside the compiled step."""

    crop: Literal["none", "pad", "resized"] = "pad"
    """`pad`: reflect-pad and crop back; `resized`: random area and aspect, resized (Inception)."""
    pad: int = 4
    """Pixels of reflection padding on each side, for crop=pad."""
    mirror: bool = True
    """Mirror left-right with probability 1/2, in data sets where a mirrored image makes sense."""
    cutout: int = 0
    """Side in pixels of a square set to the mean; 0: none (DeVries & Taylor, arXiv:1708.04552)."""
    normalize: Literal["dataset", "imagenet"] = "dataset"
    """Whose channel mean and standard deviation the images are normalised by."""


@dataclass(frozen=True)
class ModelConfig:
    """Which network, built of which layer."""

    name: Annotated[str, tyro.conf.arg(name="model")] = "physics"
    """A name in `physjax.models.MODELS`."""
    size: Literal["cifar", "paper"] = "cifar"
    """`cifar`: for 32x32 images; `paper`: the original network (224x224 for the ImageNet ones)."""
    law: str = "default"
    """A name in `physjax.forces.LAWS`; `default`: the model's own (ring for physics, else none)."""
    interaction_strength: float = 2.8
    """Start value of the strength s that multiplies the force."""
    learn_strength: bool = True
    """Train the strength; False keeps it at its start value."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation after each convolution; the force acts after it."""
    dropout: float = 0.0
    """Probability of dropping a unit before a dense layer of the head."""
    width: float = 1.0
    """Factor on the number of channels of every layer."""
    conv: Literal["auto", "direct", "patch", "winograd2", "winograd4"] = "auto"
    """How convolutions are computed (`physjax.conv`); auto: by platform and shape."""
    auxiliary_weight: float = 0.0
    """Factor on the losses of GoogLeNet's auxiliary heads, 0.3 in its paper; 0: no such heads."""


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and learning-rate schedule. Learning rates are per step, for the mean loss."""

    epochs: int = 10
    batch_size: int = 128
    """Examples in a step, over all devices of all hosts."""
    learning_rate: float = 0.1
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Decay to zero after the warm-up; `constant`: no decay."""
    warmup: float = 0.2
    """Fraction of all steps in which the learning rate rises linearly from 0."""
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    """L2 penalty on kernels alone: never on biases, norms, forces or strengths."""
    bias_scale: float = 1.0
    """Factor on the learning rate of biases: the control arm that the force is compared with."""
    label_smoothing: float = 0.0
    ema: float = 0.0
    """Decay per step of the parameters' moving average, used for evaluation; 0: none."""
    drop_remainder: bool = True
    """Drop the last, short batch of an epoch; False trains on it too (without a norm only)."""


@dataclass(frozen=True)
class RuleConfig:
    """How the layers learn beside their gradient (`physjax.channels`)."""

    update_rule: Literal["backprop", "coupled"] = "backprop"
    """`coupled`: resistances between the channels learn by the paper's Eq. (1)."""
    gamma: float = 1e-3
    """Learning rate of the resistances in Eq. (1), per step; 0: they stay at 1."""
    eta: float = 1.0
    """Nudge amplitude: how far the clamped state moves along minus the loss gradient."""
    resistance_min: float = 0.1
    resistance_max: float = 10.0
    """Resistances are clipped to [resistance_min, resistance_max]."""


@dataclass(frozen=True)
class RunConfig:
    """How and where a run is carried out. Nothing here changes what it computes, bar the first."""

    seed: int = 0
    """Decides initial parameters, batches, augmentation and dropout."""
    precision: Literal["float32", "bf16"] = "float32"
    """Arithmetic of activations; parameters, norms and losses stay float32."""
    name: str | None = None
    """Folder below runs_dir. None: made of model, data set, recipe, seed and a short hash."""
    runs_dir: str = "runs"
    devices: int | None = None
    """How many local devices to use; None: all."""
    steps_per_call: int = 0
    """Steps that one compiled call scans over; 0: a measured choice for the platform."""
    eval_batch_size: int = 500
    checkpoint_minutes: float = 10.0
    """Save within a long epoch too, whenever this long has passed; every epoch ends with a save."""
    tensorboard: bool = False
    """Write TensorBoard events too (extra `tensorboard`)."""


@dataclass(frozen=True)
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


def _recipe(name: str, **parts: dict[str, Any]) -> Config:
    """The default Config with the given fields of its parts replaced."""
    base = Config(recipe=name)
    changed = {k: dataclasses.replace(getattr(base, k), **v) for k, v in parts.items()}
    return dataclasses.replace(base, **changed)


RECIPES: dict[str, Config] = {
    # 32x32 images, batch norm, Nesterov SGD with a warm-up and decay, label smoothing.
    "fast": _recipe(
        "fast",
        augment={"cutout": 8},
        model={"dropout": 0.2},
        optim={"learning_rate": 0.1, "label_smoothing": 0.1},
    ),
    # What the paper's authors ran, to the letter: AlexNet on images resized to 224x224.
    "paper": _recipe(
        "paper",
        augment={"crop": "resized", "normalize": "imagenet"},
        model={"size": "paper", "norm": "none", "dropout": 0.5},
        optim={
            "epochs": 50,
            "batch_size": 128,
            "learning_rate": 0.01,
            "schedule": "constant",
            "warmup": 0.0,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0,
            "drop_remainder": False,
        },
        run={"eval_batch_size": 128},
    ),
    # Seconds, for tests and for a first look that everything is in place.
    "smoke": _recipe(
        "smoke",
        data={"dataset": "digits", "train_examples": 200},
        augment={"pad": 2},
        model={"width": 0.125, "conv": "direct"},
        optim={"epochs": 2, "batch_size": 40, "learning_rate": 0.05},
    ),
}


# Fields that say where and how fast, not what: two configs that differ only here compute the same.
_INCIDENTAL = {
    "data": {"data_dir", "cache_dir"},
    "run": {
        "name",
        "runs_dir",
        "devices",
        "steps_per_call",
        "eval_batch_size",
        "checkpoint_minutes",
        "tensorboard",
    },
}


# Fields that came after runs had been named: at their default they change no name.
_NEWER = (("model", "auxiliary_weight"),)


def to_dict(config: Config) -> dict[str, Any]:
    """`config` as nested plain dictionaries, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """The Config that :func:`to_dict` wrote. Raises ConfigError on a field it does not know."""
    return _build(Config, values, "config")


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"{where} has no field {unknown[0]!r}; it has {', '.join(fields)}")
    parts = {}
    for name, value in values.items():
        factory = fields[name].default_factory
        if factory is not dataclasses.MISSING:
            value = _build(factory, value, f"{where}.{name}")
        parts[name] = value
    return kind(**parts)


def identity(config: Config) -> dict[str, Any]:
    """The part of `config` that decides what is computed: what a resumed run must agree in."""
    values = to_dict(config)
    for part, names in _INCIDENTAL.items():
        for name in names:
            del values[part][name]
    return values


def differences(one: Config, other: Config) -> list[str]:
    """Lines `part.field: one -> other` for each field in which the identities differ."""
    a, b = identity(one), identity(other)
    lines = []
    for part, values in a.items():
        if not isinstance(values, dict):
            values, theirs = {"": values}, {"": b[part]}
        else:
            theirs = b[part]
        for name, value in values.items():
            if value != theirs[name]:
                lines.append(f"{part}{'.' if name else ''}{name}: {value!r} -> {theirs[name]!r}")
    return lines


def run_name(config: Config) -> str:
    """Folder name of a run: the given one, or model, data set, recipe, seed and a short hash.

    The hash is over the identity, so that two different runs never share a folder by accident.
    """
    if config.run.name is not None:
        return config.run.name
    values, plain = identity(config), identity(Config())
    for part, name in _NEWER:
        if values[part][name] == plain[part][name]:
            del values[part][name]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:6]
    model = (
        config.model.name
        if config.model.law == "default"
        else (f"{config.model.name}-{config.model.law}")
    )
    return f"{model}-{config.data.dataset}-{config.recipe}-seed{config.run.seed}-{digest}"


def validate(config: Config) -> Config:
    """`config` itself, once every number in it is in its range. Raises ConfigError."""
    d, a, m, o, r = config.data, config.augment, config.model, config.optim, config.run
    u = config.rule
    checks = [
        ("recipe", config.recipe, config.recipe in RECIPES, f"be one of {', '.join(RECIPES)}"),
        ("train_examples", d.train_examples, (d.train_examples or 1) > 0, "be positive"),
        ("holdout", d.holdout, 0 <= d.holdout < 1, "lie in [0, 1)"),
        ("pad", a.pad, a.pad >= 0, "not be negative"),
        ("cutout", a.cutout, a.cutout >= 0, "not be negative"),
        ("dropout", m.dropout, 0 <= m.dropout < 1, "lie in [0, 1)"),
        ("width", m.width, m.width > 0, "be positive"),
        ("auxiliary_weight", m.auxiliary_weight, m.auxiliary_weight >= 0, "not be negative"),
        ("epochs", o.epochs, o.epochs > 0, "be positive"),
        ("batch_size", o.batch_size, o.batch_size > 0, "be positive"),
        ("learning_rate", o.learning_rate, o.learning_rate > 0, "be positive"),
        ("warmup", o.warmup, 0 <= o.warmup < 1, "lie in [0, 1)"),
        ("momentum", o.momentum, 0 <= o.momentum < 1, "lie in [0, 1)"),
        ("weight_decay", o.weight_decay, o.weight_decay >= 0, "not be negative"),
        ("bias_scale", o.bias_scale, o.bias_scale >= 0, "not be negative"),
        ("label_smoothing", o.label_smoothing, 0 <= o.label_smoothing < 1, "lie in [0, 1)"),
        ("ema", o.ema, 0 <= o.ema < 1, "lie in [0, 1)"),
        ("gamma", u.gamma, u.gamma >= 0, "not be negative"),
        ("eta", u.eta, u.eta > 0, "be positive"),
        ("resistance_min", u.resistance_min, 0 < u.resistance_min <= 1, "lie in (0, 1]"),
        ("resistance_max", u.resistance_max, u.resistance_max >= 1, "be at least 1"),
        ("seed", r.seed, 0 <= r.seed < 2**32, "lie in [0, 2^32)"),
        ("devices", r.devices, (r.devices or 1) > 0, "be positive"),
        ("steps_per_call", r.steps_per_call, r.steps_per_call >= 0, "not be negative"),
        ("eval_batch_size", r.eval_batch_size, r.eval_batch_size > 0, "be positive"),
        ("checkpoint_minutes", r.checkpoint_minutes, r.checkpoint_minutes > 0, "be positive"),
        (
            "name",
            r.name,
            r.name is None or (r.name not in ("", ".", "..") and "/" not in r.name),
            "be a folder's name without '/'",
        ),
    ]
    for name, value, good, must in checks:
        if not good:
            raise ConfigError(f"{name} is {value!r}; it must {must}")
    if m.norm == "batch" and not o.drop_remainder:
        raise ConfigError(
            "drop_remainder is False with norm 'batch': the statistics of a short, padded batch "
            "would be wrong; choose --norm none or --drop-remainder"
        )
    return config
