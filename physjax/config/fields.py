"""The parts of a config: what each field may hold, what it is for, and its default.

The defaults are those of the recipe `standard`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from immutabledict import immutabledict
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import ArgsKwargs

from physjax import schema
from physjax.config.names import (
    DatasetName,
    PathText,
    SettingName,
    SettingValue,
    Word,
)
from physjax.config.traits import BY_FLAG, PLACE, ConfigError, Count, Factor, Fraction, Trait


@schema.strict(ConfigError, "data")
class DataConfig:
    """Which images, and from where."""

    dataset: Annotated[DatasetName, Trait(not_in_study="it is an axis of the grid: datasets")] = (
        "auto"
    )
    """A name in `physjax.data.DATASETS`, that of an image data set in the TFDS folder (`name`,
    `name/config`, either with `/version`), or `auto`: CIFAR-10 where it can be had, else digits."""
    data_dir: Annotated[
        PathText | None, Trait(incidental=True, not_in_study=BY_FLAG.format("--data-dir"))
    ] = None
    """TFDS folder; of the data set `folder` the folder of images, of `npz` the file. None:
    $TFDS_DATA_DIR, else TFDS's default (~/tensorflow_datasets)."""
    cache_dir: Annotated[
        PathText | None,
        Trait(incidental=True, not_in_study="it belongs to a machine: set $PHYSJAX_CACHE"),
    ] = None
    """Folder of the decoded-image cache. None: $PHYSJAX_CACHE, else ~/.cache/physjax."""
    image_size: Annotated[int, Field(ge=32, le=1024)] | None = None
    """Side in pixels that images of one's own are resized to. None: what the network sees."""
    train_examples: Count | None = None
    """Use only this many training images, equally many of each class. None: all."""
    test_examples: Count | None = None
    """Evaluate on only this many test images, equally many of each class. None: all."""
    holdout: Fraction = 0.0
    """Fraction of the training images put aside, stratified, as validation set."""
    mode: Annotated[Literal["auto", "device", "stream"], PLACE] = "auto"
    """Where the images are: `device`: all of them lie there; `stream`: they are read in batches,
    ahead of time; auto: on the device where they take up to 2 GiB."""
    workers: Annotated[Annotated[int, Field(ge=0, le=1024)], PLACE] = 0
    """Processes that read and decode images where they are streamed; 0: threads of this one."""


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
    alternate: Annotated[bool, Trait(option_of="augment.mirror", needs=(True,))] = False
    """Mirror an image in every other epoch, a random half of them in the even ones, in place of a
    new toss every time (Jordan, arXiv:2404.00498)."""
    randaugment: Annotated[int, Field(ge=0, le=30)] = 0
    """Magnitude of RandAugment's operations, 1 to 30; 0: none of them (Cubuk et al.,
    arXiv:1909.13719; operations and their ranges as in torchvision)."""
    randaugment_ops: Annotated[
        Annotated[int, Field(ge=1, le=14)],
        Trait(option_of="augment.randaugment", needs=tuple(range(1, 31))),
    ] = 2
    """How many of its 14 operations RandAugment applies to an image, one after the other."""
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Mix images and labels of two examples in shares from Beta(alpha, alpha), of this alpha; 0:
    no mixup (Zhang et al., arXiv:1710.09412)."""
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Put a box of one example's image into another's, its area from Beta(alpha, alpha), of this
    alpha; 0: no CutMix (Yun et al., arXiv:1905.04899). With mixup on too, a batch takes either."""
    normalize: Literal["dataset", "imagenet"] = "dataset"
    """Whose channel mean and standard deviation the images are normalised by."""


