"""What a step needs and does not change: the setup, and the streams of its random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from physjax.config import Config, ConfigError
from physjax.data import DatasetInfo, mixing
from physjax.forces import ForceLaw
from physjax.models import Classifier, build, first_layer, image_size
from physjax.nn.connection import PLAIN, Connection
from physjax.optimizers import make_schedule, path_mask
from physjax.rules import LearningRule
from physjax.train.accumulate import adds_up
from physjax.train.choices import chosen_law, chosen_optimizer, chosen_rule

AXIS = "batch"
Stream = Literal["init", "shuffle", "augment", "dropout", "mirror", "rule", "mix"]
_STREAMS: tuple[Stream, ...] = ("init", "shuffle", "augment", "dropout", "mirror", "rule", "mix")


def stream_key(seed: jax.Array | int, stream: Stream, count: jax.Array | int) -> jax.Array:
    """fold_in(key(seed), stream, count): the key of a stream at a step or epoch."""
    key = jax.random.fold_in(jax.random.key(seed), _STREAMS.index(stream))
    return jax.random.fold_in(key, count)


def shuffle_indices(seed: jax.Array | int, epoch: jax.Array | int, size: int) -> jax.Array:
    """int32 [size]: the order in which an epoch visits the training images."""
    return jax.random.permutation(stream_key(seed, "shuffle", epoch), size)


def _divisor(batch: int, most: int) -> int:
    """The largest number of devices, at most `most`, that a batch divides over."""
    return next(count for count in range(most, 0, -1) if batch % count == 0)


@dataclass(frozen=True)
class TrainSetup:
    """What a step needs and does not change: the config, the data's facts, and the devices."""

    config: Config
    info: DatasetInfo
    train_size: int
    shards: int = 1
    """Devices that a batch is spread over, of all hosts."""

    def __post_init__(self) -> None:
        batch, n = self.config.optim.batch_size, self.train_size
        if batch % self.shards:
            raise ConfigError(
                f"a batch of {batch} does not divide over {self.shards} devices; choose --devices "
                f"{_divisor(batch, self.shards)} (on several hosts, fewer of them), which makes "
                f"the same run, or --batch-size {batch // self.shards * self.shards or self.shards}"
            )
        parts = self.config.optim.accumulate
        if batch % (self.shards * parts):
            raise ConfigError(
                f"a batch of {batch} does not divide over {self.shards} devices in {parts} parts "
                "each; choose fewer --devices, or another --batch-size or --accumulate"
            )
        if mixing.mixes(self.config.augment) and batch % (pairs := 2 * self.shards * parts):
            fewer = (
                ""
                if batch % (2 * parts)
                else f"--devices {_divisor(batch // (2 * parts), self.shards)}, which makes the "
                "same run, or "
            )
            raise ConfigError(
                f"mixup and cutmix mix images by pairs, but of a batch of {batch} a device takes "
                f"{batch // (self.shards * parts)} images at a time (devices: {self.shards}, "
                f"parts: {parts}); choose {fewer}--batch-size {batch // pairs * pairs or pairs}"
            )
        if parts > 1 and not adds_up(self.rule):
            raise ConfigError(
                f"accumulate is {parts}, but learning rule {self.rule.name!r} needs a whole "
                "batch at once; leave it out"
            )
        if batch > n and self.config.optim.drop_remainder:
            raise ConfigError(
                f"batch_size is {batch}, but there are only {n} training images; give a "
                f"--batch-size of at most {n}"
            )

    @property
    def rule(self) -> LearningRule:
        """How the network learns. Raises ConfigError where there is no such rule."""
        return chosen_rule(self.config)

    @property
    def law(self) -> ForceLaw:
        """The force between the channels. Raises ConfigError where there is no such law."""
        return chosen_law(self.config)

    @property
    def programs(self) -> int:
        """Parts of a batch that are computed by a program each: under pmap one for each device."""
        return self.shards if self.config.run.sharding == "pmap" else 1

    @property
    def axis_name(self) -> str | None:
        """The mapped axis, over which programs sum; None where one program computes everything."""
        return AXIS if self.programs > 1 else None

    def in_device_order(self, examples: Any) -> Any:
        """[..., batch] as a batch lies on the devices: what the first one takes comes first.

        Of a batch that is taken in parts that is a share of each, one after the other. So a part is
        the same examples for any number of devices. `examples` is NumPy's or JAX's.
        """
        parts = examples.reshape(
            *examples.shape[:-1], self.config.optim.accumulate, self.shards, -1
        )
        return parts.swapaxes(-3, -2).reshape(examples.shape)

    @property
    def image_size(self) -> int:
        return image_size(self.config.model)

    @property
    def steps_per_epoch(self) -> int:
        whole, rest = divmod(self.train_size, self.config.optim.batch_size)
        return whole + (rest > 0 and not self.config.optim.drop_remainder)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.optim.epochs

    def model(self, folded: bool = False, connection: Connection | None = None) -> Classifier:
        """The network; `folded`: its plain twin, for the variables that `physjax.nn.fold` gives.

        `connection` takes the place of the learning rule's.
        """
        dtype = jnp.bfloat16 if self.config.run.precision == "bf16" else jnp.float32
        return build(
            self.config.model,
            self.info.num_classes,
            dtype=dtype,
            axis_name=self.axis_name,
            law="none" if folded else self.law,
            connection=PLAIN if folded else connection or self.rule.connection,
            remat=self.config.run.remat,
        )

    @property
    def schedule(self) -> optax.Schedule:
        """The learning rate by step."""
        return make_schedule(self.config.optim, self.total_steps)

    def optimizer(self) -> optax.GradientTransformation:
        """What makes steps of gradients. Raises ConfigError where there is no such optimiser."""
        after = []
        if self.config.model.first_layer == "frozen":
            frozen = (*first_layer(self.model(), self.image_size), "kernel")
            after.append(optax.masked(optax.set_to_zero(), partial(path_mask, path=frozen)))
        chosen = chosen_optimizer(self.config)
        return chosen.transformation(self.config.optim, self.schedule, *after)
