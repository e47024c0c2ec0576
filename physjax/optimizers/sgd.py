"""Stochastic gradient descent with momentum.

    g := dL/dw + weight_decay w (kernels alone),  m := momentum m + g,  w := w - rate m

or w - rate (g + momentum m) with Nesterov's look ahead, as PyTorch has it.
"""

from __future__ import annotations

import optax

from physjax.config import OptimConfig
from physjax.optimizers.optimizer import Optimizer, Parts, l2_penalty, momentum, rates


def _parts(config: OptimConfig, schedule: optax.Schedule) -> Parts:
    return [l2_penalty(config), momentum(config), *rates(config, schedule)]


SGD = Optimizer(
    name="sgd",
    source="Sutskever, Martens, Dahl & Hinton, ICML 2013",
    parts=_parts,
)
