"""Primitives of JAX as ONNX nodes: those that move values, and windows of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from physjax.export.format import ExportError
from physjax.export.onnx_graph import Graph, Handler, Shape, Tensor, Value, stored_shape, writes

HANDLERS: dict[str, Handler] = {}
"""What writes a primitive, by its name."""
_handles = partial(writes, HANDLERS)


def _reshaped(graph: Graph, value: Value, shape: Shape) -> str:
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes.count(-1) > 1:
        raise ExportError(f"a value of shape {shape} has the batch twice")
    return graph.node("Reshape", [graph.whole(value), graph.constant(np.array(sizes, np.int64))])


@_handles("reshape", "squeeze", "expand_dims")
def _reshape(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    out = equation.outvars[0].aval
    return Tensor(_reshaped(graph, values[0], out.shape), out.shape, out.dtype, out.shape)


@_handles("broadcast_in_dim")
def _broadcast_in_dim(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    """Axes of size 1 are put in; what reads the value broadcasts them."""
    value, out = values[0], equation.outvars[0].aval
    small = [1] * len(out.shape)
    axes = equation.params["broadcast_dimensions"]
    for size, axis in zip(stored_shape(value), axes, strict=True):
        small[axis] = size
    stored = tuple(small)
    if not isinstance(value, Tensor):
        name = graph.constant(value.reshape(stored))
    elif stored == value.stored:
        name = value.name
    else:
        sizes = np.array([n if isinstance(n, int) else -1 for n in stored], np.int64)
        name = graph.node("Reshape", [value.name, graph.constant(sizes)])
    return Tensor(name, out.shape, out.dtype, stored)


@_handles("transpose")
def _transpose(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    order = list(equation.params["permutation"])
    return graph.tensor("Transpose", equation.outvars[0], [graph.whole(values[0])], perm=order)


@_handles("concatenate")
def _concatenate(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    names = [graph.whole(value) for value in values]
    return graph.tensor("Concat", equation.outvars[0], names, axis=equation.params["dimension"])


def _cut(graph: Graph, value: Value, like: Any, starts: Shape, stops: Shape, steps: Shape) -> Value:
    """Part of a value; axes that are kept whole are left out."""
    shape = value.shape
    axes = [
        axis
        for axis, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True))
        if not (isinstance(start, int) and start == 0 and stop == shape[axis] and step == 1)
    ]
    lists = [[part[axis] for axis in axes] for part in (starts, stops)]
    lists += [axes, [steps[axis] for axis in axes]]
    names = [graph.constant(np.array(numbers, np.int64)) for numbers in lists]
    return graph.tensor("Slice", like, [graph.whole(value), *names])


@_handles("slice")
def _slice(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    params = equation.params
    steps = params["strides"] or (1,) * len(params["start_indices"])
    bounds = params["start_indices"], params["limit_indices"]
    return _cut(graph, values[0], equation.outvars[0], *bounds, steps)


@_handles("rev")
def _reverse(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    axes = list(equation.params["dimensions"])
    lists = [[-1] * len(axes), [-(2**31)] * len(axes), axes, [-1] * len(axes)]
    names = [graph.constant(np.array(numbers, np.int64)) for numbers in lists]
    return graph.tensor("Slice", equation.outvars[0], [graph.whole(values[0]), *names])


@_handles("dynamic_slice")
def _dynamic_slice(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    value, *starts = values
    places = [int(_constant(start)) for start in starts]
    return _window(graph, value, equation.outvars[0], places, equation.params["slice_sizes"])


@_handles("gather")
def _gather(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    """A part of the value, or some of its rows and columns, at places that no image decides."""
    value, indices = values[0], _constant(values[1])
    params, out = equation.params, equation.outvars[0]
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    axes = numbers.start_index_map
    if indices.shape == (len(axes),):
        places = [0] * len(sizes)
        for axis, place in zip(axes, indices, strict=True):
            places[axis] = int(place)
        part = _window(graph, value, out, places, sizes)
        if not numbers.collapsed_slice_dims:
            return part
        return Tensor(
            _reshaped(graph, part, out.aval.shape), out.aval.shape, out.aval.dtype, out.aval.shape
        )
    # One index an axis, and the axes stay where they are: x[:, ::2, ::2].
    kept = [axis for axis in range(len(out.aval.shape)) if axis not in numbers.offset_dims]
    by_axis = [np.moveaxis(indices[..., i], i, 0) for i in range(len(axes))]
    rows = [each.reshape(len(each), -1) for each in by_axis]
    if (
        list(axes) != kept
        or list(numbers.collapsed_slice_dims) != kept
        or any((each != each[:, :1]).any() for each in rows)
    ):
        raise ExportError("the network gathers values in a way that ONNX's export lacks")
    name = graph.whole(value)
    for axis, each in zip(axes, rows, strict=True):
        places_of_axis = graph.constant(each[:, 0].astype(np.int64))
        name = graph.node("Gather", [name, places_of_axis], axis=int(axis))
    return Tensor(name, out.aval.shape, out.aval.dtype, out.aval.shape)


def _constant(value: Value) -> Any:
    if isinstance(value, Tensor):
        raise ExportError("the network reads values at places that an image decides")
    return value


def _window(graph: Graph, value: Value, like: Any, places: Sequence[int], sizes: Shape) -> Value:
    # A symbol can only be the whole batch.
    stops = [
        start + size if isinstance(size, int) else size
        for start, size in zip(places, sizes, strict=True)
    ]
    return _cut(graph, value, like, tuple(places), tuple(stops), (1,) * len(sizes))


@_handles("pad")
def _pad(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    config = equation.params["padding_config"]
    if any(inside for _, _, inside in config):
        raise ExportError("the network puts values between values, which ONNX's Pad cannot")
    pads = np.array([c[0] for c in config] + [c[1] for c in config], np.int64)
    if not pads.any():
        return values[0]
    inputs = [graph.whole(values[0]), graph.constant(pads), graph.loose(values[1])]
    return graph.tensor("Pad", equation.outvars[0], inputs, mode="constant")


# ---- windows ----


def _moved(graph: Graph, name: str, order: Sequence[int]) -> str:
    if list(order) == sorted(order):
        return name
    return graph.node("Transpose", [name], perm=[int(axis) for axis in order])


@_handles("conv_general_dilated")
def _conv(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    params, out = equation.params, equation.outvars[0]
    if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
        raise ExportError("the network has a transposed convolution, which the export lacks")
    numbers = params["dimension_numbers"]
    images = _moved(graph, graph.whole(values[0]), numbers.lhs_spec)
    if isinstance(values[1], Tensor):
        kernel = _moved(graph, graph.whole(values[1]), numbers.rhs_spec)
    else:
        kernel = graph.constant(np.ascontiguousarray(values[1].transpose(numbers.rhs_spec)))
    pads = params["padding"]
    found = graph.node(
        "Conv",
        [images, kernel],
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[before for before, _ in pads] + [after for _, after in pads],
        group=params["feature_group_count"],
    )
    back = np.argsort(numbers.out_spec).tolist()
    return Tensor(_moved(graph, found, back), out.aval.shape, out.aval.dtype, out.aval.shape)


@_handles("custom_vjp_call")
def _with_a_derivative(graph: Graph, equation: Any, values: Sequence[Value]) -> Any:
    """A function with a derivative of its own: what it computes; a pool as the pool that it is."""
    inner = equation.params["call_jaxpr"]
    pool = _max_pool(graph, inner.jaxpr, equation, values)
    if pool is not None:
        return [pool]
    return graph.run(inner.jaxpr, [np.asarray(c) for c in inner.consts], values)


def _max_pool(graph: Graph, jaxpr: Any, equation: Any, values: Sequence[Value]) -> Value | None:
    """MaxPool, where the program is `physjax.ops.pool.max_pool` after its padding; else None.

    It compares slices of the images, one for each place in a window.
    """
    if getattr(jaxpr.debug_info, "func_name", "") != "_max_pool" or len(jaxpr.invars) != 1:
        return None
    slices = [e.params for e in jaxpr.eqns if e.primitive.name == "slice"]
    if not slices or any(params["strides"] is None for params in slices):
        strides = (1, 1) if slices else None
    else:
        strides = slices[0]["strides"][1:3]
    if strides is None:
        return None
    window = [max(params["start_indices"][axis] for params in slices) + 1 for axis in (1, 2)]
    if math.prod(window) != len(slices):
        return None
    images = _moved(graph, graph.whole(values[0]), (0, 3, 1, 2))
    found = graph.node("MaxPool", [images], kernel_shape=window, strides=list(strides))
    out = equation.outvars[0].aval
    return Tensor(_moved(graph, found, (0, 2, 3, 1)), out.shape, out.dtype, out.shape)
