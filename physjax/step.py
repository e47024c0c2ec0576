"""Train and eval steps: pure functions of (state, data), and the one wrapper that maps them.

A batch, its augmentation and its dropout follow from (seed, step) alone, so that a run can stop
at any step and go on, on another number of devices too (only dropout masks depend on that).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from physjax.channels import (
    NUDGES,
    VOLTAGES,
    squared_drop_changes,
    update_resistances,
    zero_nudges,
)
from physjax.config import Config, ConfigError
from physjax.data import DatasetInfo, augment
from physjax.models import Classifier, build, image_size, init_variables
from physjax.optim import make_optimizer

T = TypeVar("T")
AXIS = "batch"
Stream = Literal["init", "shuffle", "augment", "dropout"]
_STREAMS: tuple[Stream, ...] = ("init", "shuffle", "augment", "dropout")


def stream_key(seed: jax.Array | int, stream: Stream, count: jax.Array | int) -> jax.Array:
    """fold_in(key(seed), stream, count): the key of a stream at a step or epoch."""
    key = jax.random.fold_in(jax.random.key(seed), _STREAMS.index(stream))
    return jax.random.fold_in(key, count)


class Metrics(struct.PyTreeNode):
    """Sums over examples, which merge by addition: never a mean of means."""

    loss_sum: jax.Array
    correct: jax.Array
    count: jax.Array
    bad_step: jax.Array
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
            jnp.minimum(self.bad_step, other.bad_step),
        )

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing."""
        return float(self.loss_sum) / max(1, int(self.count))

    @property
    def accuracy(self) -> float:
        """Fraction of examples whose largest logit is that of their label."""
        return int(self.correct) / max(1, int(self.count))


NEVER = np.iinfo(np.int32).max


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
        return _variables(self.ema or self.params, self.batch_stats)


def _variables(params: Any, batch_stats: Any) -> dict[str, Any]:
    return {"params": params, "batch_stats": batch_stats} if batch_stats else {"params": params}


@dataclass(frozen=True)
class Task:
    """What a step needs and does not change: the config, the data's facts, and the axis, if any."""

    config: Config
    info: DatasetInfo
    train_size: int
    shards: int = 1

    def __post_init__(self) -> None:
        batch, n = self.config.optim.batch_size, self.train_size
        if batch % self.shards:
            raise ConfigError(
                f"a batch of {batch} does not divide over {self.shards} devices; choose "
                f"--batch-size {batch // self.shards * self.shards or self.shards} or --devices"
            )
        if batch > n and self.config.optim.drop_remainder:
            raise ConfigError(f"batch_size is {batch}, but there are only {n} training images")

    @property
    def couples(self) -> bool:
        """Whether resistances between the channels learn by Eq. (1)."""
        return self.config.rule.update_rule == "coupled"

    @property
    def axis_name(self) -> str | None:
        return AXIS if self.shards > 1 else None

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

    def model(self, folded: bool = False) -> Classifier:
        """The network; `folded`: its plain twin, for the variables that `physjax.fold` gives."""
        dtype = jnp.bfloat16 if self.config.run.precision == "bf16" else jnp.float32
        return build(
            self.config.model,
            self.info.num_classes,
            dtype=dtype,
            axis_name=self.axis_name,
            law="none" if folded else None,
            coupling="coupled" if self.couples and not folded else "none",
        )

    def optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.config.optim, self.total_steps)


def init_state(task: Task) -> TrainState:
    """The state before the first step, a pure function of the config."""
    seed = task.config.run.seed
    model = dataclasses.replace(task, shards=1).model()
    variables = init_variables(model, stream_key(seed, "init", 0), task.image_size)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=task.optimizer().init(params),
        ema=jax.tree.map(jnp.copy, params) if task.config.optim.ema else {},
        metrics=Metrics.zero(),
    )


def epoch_order(seed: jax.Array | int, epoch: jax.Array | int, size: int) -> jax.Array:
    """int32 [size]: the order in which an epoch visits the training images."""
    return jax.random.permutation(stream_key(seed, "shuffle", epoch), size)


def _cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def _sum_over_shards(task: Task, tree: Any) -> Any:
    return tree if task.axis_name is None else lax.psum(tree, task.axis_name)


