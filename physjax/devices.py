"""Steps on devices: arrays placed whole on each, and the one wrapper around jit and pmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from physjax.config import ConfigError
from physjax.task import AXIS, Task

T = TypeVar("T")


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
