"""What an optimiser is: it turns gradients into steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optax

from physjax.config import Keyword, OptimConfig, bind, checked, keywords
from physjax.optimizers.masks import convolution_bias_mask, kernel_mask

Parts = list[optax.GradientTransformation]


@dataclass(frozen=True)
class Optimizer:
    """An optimiser: gradients of the mean loss -> steps of the parameters.

    `parts(config, schedule)` returns transformations that act one after the other, the last of them
    :func:`rates` or what does its work. The fields of `OptimConfig` that an optimiser reads are the
    same for all; keyword-only arguments of `parts` are its own settings: `--optimizer.NAME` and
    `optimizer.NAME` in a config choose their values, within the limits of the annotation.
    """

    name: str
    source: str
    """Where it comes from."""
    parts: Callable[..., Parts]
    """(config, schedule) -> the transformations, in order."""

    @property
    def settings(self) -> dict[str, Keyword]:
        """What the optimiser lets one choose, by name: the keyword-only arguments of `parts`."""
        return keywords(self.parts)

    def configured(self, values: Mapping[str, Any]) -> Optimizer:
        """The optimiser with these values of its settings.

        Raises:
          ConfigError: it has no such setting, or a value cannot be; named as `optimizer.eps`.
        """
        own = checked(self.settings, values, "optimizer", f"optimiser {self.name!r}")
        return replace(self, parts=bind(self.parts, own))

    def transformation(
        self, config: OptimConfig, schedule: optax.Schedule, *after: optax.GradientTransformation
    ) -> optax.GradientTransformation:
        """The optimiser as Optax has them; `after` acts on its steps."""
        return optax.chain(*self.parts(config, schedule), *after)


def l2_penalty(config: OptimConfig) -> optax.GradientTransformation:
    """Adds weight_decay times the value to the gradient of each kernel, or what stands for it."""
    if not config.weight_decay:
        return optax.identity()
    return optax.add_decayed_weights(config.weight_decay, mask=kernel_mask)


def momentum(config: OptimConfig) -> optax.GradientTransformation:
    """The moving sum of the gradients, with Nesterov's look ahead where it is asked for."""
    if not config.momentum:
        return optax.identity()
    return optax.trace(config.momentum, nesterov=config.nesterov)


def rates(config: OptimConfig, schedule: optax.Schedule) -> Parts:
    """The last two parts: the factor on the convolutions' biases, and the learning rate."""
    return [
        optax.masked(optax.scale(config.bias_scale), convolution_bias_mask)
        if config.bias_scale != 1
        else optax.identity(),
        optax.scale_by_learning_rate(schedule),
    ]
