"""physjax's recipes in PyTorch: optimiser, schedule and augmentation that a config asks for.

What it cannot do it refuses (:func:`check`), so that no two recipes are compared under one name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from harness.torch_layers import ACTIVATIONS, LAWS, Layer, Norm, first_convolution, whiten
from harness.torch_muon import Muon
from physjax.config import Config, ConfigError, OptimConfig, settings_of
from physjax.optimizers.muon import kernel_rate
from physjax.train.whitening import IMAGES

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the channels for normalize=imagenet."""

Able = Callable[[Any], bool]


def _any(value: Any) -> bool:
    return True


def _one_of(*values: Any) -> Able:
    return lambda value: value in values


def _nothing(value: Any) -> bool:
    """A value that switches its field off."""
    return value in (None, False, 0, "", "none", ())


_ABLE: dict[str, Able] = {
    **dict.fromkeys(("augment.pad", "augment.cutout", "augment.normalize"), _any),
    "augment.crop": _one_of("none", "pad"),
    # Of RandAugment, which it cannot do.
    "augment.randaugment_ops": _any,
    **dict.fromkeys(("augment.mirror", "augment.alternate"), _one_of(True, False)),
    # That there is such a base is for torch_models.build to say; `algorithm` is how, not what.
    **dict.fromkeys(("model.name", "model.dropout", "model.width"), _any),
    "model.algorithm": _any,
    **dict.fromkeys(("model.interaction_strength", "model.learn_strength"), _any),
    "model.size": _one_of("cifar"),
    "model.law": _one_of("default", *LAWS),
    "model.norm": _one_of("batch", "none"),
    **dict.fromkeys(("model.norm_scale", "model.norm_momentum", "model.pool_first"), _any),
    "model.activation": _one_of(*ACTIVATIONS),
    **dict.fromkeys(("model.kernel_start", "model.first_layer", "model.logit_scale"), _any),
    "optim.optimizer": _one_of("sgd", "muon"),
    "optim.accumulate": _one_of(1),
    **dict.fromkeys(("optim.epochs", "optim.batch_size", "optim.drop_remainder"), _any),
    **dict.fromkeys(("optim.learning_rate", "optim.warmup", "optim.momentum"), _any),
    **dict.fromkeys(("optim.nesterov", "optim.weight_decay", "optim.bias_scale"), _any),
    "optim.label_smoothing": _any,
    "optim.schedule": _one_of("constant", "linear", "cosine"),
    "rule.update_rule": _one_of("backprop"),
}
"""What this side can do of a field of the config; of any other one: a value that switches it off.
Fields of `data` and `run` say which images, where and how fast."""


def check(config: Config) -> None:
    """Refuse a config that this side would train otherwise than it says.

    Raises:
      ConfigError: with every field whose value it cannot do.
    """
    cannot = [
        f"{key} = {value!r}"
        for key, value in settings_of(config).items()
        if key.partition(".")[0] not in ("data", "run") and not _ABLE.get(key, _nothing)(value)
    ]
    if cannot:
        raise ConfigError(
            f"PyTorch's side of the benchmarks cannot do {', '.join(cannot)} of recipe "
            f"{config.recipe!r}; write it in benchmarks/harness/torch_recipe.py, or choose another "
            "value (--set)"
        )


def bf16_lack() -> str:
    """Why bfloat16 is not worth timing on this CPU; empty: it has instructions for it.

    PyTorch emulates them elsewhere, and a step takes a hundred times as long.
    """
    able = torch.cpu.get_capabilities()
    if able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"):
        return ""
    return "this CPU has no instructions for bfloat16 (AVX512-BF16, AMX)"