def train_step(
    task: Task,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    order: jax.Array,
    shard: jax.Array | int = 0,
) -> TrainState:
    """One step of gradient descent on the batch that state.step names.

    `images` uint8 [N, H, W, 3] and `labels` int32 [N] are the whole training set, `order` int32
    [N] that of the epoch. Of `task.shards` equal parts of the batch this computes part `shard`;
    gradients and metrics are summed over the mapped axis, so every shard returns the same state.
    """
    config, info = task.config, task.info
    batch = config.optim.batch_size
    part = batch // task.shards
    start = (state.step % task.steps_per_epoch) * batch
    positions = start + shard * part + jnp.arange(part)
    mask = positions < task.train_size
    count = jnp.minimum(batch, task.train_size - start)
    chosen = order[jnp.minimum(positions, task.train_size - 1)]
    targets = labels[chosen]

    with jax.named_scope("augment"):
        # Every device draws for the whole batch and keeps its part: the same for any device count.
        draws = augment.draw(
            stream_key(state.seed, "augment", state.step),
            batch,
            config.augment,
            image_size=images.shape[1],
            out_size=task.image_size,
            mirror=info.mirror,
        )
        draws = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, shard * part, part), draws)
        inputs = augment.apply(
            draws, images[chosen], config.augment, task.image_size, info.mean, info.std
        )
    dropout = jax.random.fold_in(stream_key(state.seed, "dropout", state.step), shard)
    model = task.model()

    def objective(params: Any, nudges: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        logits, changed = model.apply(
            {**_variables(params, state.batch_stats), **nudges},
            inputs,
            train=True,
            mutable=["batch_stats", VOLTAGES],
            rngs={"dropout": dropout},
        )
        losses = _cross_entropy(logits, targets, config.optim.label_smoothing)
        total = jnp.sum(jnp.where(mask, losses, 0.0)) / count
        return total, (logits, changed)

    nudges: dict[str, Any] = {}
    if task.couples:
        shapes = jax.eval_shape(lambda: objective(state.params, {})[1][1][VOLTAGES])
        nudges = {NUDGES: zero_nudges(shapes)}
    (grads, pulls), (logits, changed) = jax.grad(objective, argnums=(0, 1), has_aux=True)(
        state.params, nudges
    )
    losses = jnp.where(mask, _cross_entropy(logits, targets), 0.0)
    hits = mask & (jnp.argmax(logits, -1) == targets)
    grads, loss_sum, correct = _sum_over_shards(task, (grads, jnp.sum(losses), jnp.sum(hits)))
    with jax.named_scope("optimizer"):
        updates, opt_state = task.optimizer().update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
    if task.couples:
        # The gradient of the mean loss, times the count: of each example's own loss.
        own = jax.tree.map(lambda g: g * count, pulls[NUDGES])
        drops = squared_drop_changes(changed[VOLTAGES], own, config.rule.eta)
        drops = jax.tree.map(lambda d: d / count, _sum_over_shards(task, drops))
        bounds = (config.rule.resistance_min, config.rule.resistance_max)
        params = update_resistances(params, drops, config.rule.gamma, bounds)
    bad_step = jnp.where(jnp.isfinite(loss_sum), NEVER, state.step).astype(jnp.int32)
    return TrainState(
        step=state.step + 1,
        seed=state.seed,
        params=params,
        batch_stats=changed.get("batch_stats", {}),
        opt_state=opt_state,
        ema=optax.incremental_update(params, state.ema, 1 - config.optim.ema)
        if config.optim.ema
        else {},
        metrics=state.metrics.merge(
            Metrics(loss_sum, correct.astype(jnp.int32), count.astype(jnp.int32), bad_step)
        ),
    )


class Evaluation(struct.PyTreeNode):
    """Sums over evaluated examples."""

    metrics: Metrics
    confusion: jax.Array
    """int32 [K, K]: how many examples of class i (row) were taken for class j (column)."""
    diagnostics: Any
    """RMS force by layer, on the first batch."""

    def merge(self, other: Evaluation) -> Evaluation:
        """The sums over both; the diagnostics of the first."""
        return Evaluation(
            self.metrics.merge(other.metrics), self.confusion + other.confusion, self.diagnostics
        )


def eval_step(
    task: Task,
    variables: Any,
    images: jax.Array,
    labels: jax.Array,
    start: jax.Array,
    shard: jax.Array | int = 0,
) -> Evaluation:
    """Evaluate images[start : start + eval_batch_size]; what lies past the end is masked.

    Each example counts once, whatever the batch size. `shard` as in :func:`train_step`.
    """
    size, info = images.shape[0], task.info
    part = -(-task.config.run.eval_batch_size // task.shards)
    positions = start + shard * part + jnp.arange(part)
    mask = positions < size
    chosen = jnp.minimum(positions, size - 1)
    inputs = augment.preprocess(
        images[chosen], task.image_size, info.mean, info.std, task.config.augment
    )
    logits, sown = task.model().apply(variables, inputs, train=False, mutable=["diagnostics"])
    targets, guesses = labels[chosen], jnp.argmax(logits, -1)
    losses = jnp.where(mask, _cross_entropy(logits, targets), 0.0)
    truth = jax.nn.one_hot(targets, info.num_classes) * mask[:, None]
    guess = jax.nn.one_hot(guesses, info.num_classes)
    sums = _sum_over_shards(
        task,
        (
            jnp.sum(losses),
            jnp.sum(mask & (guesses == targets)),
            jnp.sum(mask),
            truth.T @ guess,
            jax.tree.map(jnp.square, sown.get("diagnostics", {})),
        ),
    )
    loss_sum, correct, count, confusion, squares = sums
    return Evaluation(
        Metrics(
            loss_sum,
            correct.astype(jnp.int32),
            count.astype(jnp.int32),
            jnp.asarray(NEVER, jnp.int32),
        ),
        confusion.astype(jnp.int32),
        jax.tree.map(lambda s: jnp.sqrt(s / task.shards), squares),
    )


def evaluation_starts(task: Task, size: int) -> range:
    """The `start` of each evaluation batch over `size` examples."""
    return range(0, size, -(-task.config.run.eval_batch_size // task.shards) * task.shards)


def place(task: Task, tree: T) -> T:
    """`tree` on the task's devices, whole on each: what compiled steps take and return."""
    if task.axis_name is None:
        return jax.device_put(tree, jax.local_devices()[0])
    devices = jax.devices() if jax.process_count() > 1 else jax.local_devices()[: task.shards]
    everywhere = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())
    return jax.device_put(tree, everywhere)


def compile_step(
    task: Task, step: Callable[..., Any], *examples: Any, repeat: int = 1, donate: bool = False
) -> Callable[..., Any]:
    """`step` compiled for arguments like `examples`, on task.shards devices, over all hosts.

    With one shard this is jax.jit, with more jax.pmap, of the same function. Arguments and results
    are whole, unmapped arrays; only the shard's number is mapped. `repeat` scans over as many
    steps in one call, and `donate` gives the first argument's buffers to the result.
    """

    def run(shard: jax.Array | int, first: Any, *rest: Any) -> Any:
        if repeat == 1:
            return step(task, first, *rest, shard=shard)
        return lax.scan(
            lambda carry, _: (step(task, carry, *rest, shard=shard), None), first, length=repeat
        )[0]

    if task.axis_name is None:
        one = jax.jit(lambda *a: run(0, *a), donate_argnums=(0,) if donate else ())
        return one.lower(*examples).compile()
    hosts = jax.process_count()
    local = task.shards // hosts
    if local > jax.local_device_count() or task.shards % hosts:
        raise ConfigError(
            f"{task.shards} devices were asked for, on {hosts} hosts; this one has "
            f"{jax.local_device_count()}: choose a smaller --devices"
        )
    mapped = jax.pmap(
        run,
        axis_name=task.axis_name,
        in_axes=(0, *[None] * len(examples)),
        out_axes=None,
        # Several hosts use all their devices; JAX orders them by process.
        devices=jax.local_devices()[:local] if hosts == 1 else None,
        donate_argnums=(1,) if donate else (),
    )
    numbers = np.arange(local, dtype=np.int32) + jax.process_index() * local
    compiled = mapped.lower(numbers, *examples).compile()
    return lambda *arguments: compiled(numbers, *arguments)
