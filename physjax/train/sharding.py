"""Steps on devices: where arrays lie, and the one wrapper around jit and pmap.

A host has one process; all of them run the same program on the same arguments. Under pmap every
device computes its part of the batch by itself, and the programs sum what they have found. In the
other ways of `--sharding` there is one program for the whole batch, which XLA splits over a mesh of
the devices: it computes what one device would.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from physjax.config import ConfigError
from physjax.train import multihost
from physjax.train.setup import AXIS, TrainSetup

T = TypeVar("T")

WHOLE_BELOW = 2**16
"""With `fsdp`, arrays of fewer numbers are whole on every device: forces, norms, biases, metrics,
small kernels. To gather them would take longer than it would save memory."""


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


# ---- where arrays lie ----


def place(setup: TrainSetup, tree: T) -> T:
    """`tree` on the setup's devices, whole on each."""
    if setup.shards == 1:
        return jax.device_put(tree, jax.local_devices()[0])
    return jax.device_put(tree, NamedSharding(_mesh(setup), PartitionSpec()))


def place_state(setup: TrainSetup, state: T) -> T:
    """`state` on the setup's devices as `--sharding` has it: whole on each, or in parts."""
    if not is_parted(setup):
        return place(setup, state)
    return jax.device_put(state, layout(setup, state))


def is_parted(setup: TrainSetup) -> bool:
    """Whether a device holds a part of the state alone."""
    return setup.config.run.sharding == "fsdp" and setup.shards > 1


def layout(setup: TrainSetup, state: T) -> T:
    """How the arrays of a state, or others of their shapes, lie with `fsdp`: a sharding for each.

    The longest dimension that the devices divide is parted; where they divide none, and in arrays
    of fewer numbers than `WHOLE_BELOW`, none is.
    """
    mesh = _mesh(setup)

    def of(leaf: Any) -> NamedSharding:
        names: list[str | None] = [None] * leaf.ndim
        able = [i for i, length in enumerate(leaf.shape) if length % setup.shards == 0]
        if able and leaf.size >= WHOLE_BELOW:
            names[max(able, key=lambda i: leaf.shape[i])] = AXIS
        return NamedSharding(mesh, PartitionSpec(*names))

    return jax.tree.map(of, state)


def split(setup: TrainSetup, batch: T) -> T:
    """Inside a step: have each device compute its part of the batch, the first axis of `batch`."""
    if setup.programs == setup.shards:
        return batch
    return lax.with_sharding_constraint(batch, NamedSharding(_mesh(setup), PartitionSpec(AXIS)))


def by_device(setup: TrainSetup, function: Callable[..., T], batch: Any, *whole: Any) -> T:
    """Inside a step: `function(batch, *whole)`, by each device for its part of the batch alone.

    XLA, left to split what gathers from images, would bring those of the whole batch to each.

    Args:
      setup: of the run.
      function: treats every example by itself; the first axis of its results is the batch's.
      batch: arrays with the batch's axis first.
      whole: arrays that each device has whole.
    """
    if setup.programs == setup.shards:
        return function(batch, *whole)
    parted, each = PartitionSpec(AXIS), PartitionSpec()
    specs = (parted, *[each] * len(whole))
    mapped = jax.shard_map(function, mesh=_mesh(setup), in_specs=specs, out_specs=parted)
    return mapped(batch, *whole)


def gathered(setup: TrainSetup, params: T) -> T:
    """Inside a step: the parameters whole on each device, and what is their gradient in parts."""
    if not is_parted(setup):
        return params
    return jax.tree.map(partial(_gathered, setup), params)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gathered(setup: TrainSetup, leaf: jax.Array) -> jax.Array:
    return lax.with_sharding_constraint(leaf, NamedSharding(_mesh(setup), PartitionSpec()))


def _gathered_forward(setup: TrainSetup, leaf: jax.Array) -> tuple[jax.Array, None]:
    return _gathered(setup, leaf), None


def _gathered_backward(setup: TrainSetup, _: None, slope: jax.Array) -> tuple[jax.Array]:
    return (lax.with_sharding_constraint(slope, layout(setup, slope)),)


_gathered.defvjp(_gathered_forward, _gathered_backward)


# ---- compiling ----


def compile_step(
    setup: TrainSetup,
    step: Callable[..., Any],
    *examples: Any,
    repeat: int = 1,
    donate: bool = False,
) -> Callable[..., Any]:
    """`step` compiled for arguments like `examples`, on setup.shards devices, over all hosts.

    A result that is built like the first argument, a state, lies where that does; any other is
    whole on every device. `repeat` scans over as many steps in one call, and `donate` gives the
    first argument's buffers to the result. `step` is told which part of the batch it computes by
    `shard`: under pmap the one mapped argument, else 0.
    """

    def run(shard: jax.Array | int, first: Any, *rest: Any) -> Any:
        if repeat == 1:
            return step(setup, first, *rest, shard=shard)
        return lax.scan(
            lambda carry, _: (step(setup, carry, *rest, shard=shard), None), first, length=repeat
        )[0]

    if setup.axis_name is not None:
        return _mapped(setup, run, examples, donate)
    one = partial(run, 0)
    lies: Any = None
    if setup.shards > 1:
        found, first = jax.eval_shape(one, *examples), examples[0]
        shapes = jax.tree.map(jnp.shape, (found, first))
        is_state = shapes[0] == shapes[1]
        whole = NamedSharding(_mesh(setup), PartitionSpec())
        lies = layout(setup, first) if is_state and is_parted(setup) else whole
    jitted = jax.jit(one, donate_argnums=(0,) if donate else (), out_shardings=lies)
    return jitted.lower(*examples).compile()


def _mapped(
    setup: TrainSetup, run: Callable[..., Any], examples: tuple[Any, ...], donate: bool
) -> Callable[..., Any]:
    """`run` under pmap: arguments and results are whole, unmapped arrays."""
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
