"""Primitives of JAX as ONNX nodes: those that work on each value, sums, products and branches."""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from physjax.export.format import ExportError
from physjax.export.onnx_graph import Graph, Handler, Shape, Tensor, Value, stored_shape, writes

HANDLERS: dict[str, Handler] = {}
"""What writes a primitive, by its name."""
_handles = partial(writes, HANDLERS)


def _broadcast(shapes: Sequence[Shape], rank: int) -> Shape:
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*padded, strict=True))


def _elementwise(graph: Graph, kind: str, like: Any, values: Sequence[Value]) -> Tensor:
    """A node that broadcasts its inputs, which may therefore be small."""
    name = graph.node(kind, [graph.loose(value) for value in values])
    stored = _broadcast([stored_shape(value) for value in values], len(like.aval.shape))
    return Tensor(name, like.aval.shape, like.aval.dtype, stored)


_ELEMENTWISE = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "pow": "Pow",
    "max": "Max",
    "min": "Min",
    "neg": "Neg",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "logistic": "Sigmoid",
    "erf": "Erf",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sin": "Sin",
    "cos": "Cos",
    "gt": "Greater",
    "lt": "Less",
    "ge": "GreaterOrEqual",
    "le": "LessOrEqual",
    "eq": "Equal",
    "and": "And",
    "or": "Or",
    "not": "Not",
}
"""Primitives that are one node, and which."""


@_handles(*_ELEMENTWISE)
def _plain(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    name = equation.primitive.name
    return _elementwise(graph, _ELEMENTWISE[name], equation.outvars[0], values)


@_handles("rsqrt")
def _rsqrt(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    out = equation.outvars[0]
    return _elementwise(graph, "Reciprocal", out, [_elementwise(graph, "Sqrt", out, values)])


@_handles("ne")
def _not_equal(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    out = equation.outvars[0]
    return _elementwise(graph, "Not", out, [_elementwise(graph, "Equal", out, values)])


@_handles("square")
def _square(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    return _elementwise(graph, "Mul", equation.outvars[0], [values[0], values[0]])


@_handles("integer_pow")
def _integer_pow(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    exponent = np.asarray(equation.params["y"], equation.outvars[0].aval.dtype)
    return _elementwise(graph, "Pow", equation.outvars[0], [values[0], exponent])


@_handles("expm1", "log1p")
def _near_zero(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    out, name = equation.outvars[0], equation.primitive.name
    one = np.asarray(1, out.aval.dtype)
    if name == "expm1":
        return _elementwise(graph, "Sub", out, [_elementwise(graph, "Exp", out, values), one])
    return _elementwise(graph, "Log", out, [_elementwise(graph, "Add", out, [values[0], one])])


@_handles("clamp")
def _clamp(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    least, x, most = values
    out = equation.outvars[0]
    return _elementwise(graph, "Min", out, [_elementwise(graph, "Max", out, [x, least]), most])


@_handles("select_n")
def _select(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    which, *cases = values
    if len(cases) != 2:
        raise ExportError("the network selects among more than two values")
    return _elementwise(graph, "Where", equation.outvars[0], [which, cases[1], cases[0]])


@_handles("convert_element_type")
def _cast(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    (value,), out = values, equation.outvars[0]
    kind = graph.helper.np_dtype_to_tensor_dtype(np.dtype(out.aval.dtype))
    name = graph.node("Cast", [graph.loose(value)], to=kind)
    return Tensor(name, out.aval.shape, out.aval.dtype, stored_shape(value))


@_handles("optimization_barrier", "copy", "copy_p", "stop_gradient")
def _as_it_is(graph: Graph, equation: Any, values: Sequence[Value]) -> Sequence[Value]:
    del graph, equation
    return list(values)


# ---- sums ----

_REDUCTIONS = {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}


@_handles(*_REDUCTIONS)
def _reduce(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    axes = graph.constant(np.array(equation.params["axes"], np.int64))
    kind = _REDUCTIONS[equation.primitive.name]
    return graph.tensor(kind, equation.outvars[0], [graph.whole(values[0]), axes], keepdims=0)


@_handles("dot_general")
def _dot(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    (contract, batch), out = equation.params["dimension_numbers"], equation.outvars[0]
    names = [graph.whole(value) for value in values]
    ranks = [len(value.shape) for value in values]
    if contract == ((1,), (0,)) and batch == ((), ()) and ranks == [2, 2]:
        return graph.tensor("MatMul", out, names)
    letters = iter(string.ascii_lowercase)
    sides = [[""] * rank for rank in ranks]
    shared = [list(zip(pair[0], pair[1], strict=True)) for pair in (batch, contract)]
    for one, other in shared[0] + shared[1]:
        sides[0][one] = sides[1][other] = next(letters)
    sides = [[letter or next(letters) for letter in side] for side in sides]
    head = [sides[0][axis] for axis in batch[0]]
    rest = [
        [letter for axis, letter in enumerate(side) if axis not in {*pair[0], *pair[1]}]
        for side, pair in zip(sides, zip(contract, batch, strict=True), strict=True)
    ]
    equation_text = f"{''.join(sides[0])},{''.join(sides[1])}->{''.join(head + rest[0] + rest[1])}"
    return graph.tensor("Einsum", out, names, equation=equation_text)


# ---- branches that the platform decides ----


@_handles("platform_index")
def _platform(graph: Graph, equation: Any, values: Sequence[Value]) -> Value:
    """The branch for any platform."""
    del graph, values
    platforms = equation.params["platforms"]
    return np.asarray(next(i for i, names in enumerate(platforms) if names is None), np.int32)


@_handles("cond")
def _cond(graph: Graph, equation: Any, values: Sequence[Value]) -> Sequence[Value]:
    index, *rest = values
    if isinstance(index, Tensor):
        raise ExportError("the network has a branch that an image decides")
    branches = equation.params["branches"]
    branch = branches[min(max(int(index), 0), len(branches) - 1)]
    return graph.run(branch.jaxpr, [np.asarray(c) for c in branch.consts], rest)
