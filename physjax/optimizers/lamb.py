"""LAMB: Adam's step, of each parameter made as long as a fraction of the parameter itself."""

from __future__ import annotations

import optax

from physjax.config import OptimConfig
from physjax.optimizers.adamw import Beta1, Beta2, Epsilon
from physjax.optimizers.optimizer import Optimizer, Parts, l2_penalty, rates


def _parts(
    config: OptimConfig,
    schedule: optax.Schedule,
    *,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    eps: Epsilon = 1e-6,
) -> Parts:
    return [
        optax.scale_by_adam(beta1, beta2, eps),
        l2_penalty(config),
        optax.scale_by_trust_ratio(),
        *rates(config, schedule),
    ]


LAMB = Optimizer(
    name="lamb",
    source="You et al., arXiv:1904.00962",
    parts=_parts,
)
