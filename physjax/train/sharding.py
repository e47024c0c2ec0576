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


def compile_step(
    setup: TrainSetup,
    step: Callable[..., Any],
    *examples: Any,
    repeat: int = 1,
    donate: bool = False,
) -> Callable[..., Any]:
    """`step` compiled for arguments like `examples`, on setup.shards devices, over all hosts.

    With one shard this is jax.jit, with more jax.pmap, of the same function. Arguments and results
    are whole, unmapped arrays; only the shard's number is mapped. `repeat` scans over as many
    steps in one call, and `donate` gives the first argument's buffers to the result.
    """

    def run(shard: jax.Array | int, first: Any, *rest: Any) -> Any:
        if repeat == 1:
            return step(setup, first, *rest, shard=shard)
        return lax.scan(
            lambda carry, _: (step(setup, carry, *rest, shard=shard), None), first, length=repeat
        )[0]

    if setup.axis_name is None:
        one = jax.jit(lambda *a: run(0, *a), donate_argnums=(0,) if donate else ())
        return one.lower(*examples).compile()
    mesh = _mesh(setup)
    mapped = jax.pmap(
        run,
        axis_name=setup.axis_name,
        in_axes=(0, *[None] * len(examples)),
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