def factor(config: OptimConfig, total_steps: int) -> Callable[[int], float]:
    """Of the peak learning rate, by step: `physjax.optimizers.make_schedule` over its peak."""
    warmup = round(config.warmup * total_steps)
    decay = max(1, total_steps - warmup)

    def of(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / decay)
        if config.schedule == "linear":
            return 1 - done
        return (1 + math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else 1.0

    return of


class Optimizer:
    """The optimiser of a config, with its schedule: kernels decay, and biases have their own rate.

    Args:
      network: of `harness.torch_models`.
      config: of the optimiser.
      total_steps: of the whole training.
    """

    def __init__(self, network: nn.Module, config: OptimConfig, total_steps: int) -> None:
        layers = [module for module in network.modules() if isinstance(module, Layer)]
        biases: set[nn.Parameter] = set()
        for layer in layers:
            own = (layer.conv.bias, getattr(layer.norm, "bias", None))
            biases |= {p for p in own if isinstance(p, nn.Parameter)}
        trained = [p for p in network.parameters() if p.requires_grad]
        muon = config.optimizer == "muon"
        turned = [p for p in trained if p.ndim == 4] if muon else []
        rate, decay = config.learning_rate, config.weight_decay
        kernels = [p for p in trained if p.ndim > 1 and not (muon and p.ndim == 4)]
        others = [p for p in trained if p.ndim < 2 and p not in biases]
        groups: list[dict[str, Any]] = [
            {"params": kernels, "lr": rate, "weight_decay": decay},
            {"params": [p for p in trained if p in biases], "lr": rate * config.bias_scale},
            {"params": others, "lr": rate},
        ]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.SGD(
                groups, momentum=config.momentum, nesterov=config.nesterov and config.momentum > 0
            )
        ]
        if turned:
            # The settings that physjax's has by default.
            self._optimizers.append(
                Muon(turned, kernel_rate(config), momentum=0.6, nesterov=True, steps=3)
            )
        # A filter that a norm follows keeps its length.
        self._renewed = [
            layer.conv.weight for layer in layers if muon and isinstance(layer.norm, Norm)
        ]
        of = factor(config, total_steps)
        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimizer, of) for optimizer in self._optimizers
        ]

    def step(self, loss: torch.Tensor) -> None:
        """One step down the gradient of `loss`, and one on in the schedule."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self._optimizers:
            optimizer.step()
        with torch.no_grad():
            for kernel in self._renewed:
                if kernel.requires_grad:
                    kernel.mul_(kernel.shape[0] ** 0.5 / kernel.norm())
        for schedule in self._schedules:
            schedule.step()


def start_first_layer(
    network: nn.Module, config: Config, augmentation: Augmentation, images_NHWC: torch.Tensor
) -> None:
    """Start the layer that sees the images as the config says; a frozen one is not trained.

    Args:
      network: of `harness.torch_models`.
      config: the whole one.
      augmentation: normalises.
      images_NHWC: uint8 [N, S, S, 3], the training images.
    """
    if config.model.first_layer == "random":
        return
    convolution = first_convolution(network)
    whiten(convolution, augmentation.normalise(images_NHWC[:IMAGES]))
    convolution.weight.requires_grad_(config.model.first_layer != "frozen")


class Augmentation:
    """Padded crop, mirroring, normalisation and cutout of batches, drawn anew for each image.

    Args:
      config: the whole one.
      mean, std: of the data set's channels.
      mirror: whether a mirrored image still shows its class.
    """

    def __init__(self, config: Config, mean: Any, std: Any, mirror: bool) -> None:
        self._config = config.augment
        self._mirror = config.augment.mirror and mirror
        if config.augment.normalize == "imagenet":
            mean, std = IMAGENET
        self._scale = torch.tensor([1 / (255 * s) for s in std])
        self._offset = torch.tensor([m / s for m, s in zip(mean, std, strict=True)])

    def normalise(self, images_NHWC: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] -> float32 [N, 3, H, W], channels_last."""
        # A permuted view of NHWC memory is channels_last.
        return images_NHWC.float().mul_(self._scale).sub_(self._offset).permute(0, 3, 1, 2)

    def __call__(
        self, images_NHWC: torch.Tensor, mirrored: torch.Tensor | None = None
    ) -> torch.Tensor:
        """A training batch: float32 [N, 3, S, S], channels_last.

        Args:
          images_NHWC: uint8 [N, S, S, 3].
          mirrored: bool [N], which images are mirrored; None: a toss for each, where the config
            says so.
        """
        result = self.normalise(self._moved(images_NHWC, mirrored))
        return self._cut(result) if self._config.cutout else result

    def _moved(self, images: torch.Tensor, mirrored: torch.Tensor | None) -> torch.Tensor:
        count, size = images.shape[:2]
        rows = columns = torch.arange(size).expand(count, size)
        if self._mirror:
            turned = torch.rand(count) < 0.5 if mirrored is None else mirrored
            columns = torch.where(turned[:, None], size - 1 - columns, columns)
        if self._config.crop == "pad":
            pad = self._config.pad
            corner = torch.randint(-pad, pad + 1, (2, count, 1))
            # Reflected, the border not repeated.
            rows, columns = (
                size - 1 - (size - 1 - (line + start).abs()).abs()
                for line, start in zip((rows, columns), corner, strict=True)
            )
        if rows is columns:
            return images
        batch = torch.arange(count)[:, None, None]
        return images[batch, rows[:, :, None], columns[:, None, :]]

    def _cut(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        count, size, side = len(images_NCHW), images_NCHW.shape[-1], self._config.cutout
        start = torch.randint(0, size, (2, count, 1)) - side // 2
        rows, columns = ((x >= 0) & (x < side) for x in torch.arange(size) - start)
        return images_NCHW.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
