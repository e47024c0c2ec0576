"""Adam with a weight decay of its own, which the moments do not see."""

from __future__ import annotations

from typing import Annotated

import optax
from pydantic import Field

from physjax.config import OptimConfig
from physjax.optimizers.optimizer import Optimizer, Parts, l2_penalty, rates

Beta1 = Annotated[float, Field(ge=0, lt=1, description="decay of the mean gradient")]
Beta2 = Annotated[float, Field(ge=0, lt=1, description="decay of the mean squared gradient")]
Epsilon = Annotated[float, Field(gt=0, le=1, description="least root mean square")]


def _parts(
    config: OptimConfig,
    schedule: optax.Schedule,
    *,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    eps: Epsilon = 1e-8,
) -> Parts:
    return [optax.scale_by_adam(beta1, beta2, eps), l2_penalty(config), *rates(config, schedule)]


ADAMW = Optimizer(
    name="adamw",
    source="Loshchilov & Hutter, arXiv:1711.05101",
    parts=_parts,
)