@schema.strict(ConfigError, "model")
class ModelConfig:
    """Which network, built of which layer."""

    name: Annotated[Word, Trait(not_in_study="it is an axis of the grid: models")] = "physics"
    """A name in `physjax.models.MODELS`."""
    size: Literal["cifar", "imagenet"] = "cifar"
    """`cifar`: for 32x32 images; `imagenet`: the original network, most often for 224x224."""
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
    norm_scale: Annotated[bool, Trait(option_of="model.norm", needs=("batch",))] = True
    """Learn a factor on each normalised channel, beside the offset."""
    norm_momentum: Annotated[Fraction, Trait(option_of="model.norm", needs=("batch",))] = 0.9
    """Decay per step of the running mean and variance, which evaluation normalises by."""
    activation: Literal["relu", "gelu", "celu"] = "relu"
    """The nonlinearity of all layers (GELU: Hendrycks & Gimpel, arXiv:1606.08415, by tanh; CELU:
    Barron, arXiv:1704.07483)."""
    pool_first: bool = False
    """Pool right after the convolution, before norm, force and nonlinearity."""
    kernel_start: Literal["random", "dirac", "uniform"] = "random"
    """Of convolutions: `random` (He; PyTorch's in the paper's network), or `dirac`: the first
    outputs pass the inputs on, the rest is random (Jordan, arXiv:2404.00498). `uniform`: all
    kernels and biases in +-1/sqrt(fan-in), as PyTorch starts them."""
    first_layer: Literal["random", "whitened", "frozen"] = "random"
    """Start of the first convolution; `whitened`: the eigenvectors of the training images' patches,
    each with both signs, divided by the root of the eigenvalue; `frozen`: that, and no training of
    it (Page, How to Train Your ResNet 8; Jordan, arXiv:2404.00498)."""
    logit_scale: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    """Factor on the logits: a small one starts the training calmly (Jordan, arXiv:2404.00498)."""
    dropout: Fraction = 0.2
    """Probability of dropping a unit before a dense layer of the head."""
    width: Annotated[float, Field(gt=0, le=64)] = 1.0
    """Factor on the number of channels of every layer."""
    start_from: PathText | None = None
    """Weights that replace the initial ones (docs/export.md): a file of `physjax export --to
    safetensors`, the folder of a run that has ended, or weights of torchvision's AlexNet. Classes
    of another number get a new last layer. None: random ones."""
    algorithm: Literal["auto", "direct", "patch", "winograd2", "winograd4"] = "auto"
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
    accumulate: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Take a batch in this many parts, one after the other, and step by the sum of their gradients:
    for batches that do not fit. A batch norm normalises each part by itself."""
    learning_rate: Annotated[float, Field(gt=0, le=1e20)] = 0.1
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Decay to zero after the warm-up; `constant`: no decay."""
    warmup: Fraction = 0.2
    """Fraction of all steps in which the learning rate rises linearly from 0."""
    optimizer: Word = "sgd"
    """A name in `physjax.optimizers.OPTIMIZERS`."""
    momentum: Annotated[Fraction, Trait(option_of="optim.optimizer", needs=("sgd", "muon"))] = 0.9
    """Decay per step of the gradients' moving sum."""
    nesterov: Annotated[bool, Trait(option_of="optim.optimizer", needs=("sgd", "muon"))] = True
    """Look ahead by the momentum (Nesterov)."""
    weight_decay: Factor = 5e-4
    """Decay of kernels alone: never of biases, norms, forces or strengths. An L2 penalty with sgd,
    decoupled from the moments with adamw and lamb; with muon of dense kernels alone, by sgd."""
    bias_scale: Factor = 1.0
    """Factor on the learning rate of biases: the control arm that the force is compared with."""
    label_smoothing: Fraction = 0.1
    """Share of the target that is spread evenly over all classes."""
    ema: Fraction = 0.0
    """Decay per step of the parameters' moving average, used for evaluation; 0: none."""
    drop_remainder: bool = True
    """Drop the last, short batch of an epoch; False trains on it too (without a norm only)."""


def _frozen(own: Mapping[str, Any]) -> Mapping[str, Any]:
    return immutabledict(own)


Own = Annotated[Mapping[SettingName, SettingValue], AfterValidator(_frozen)]
"""Settings that a law, rule or optimiser has of its own, by name, unlike their defaults. What there
is, and what it may hold, it says itself."""


class _Open:
    """A part of the config in which the settings `own` stand beside its fields."""

    own: Own

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        given = values.kwargs if isinstance(values, ArgsKwargs) else values
        if not isinstance(given, Mapping):
            return values
        fields = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        own = {name: value for name, value in given.items() if name not in fields}
        kept = {name: value for name, value in given.items() if name in fields}
        if own:
            kept[schema.OWN] = {**kept.get(schema.OWN, {}), **own}
        return ArgsKwargs(values.args, kept) if isinstance(values, ArgsKwargs) else kept


@schema.strict(ConfigError, "law")
class LawConfig(_Open):
    """Settings of the chosen force law (`ForceLaw.settings`)."""

    own: Own = field(default_factory=immutabledict)


@schema.strict(ConfigError, "optimizer")
class OptimizerConfig(_Open):
    """Settings of the chosen optimiser (`physjax.optimizers`)."""

    own: Own = field(default_factory=immutabledict)


@schema.strict(ConfigError, "rule")
class RuleConfig(_Open):
    """How the network learns (`physjax.rules`), and settings of the chosen rule."""

    update_rule: Word = "backprop"
    """A name in `physjax.rules.RULES`; `coupled`: resistances between the channels learn by the
    paper's Eq. (1)."""
    own: Own = field(default_factory=immutabledict)


OPEN = {"law": "model.law", "rule": "rule.update_rule", "optimizer": "optim.optimizer"}
"""The parts of the config with settings of their own, and the choice that decides which."""
