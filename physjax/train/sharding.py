"""Steps on devices: arrays placed whole on each, and the one wrapper around jit and pmap.

A host has one process; all of them run the same program on the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from physjax.config import ConfigError
from physjax.train import multihost
from physjax.train.setup import AXIS, TrainSetup

T = TypeVar("T")


def _mesh(setup: TrainSetup) -> Mesh:
    """The devices of the setup's shards, in their order: on several hosts all that there are.

    Raises ConfigError where there are not as many.
    """
    devices = jax.devices() if multihost.is_multihost() else jax.local_devices()[: setup.shards]
    if len(devices) != setup.shards:
        raise ConfigError(
            f"{setup.shards} devices were asked for, and there are {len(devices)} on "
            f"{jax.process_count()} hosts: choose another --devices"
        )
    return Mesh(np.array(devices), (AXIS,))


def place(setup: TrainSetup, tree: T) -> T:
    """`tree` on the setup's devices, whole on each: what compiled steps take and return."""
    if setup.axis_name is None:
        return jax.device_put(tree, jax.local_devices()[0])
    return jax.device_put(tree, NamedSharding(_mesh(setup), PartitionSpec()))


def own_columns(setup: TrainSetup, batch_size: int) -> np.ndarray:
    """Which images of a batch this host's devices take, in the order of :func:`place_batches`."""
    parts = np.arange(batch_size).reshape(setup.shards, -1)
    if setup.axis_name is None:
        return parts[0]
    devices = _mesh(setup).devices
    return parts[[d.process_index == jax.process_index() for d in devices]].ravel()


def place_batches(setup: TrainSetup, arrays: T) -> T:
    """Arrays [steps, n, ...], of the :func:`own_columns` of batches, on the devices of each."""
    if setup.axis_name is None:
        return place(setup, arrays)
    sharding, local = _of_batches(setup), setup.shards // jax.process_count()

    def divided(array: np.ndarray) -> jax.Array:
        parts = np.ascontiguousarray(_by_shard(array, local))
        return jax.make_array_from_process_local_data(sharding, parts)

    return jax.tree.map(divided, arrays)


def compile_gather(
    setup: TrainSetup, rows: Callable[[jax.Array, Any], jax.Array], *examples: Any
) -> Callable[..., Any]:
    """Compiled (arrays, order, step) -> what :func:`place_batches` gives of their `rows`.

    Args:
      setup: of the run.
      rows: (order, step) -> int32 [steps, n], the rows of whole batches.
      examples: arrays [N, ...], whole on each device; the order; the step.
    """
    one = setup.axis_name is None

    def gather(arrays: Any, order: jax.Array, step: Any) -> Any:
        wanted = rows(order, step)
        wanted = wanted if one else _by_shard(wanted, setup.shards)
        return jax.tree.map(lambda array: array[wanted], arrays)

    call = jax.jit(gather, out_shardings=None if one else _of_batches(setup))
    return call.lower(*examples).compile()


def _of_batches(setup: TrainSetup) -> NamedSharding:
    return NamedSharding(_mesh(setup), PartitionSpec(AXIS))


def _by_shard(array: Any, shards: int) -> Any:
    """[steps, n, ...] -> [shards, steps, n / shards, ...]: pmap maps the leading axis."""
    return array.reshape(len(array), shards, -1, *array.shape[2:]).swapaxes(0, 1)


def compile_step(
    setup: TrainSetup,
    step: Callable[..., Any],
    *examples: Any,
    repeat: int = 1,
    batches: int = 0,
    donate: bool = False,
) -> Callable[..., Any]:
    """`step` compiled for arguments like `examples`, on setup.shards devices, over all hosts.

    With one shard this is jax.jit, with more jax.pmap, of the same function. Arguments and results
    are whole, unmapped arrays; only the shard's number is mapped, and the last `batches` arguments,
    which :func:`place_batches` has made: each step gets this shard's part of one batch of them.
    `repeat` scans over as many steps in one call, and `donate` gives the first argument's buffers
    to the result.
    """
    whole = len(examples) - batches

    def run(shard: jax.Array | int, first: Any, *rest: Any) -> Any:
        fixed, parts = rest[: whole - 1], rest[whole - 1 :]
        if repeat == 1:
            return step(setup, first, *fixed, *(part[0] for part in parts), shard=shard)
        return lax.scan(
            lambda carry, each: (step(setup, carry, *fixed, *each, shard=shard), None),
            first,
            parts,
            length=repeat,
        )[0]

    if setup.axis_name is None:
        one = jax.jit(lambda *a: run(0, *a), donate_argnums=(0,) if donate else ())
        return one.lower(*examples).compile()
    mesh = _mesh(setup)
    mapped = jax.pmap(
        run,
        axis_name=setup.axis_name,
        in_axes=(0, *[None] * whole, *[0] * batches),
        out_axes=None,
        # Over several hosts pmap takes no list of devices, and orders them as _mesh does.
        devices=None if multihost.is_multihost() else mesh.devices.tolist(),
        donate_argnums=(1,) if donate else (),
    )
    numbers = np.arange(setup.shards, dtype=np.int32)
    # pmap is lowered for the part of this host; what comes out takes the array of all hosts.
    compiled = mapped.lower(numbers[: setup.shards // jax.process_count()], *examples).compile()
    shards = jax.device_put(numbers, NamedSharding(mesh, PartitionSpec(AXIS)))
    return lambda *arguments: compiled(shards, *arguments)
