"""The learning rate by step."""

from __future__ import annotations

import optax

from physjax.config import OptimConfig


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
