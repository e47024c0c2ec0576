"""The learning-rate schedule and the optimiser: stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from physjax.config import OptimConfig

Tree = Any


def make_schedule(config: OptimConfig, total_steps: int) -> optax.Schedule:
    """Learning rate by step: a linear warm-up from 0, then constant, linear or cosine to 0."""
    peak = config.learning_rate
    warmup_steps = round(config.warmup * total_steps)
    decay_steps = max(1, total_steps - warmup_steps)
    after = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, 0.0, decay_steps),
        "cosine": optax.cosine_decay_schedule(peak, decay_steps),
    }[config.schedule]
    if warmup_steps == 0:
        return after
    # The first step already moves: step 0 has the rate 1/warmup of the peak, not zero.
    rise = optax.linear_schedule(peak / warmup_steps, peak, warmup_steps - 1)
    return optax.join_schedules([rise, after], [warmup_steps])


def kernel_mask(params: Tree) -> Tree:
    """True at each `kernel`, the only parameters that decay; same structure as `params`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def convolution_bias_mask(params: Mapping[str, Any]) -> dict[str, Any]:
    """True at the bias of each convolution, or at that of the norm which stands in for it.

    These are the parameters that a constant force adds to, and therefore the ones whose learning
    rate the control arm scales. Dense layers have no force and stay as they are.
    """

    def walk(node: Mapping[str, Any], inside: bool) -> dict[str, Any]:
        inside = inside or getattr(node.get("kernel"), "ndim", 0) == 4
        return {
            name: walk(value, inside and name == "norm")
            if isinstance(value, Mapping)
            else inside and name == "bias"
            for name, value in node.items()
        }

    return walk(params, False)


def make_optimizer(config: OptimConfig, total_steps: int) -> optax.GradientTransformation:
    """SGD: gradient + L2 on kernels -> momentum -> bias scale -> learning rate."""
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=kernel_mask)
        if config.weight_decay
        else optax.identity(),
        optax.trace(config.momentum, nesterov=config.nesterov)
        if config.momentum
        else optax.identity(),
        optax.masked(optax.scale(config.bias_scale), convolution_bias_mask)
        if config.bias_scale != 1
        else optax.identity(),
        optax.scale_by_learning_rate(make_schedule(config, total_steps)),
    )
