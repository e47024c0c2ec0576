"""All that changes while a network trains, and what it starts from."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from physjax.data.lazy import Images
from physjax.models import init_variables
from physjax.train.setup import TrainSetup, stream_key
from physjax.train.sharding import is_parted, layout, place_state
from physjax.train.weights.names import Arrays, replaced
from physjax.train.whitening import whiten_first_layer

NEVER = np.iinfo(np.int32).max
"""No step: where every loss so far was finite."""


class Metrics(struct.PyTreeNode):
    """Sums over examples, which merge by addition: never a mean of means."""

    loss_sum: jax.Array
    correct: jax.Array
    count: jax.Array
    first_nonfinite_step: jax.Array
    """The first step whose loss was not finite; NEVER where there was none."""

    @classmethod
    def zero(cls) -> Metrics:
        """Nothing counted yet."""
        return cls(
            jnp.zeros((), jnp.float32),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), jnp.int32),
            jnp.full((), NEVER, jnp.int32),
        )

    def merge(self, other: Metrics) -> Metrics:
        """The sums over both."""
        return Metrics(
            self.loss_sum + other.loss_sum,
            self.correct + other.correct,
            self.count + other.count,
            jnp.minimum(self.first_nonfinite_step, other.first_nonfinite_step),
        )

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing."""
        return float(self.loss_sum) / max(1, int(self.count))

    @property
    def accuracy(self) -> float:
        """Fraction of examples whose largest logit is that of their label."""
        return int(self.correct) / max(1, int(self.count))


class TrainState(struct.PyTreeNode):
    """All that changes while training; a checkpoint is this and nothing else."""

    step: jax.Array
    seed: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    """Moving average of params; an empty dict where there is none."""
    metrics: Metrics
    """Training metrics since the epoch began."""

    @property
    def variables(self) -> dict[str, Any]:
        """The variables to evaluate with: averaged parameters where they are kept."""
        return as_variables(self.ema or self.params, self.batch_stats)


def as_variables(params: Any, batch_stats: Any) -> dict[str, Any]:
    """What a network is applied to; `batch_stats` is empty where it has no norm."""
    return {"params": params, "batch_stats": batch_stats} if batch_stats else {"params": params}


def init_state(
    setup: TrainSetup, images: Images | None = None, given: Arrays | None = None
) -> TrainState:
    """The state before the first step, a pure function of the config, the images and the weights.

    Args:
      setup: of the run.
      images: uint8 [N, H, W, 3], the training images, for a first layer that starts with what they
        say; None where structure and shapes are all that is asked for.
      given: weights that replace initial ones, by their names (`physjax.train.weights`).
    """
    seed = setup.config.run.seed
    model = dataclasses.replace(setup, shards=1).model()
    variables = init_variables(model, stream_key(seed, "init", 0), setup.image_size)
    if given is not None:
        variables = replaced(variables, given)
    params = variables["params"]
    if given is None and setup.config.model.first_layer != "random" and images is not None:
        params = whiten_first_layer(setup, params, images)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=setup.optimizer().init(params),
        ema=jax.tree.map(jnp.copy, params) if setup.config.optim.ema else {},
        metrics=Metrics.zero(),
    )


def start_state(
    setup: TrainSetup, images: Images | None, given: Arrays | None = None
) -> TrainState:
    """:func:`init_state` on the setup's devices, as `--sharding` has it there.

    Where each device has a part of it, none ever holds the whole; but given weights, and a first
    layer that starts with the images whitened, are begun on one.
    """
    if not is_parted(setup) or setup.config.model.first_layer != "random" or given is not None:
        return place_state(setup, init_state(setup, images, given))
    make = partial(init_state, setup)
    return jax.jit(make, out_shardings=layout(setup, jax.eval_shape(make)))()
