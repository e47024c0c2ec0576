"""ONNX graphs of JAX programs: what the networks of physjax consist of, operation by operation.

A program is traced with a symbol for the batch, what depends on no image is computed at once, and
each primitive that is left becomes one or a few ONNX nodes (`onnx_ops`, `onnx_shapes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.extend import core

from physjax.export.format import ExportError
from physjax.train.weights.errors import needed

OPSET = 18
IR_VERSION = 9
"""Of files; programs that are some years old read it."""

Shape = tuple[Any, ...]
"""Sizes by axis: whole numbers, and the symbol of the batch."""


@dataclass(frozen=True)
class Tensor:
    """A value of the graph that depends on the images."""

    name: str
    shape: Shape
    """As the program has it."""
    dtype: npt.DTypeLike
    stored: Shape
    """As the graph has it: of size 1 where a later operation, or `Graph.whole`, broadcasts."""


Value = Tensor | np.ndarray
"""What depends on no image is an array."""
Handler = Callable[["Graph", Any, Sequence[Value]], "Value | Sequence[Value]"]


def writes(table: dict[str, Handler], *names: str) -> Callable[[Handler], Handler]:
    """Put the function below it into a table, as what writes these primitives."""

    def add(handler: Handler) -> Handler:
        table.update(dict.fromkeys(names, handler))
        return handler

    return add


def stored_shape(value: Value) -> Shape:
    """The shape that the graph has of a value."""
    return value.stored if isinstance(value, Tensor) else value.shape


class Graph:
    """Nodes and initialisers of an ONNX graph that is being written."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self.helper, self.numpy_helper = needed("onnx.helper"), needed("onnx.numpy_helper")
        self.nodes: list[Any] = []
        self._handlers = handlers
        self._constants: dict[tuple[Any, ...], tuple[str, Any]] = {}
        self._count = 0
        self._batch = ""

    @property
    def initializers(self) -> list[Any]:
        """The arrays of the graph."""
        return [tensor for _, tensor in self._constants.values()]

    def new_name(self, of: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{of}_{self._count}"

    def constant(self, array: npt.ArrayLike) -> str:
        """The name of an initialiser; equal ones are stored once."""
        value = np.asarray(array)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            name = self.new_name("constant")
            self._constants[key] = name, self.numpy_helper.from_array(value, name)
        return self._constants[key][0]

    def node(self, kind: str, inputs: Iterable[str], **attributes: Any) -> str:
        """Add a node with one output; its name."""
        name = self.new_name(kind.lower())
        self.nodes.append(self.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def loose(self, value: Value) -> str:
        """The name of a value that may be of size 1 where it is broadcast."""
        return value.name if isinstance(value, Tensor) else self.constant(value)

    def whole(self, value: Value) -> str:
        """The name of a value in its full shape."""
        if not isinstance(value, Tensor) or value.stored == value.shape:
            return self.loose(value)
        return self.node("Expand", [value.name, self.sizes(value.shape)])

    def sizes(self, shape: Shape) -> str:
        """The name of a shape; the batch is looked up in the images."""
        if all(isinstance(size, int) for size in shape):
            return self.constant(np.asarray(shape, np.int64))
        if sum(not isinstance(size, int) for size in shape) > 1:
            raise ExportError(f"a value of shape {shape} has the batch twice")
        at = next(axis for axis, size in enumerate(shape) if not isinstance(size, int))
        if str(shape[at]) != "batch":
            raise ExportError(f"a value has the size {shape[at]}, which is not the batch alone")
        parts = [np.asarray(part, np.int64) for part in (shape[:at], shape[at + 1 :])]
        names = [self.constant(part) if len(part) else "" for part in parts]
        return self.node("Concat", [n for n in (names[0], self._batch, names[1]) if n], axis=0)

    def tensor(self, kind: str, like: Any, inputs: Iterable[str], **attributes: Any) -> Tensor:
        """Add a node whose output has the shape and type of `like`, a variable of the program."""
        name = self.node(kind, inputs, **attributes)
        return Tensor(name, like.aval.shape, like.aval.dtype, like.aval.shape)

    def start(self, name: str, shape: Shape) -> Tensor:
        """The images: the input of the graph."""
        self._batch = self.node(
            "Slice",
            [self.node("Shape", [name]), *(self.constant(np.array([n])) for n in (0, 1, 0))],
        )
        return Tensor(name, shape, np.uint8, shape)

    def run(self, jaxpr: Any, constants: Sequence[Value], inputs: Sequence[Value]) -> list[Value]:
        """Write a program; what it gives."""
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, constants, strict=True))
        known |= zip(jaxpr.invars, inputs, strict=True)

        def read(atom: Any) -> Value:
            if isinstance(atom, core.Literal):
                return np.asarray(atom.val, getattr(atom.aval, "dtype", None))
            return known[atom]

        for equation in _read_later(jaxpr):
            values = [read(atom) for atom in equation.invars]
            found = self._apply(equation, values)
            outputs = [found] if isinstance(found, Tensor | np.ndarray) else list(found)
            known |= zip(equation.outvars, outputs, strict=True)
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, values: Sequence[Value]) -> Value | Sequence[Value]:
        name, params = equation.primitive.name, equation.params
        static = all(_is_static(out.aval.shape) for out in equation.outvars)
        handler = self._handlers.get(name)
        inner = params.get("jaxpr") or params.get("call_jaxpr")
        if inner is not None and handler is None:
            closed = hasattr(inner, "consts")
            return self.run(
                inner.jaxpr if closed else inner,
                [np.asarray(c) for c in inner.consts] if closed else [],
                values,
            )
        if name not in ("cond", "platform_index") and static:
            arrays = [value for value in values if not isinstance(value, Tensor)]
            if len(arrays) == len(values):
                return _computed(equation, arrays)
        if handler is None:
            raise ExportError(
                f"the network computes {name!r}, which the export to ONNX does not know; "
                "stablehlo and safetensors hold any network"
            )
        return handler(self, equation, values)


def _read_later(jaxpr: Any) -> list[Any]:
    """The equations whose results somebody reads, in their order."""
    wanted = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if wanted.isdisjoint(equation.outvars):
            continue
        kept.append(equation)
        wanted |= {atom for atom in equation.invars if not isinstance(atom, core.Literal)}
    return kept[::-1]


def _is_static(shape: Shape) -> bool:
    return all(isinstance(size, int) for size in shape)


def _computed(equation: Any, arrays: Sequence[np.ndarray]) -> Value | Sequence[Value]:
    """What depends on no image, at once."""
    found = equation.primitive.bind(*map(jnp.asarray, arrays), **equation.params)
    if equation.primitive.multiple_results:
        return [np.asarray(x) for x in found]
    return np.asarray(found)


def trace(function: Callable[[jax.Array], jax.Array], shape: tuple[int, ...]) -> Any:
    """The program of a function of uint8 images [batch, *shape], without what nobody reads."""
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.uint8)
    return jax.make_jaxpr(function)(images)
