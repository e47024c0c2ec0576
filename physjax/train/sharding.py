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


def by_device(setup: TrainSetup, function: Callable[..., T], *batch: Any) -> T:
    """Inside a step: `function(*batch)`, by each device for its part of the batch alone.

    XLA, left to split what gathers from images, would bring those of the whole batch to each.

    Args:
      setup: of the run.
      function: treats every example by itself; the first axis of its results is the batch's.
      batch: arrays with the batch's axis first.
    """
    if setup.programs == setup.shards:
        return function(*batch)
    parted = PartitionSpec(AXIS)
    return jax.shard_map(function, mesh=_mesh(setup), in_specs=parted, out_specs=parted)(*batch)


def whole_params(setup: TrainSetup, params: T) -> T:
    """Inside a step: the parameters whole on each device, and what is their gradient in parts."""
    if not is_parted(setup):
        return params
    return jax.tree.map(partial(_whole, setup), params)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _whole(setup: TrainSetup, leaf: jax.Array) -> jax.Array:
    return lax.with_sharding_constraint(leaf, NamedSharding(_mesh(setup), PartitionSpec()))


def _whole_forward(setup: TrainSetup, leaf: jax.Array) -> tuple[jax.Array, None]:
    return _whole(setup, leaf), None


def _whole_backward(setup: TrainSetup, _: None, slope: jax.Array) -> tuple[jax.Array]:
    return (lax.with_sharding_constraint(slope, layout(setup, slope)),)


_whole.defvjp(_whole_forward, _whole_backward)


def own_columns(setup: TrainSetup, columns: np.ndarray) -> np.ndarray:
    """Which images of a batch this host's devices take, in the order of :func:`place_batches`.

    Args:
      setup: of the run.
      columns: all images of a batch, those of the first device first.
    """
    parts = columns.reshape(setup.shards, -1)
    if setup.shards == 1:
        return parts[0]
    devices = _mesh(setup).devices
    return parts[[d.process_index == jax.process_index() for d in devices]].ravel()


def place_batches(setup: TrainSetup, arrays: T) -> T:
    """Arrays [steps, n, ...], of the :func:`own_columns` of batches, on the devices of each."""
    if setup.shards == 1:
        return place(setup, arrays)
    sharding, local = _of_batches(setup), setup.programs // jax.process_count()

    def divided(array: np.ndarray) -> jax.Array:
        parts = np.ascontiguousarray(_by_program(setup, array, local))
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

    def gather(arrays: Any, order: jax.Array, step: Any) -> Any:
        wanted = _by_program(setup, rows(order, step), setup.programs)
        return jax.tree.map(lambda array: array[wanted], arrays)

    call = jax.jit(gather, out_shardings=_of_batches(setup) if setup.shards > 1 else None)
    return call.lower(*examples).compile()


def _of_batches(setup: TrainSetup) -> NamedSharding:
    """How batches lie: under pmap parts of them come first, else [steps, n, ...]."""
    axes = (None, AXIS) if setup.axis_name is None else (AXIS,)
    return NamedSharding(_mesh(setup), PartitionSpec(*axes))


def _by_program(setup: TrainSetup, array: Any, programs: int) -> Any:
    """[steps, n, ...] -> [programs, steps, n / programs, ...]: pmap maps the leading axis."""
    if setup.axis_name is None:
        return array
    return array.reshape(len(array), programs, -1, *array.shape[2:]).swapaxes(0, 1)


# ---- compiling ----


def compile_step(
    setup: TrainSetup,
    step: Callable[..., Any],
    *examples: Any,
    repeat: int = 1,
    batches: int = 0,
    donate: bool = False,
) -> Callable[..., Any]:
    """`step` compiled for arguments like `examples`, on setup.shards devices, over all hosts.

    A result that is built like the first argument, a state, lies where that does; any other is
    whole on every device. Arguments are whole too, but for a state and the last `batches` of them,
    which :func:`place_batches` has made: each step gets one batch of them, under pmap this
    program's part of it. `repeat` scans over as many steps in one call, and `donate` gives the
    first argument's buffers to the result. `step` is told which part of a batch it computes by
    `shard`: under pmap the one other mapped argument, else 0.
    """
    lowered = lower_step(setup, step, *examples, repeat=repeat, batches=batches, donate=donate)
    compiled = lowered.compile()
    if setup.axis_name is None:
        return compiled
    # What comes out of pmap takes the array of all hosts.
    lies = NamedSharding(_mesh(setup), PartitionSpec(AXIS))
    shards = jax.device_put(_numbers(setup), lies)
    return lambda *arguments: compiled(shards, *arguments)


def lower_step(
    setup: TrainSetup,
    step: Callable[..., Any],
    *examples: Any,
    repeat: int = 1,
    batches: int = 0,
    donate: bool = False,
) -> jax.stages.Lowered:
    """What :func:`compile_step` compiles; under pmap the number of the program comes first."""
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

    # What a profile calls the program.
    run.__name__ = getattr(step, "func", step).__name__.strip("_")
    if setup.axis_name is not None:
        mapped = jax.pmap(
            run,
            axis_name=setup.axis_name,
            in_axes=(0, *[None] * whole, *[0] * batches),
            out_axes=None,
            # Over several hosts pmap takes no list of devices, and orders them as _mesh does.
            devices=None if multihost.is_multihost() else _mesh(setup).devices.tolist(),
            donate_argnums=(1,) if donate else (),
        )
        # For the part of this host.
        return mapped.lower(_numbers(setup)[: setup.shards // jax.process_count()], *examples)
    one = partial(run, 0)
    lies: Any = None
    if setup.shards > 1:
        found, first = jax.eval_shape(one, *examples), examples[0]
        shapes = jax.tree.map(jnp.shape, (found, first))
        everywhere = NamedSharding(_mesh(setup), PartitionSpec())
        is_state = shapes[0] == shapes[1]
        lies = layout(setup, first) if is_state and is_parted(setup) else everywhere
    jitted = jax.jit(one, donate_argnums=(0,) if donate else (), out_shardings=lies)
    if setup.shards == 1:
        return jitted.lower(*examples)
    # A convolution that would loop over the images sees the mesh, and does not.
    with jax.set_mesh(_mesh(setup)):
        return jitted.lower(*examples)


def _numbers(setup: TrainSetup) -> np.ndarray:
    return np.arange(setup.shards, dtype=np.int32)
