"""What physjax is compared with, in PyTorch: the network of the paper, and any traced network.

PyTorch computes convolutions, pools and gradients by code that shares nothing with XLA's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import linen
from jax.extend import core
from torch import nn

from physjax.models import alexnet, base, cnn, googlenet, speedrun, vgg
from physjax.ops import pool


class PhysicsConv2d(nn.Module):
    """A convolution, and on each channel the forces of its neighbours times the strength.

    Section III C of the paper: the forces are joined to themselves at their ends and their copies,
    one moved to the right and one to the left, are added.
    """

    def __init__(self, channels: int, features: int, kernel: int, **options: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, features, kernel, **options)
        self.interaction_strength = nn.Parameter(torch.tensor(2.8))
        self.neighbor_forces = nn.Parameter(torch.zeros(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        forces = torch.cat(
            [self.neighbor_forces[-1:], self.neighbor_forces, self.neighbor_forces[:1]]
        )
        felt = self.interaction_strength * (forces[:-2] + forces[2:])
        return self.conv(x) + felt.reshape(1, -1, 1, 1)


class PhysicsAlexNet(nn.Module):
    """The one-tower AlexNet with a PhysicsConv2d for each convolution, without dropout."""

    def __init__(self, width: float = 1.0, classes: int = 10) -> None:
        super().__init__()
        a, b, c, d, e, hidden = (round(n * width) for n in (64, 192, 384, 256, 256, 4096))
        self.conv1 = PhysicsConv2d(3, a, 11, stride=4, padding=2)
        self.conv2 = PhysicsConv2d(a, b, 5, padding=2)
        self.conv3 = PhysicsConv2d(b, c, 3, padding=1)
        self.conv4 = PhysicsConv2d(c, d, 3, padding=1)
        self.conv5 = PhysicsConv2d(d, e, 3, padding=1)
        self.fc1 = nn.Linear(36 * e, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, classes)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        pool = nn.functional.max_pool2d
        x = pool(self.conv1(images_NCHW).relu(), 3, 2)
        x = pool(self.conv2(x).relu(), 3, 2)
        x = self.conv4(self.conv3(x).relu()).relu()
        x = pool(self.conv5(x).relu(), 3, 2)
        x = nn.functional.adaptive_avg_pool2d(x, 6).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


def torch_name(layer: str, parameter: str) -> str:
    """The PyTorch name of physjax's parameter `parameter` of `layer` in the network above."""
    name = {"kernel": "weight"}.get(parameter, parameter)
    inner = "conv." if layer.startswith("conv") and name in ("weight", "bias") else ""
    return f"{layer}.{inner}{name}"


def to_torch(layer: str, parameter: str, value: Any) -> torch.Tensor:
    """physjax's parameter in PyTorch's layout: OIHW, [out, in], and channels before pixels."""
    value = np.asarray(value)
    if parameter == "kernel" and value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    elif parameter == "kernel":
        if layer == "fc1":  # 6x6 pixels of what the pool leaves
            value = value.reshape(6, 6, -1, value.shape[1]).transpose(2, 0, 1, 3)
        value = value.reshape(-1, value.shape[-1]).T
    return torch.from_numpy(value.copy(order="C"))


# Any network: the operations that JAX traced, one by one in PyTorch.


def flax_pool(x: jax.Array, window: Any, strides: Any = None, padding: Any = "VALID") -> jax.Array:
    return linen.max_pool(x, tuple(window), strides or tuple(window), padding)


def use_flax_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the models pool by Flax's operations, which have counterparts here."""
    for module in (alexnet, base, cnn, googlenet, speedrun, vgg):
        assert module.max_pool is pool.max_pool
        monkeypatch.setattr(module, "max_pool", flax_pool)


def run(jaxpr: core.Jaxpr, consts: Sequence[torch.Tensor], *inputs: torch.Tensor) -> list[Any]:
    """The outputs of a traced function. Floating-point numbers keep the inputs' precision.

    Raises KeyError for an operation that has no counterpart here.
    """
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    precision = next(x.dtype for x in inputs if x.is_floating_point())

    def read(atom: Any) -> Any:
        return as_tensor(atom.val, precision) if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        found = apply(equation, operands, precision)
        values.update(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def as_tensor(value: Any, precision: torch.dtype) -> torch.Tensor:
    """`value` as a tensor, of that precision where it is floating point."""
    tensor = torch.as_tensor(np.asarray(value))
    return tensor.to(precision) if tensor.is_floating_point() else tensor


def closed(jaxpr: core.ClosedJaxpr, operands: list[Any], precision: torch.dtype) -> list[Any]:
    return run(jaxpr.jaxpr, [as_tensor(c, precision) for c in jaxpr.consts], *operands)


def apply(equation: Any, operands: list[Any], precision: torch.dtype) -> list[Any]:
    """One operation, or the traced function that it calls."""
    name, params = equation.primitive.name, equation.params
    if name in ("jit", "custom_jvp_call", "custom_vjp_call"):
        inner = params.get("jaxpr") or params.get("call_jaxpr")
        return closed(inner, operands, precision)
    if name == "cond":  # by platform alone: the branches compute the same
        return closed(params["branches"][-1], operands[1:], precision)
    if name == "platform_index":
        return [torch.tensor(0)]
    if name == "optimization_barrier":
        return operands
    return [OPERATIONS[name](*operands, **params)]


def _broadcast(x: torch.Tensor, shape: Any, broadcast_dimensions: Any, **_: Any) -> torch.Tensor:
    own = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, x.shape, strict=True):
        own[axis] = size
    return x.reshape(own).expand(tuple(shape))


def _slice(
    x: torch.Tensor, start_indices: Any, limit_indices: Any, strides: Any, **_: Any
) -> torch.Tensor:
    steps = strides or [1] * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _pad(x: torch.Tensor, value: torch.Tensor, padding_config: Any, **_: Any) -> torch.Tensor:
    assert all(inner == 0 for _, _, inner in padding_config)
    flat = [n for low, high, _ in reversed(padding_config) for n in (low, high)]
    return nn.functional.pad(x, flat, value=value.item())


def _convolution(x: torch.Tensor, kernel: torch.Tensor, **params: Any) -> torch.Tensor:
    numbers = params["dimension_numbers"]
    assert numbers.lhs_spec == numbers.out_spec == (0, 3, 1, 2)
    assert numbers.rhs_spec == (3, 2, 0, 1)
    (top, bottom), (left, right) = params["padding"]
    x = nn.functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    y = nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1), stride=params["window_strides"])
    return y.permute(0, 2, 3, 1)


def _max_windows(x: torch.Tensor, **params: Any) -> torch.Tensor:
    (top, bottom), (left, right) = params["padding"][1:3]
    x = nn.functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=-math.inf)
    window, strides = params["window_dimensions"][1:3], params["window_strides"][1:3]
    return nn.functional.max_pool2d(x, window, strides).permute(0, 2, 3, 1)


def _sum_windows(x: torch.Tensor, **params: Any) -> torch.Tensor:
    assert all(pad == (0, 0) for pad in params["padding"])
    window, strides = params["window_dimensions"][1:3], params["window_strides"][1:3]
    mean = nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), window, strides)
    return mean.permute(0, 2, 3, 1) * math.prod(window)


def _product(x: torch.Tensor, y: torch.Tensor, dimension_numbers: Any, **_: Any) -> torch.Tensor:
    (left, right), batch = dimension_numbers
    assert batch == ((), ())
    return torch.tensordot(x, y, (left, right))


def _convert(x: torch.Tensor, new_dtype: Any, **_: Any) -> torch.Tensor:
    kinds = {"f": x.dtype if x.is_floating_point() else torch.get_default_dtype()}
    return x.to({**kinds, "i": torch.int64, "b": torch.bool}[np.dtype(new_dtype).kind])


def _elementwise(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *operands, **_: function(*operands)


OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "add": _elementwise(torch.add),
    "add_any": _elementwise(torch.add),
    "sub": _elementwise(torch.sub),
    "mul": _elementwise(torch.mul),
    "div": _elementwise(torch.div),
    "neg": _elementwise(torch.neg),
    # At a tie the second takes the gradient: that of relu(0) = max(0, 0) is 0, not 1/2.
    "max": _elementwise(lambda x, y: torch.where(x > y, x, y)),
    "exp": _elementwise(torch.exp),
    "log": _elementwise(torch.log),
    "sqrt": _elementwise(torch.sqrt),
    "rsqrt": _elementwise(torch.rsqrt),
    "square": _elementwise(torch.square),
    "tanh": _elementwise(torch.tanh),
    "integer_pow": lambda x, y, **_: x**y,
    "stop_gradient": _elementwise(torch.detach),
    "reshape": lambda x, new_sizes, **_: x.reshape(tuple(new_sizes)),
    "squeeze": lambda x, dimensions, **_: x.squeeze(tuple(dimensions)),
    "transpose": lambda x, permutation, **_: x.permute(tuple(permutation)),
    "concatenate": lambda *xs, dimension, **_: torch.cat(xs, dimension),
    "reduce_sum": lambda x, axes, **_: x.sum(tuple(axes)) if axes else x,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "conv_general_dilated": _convolution,
    "reduce_window_max": _max_windows,
    "reduce_window_sum": _sum_windows,
    "dot_general": _product,
    "convert_element_type": _convert,
}


def gradients(traced: core.ClosedJaxpr, params: Any, precision: torch.dtype) -> tuple[float, Any]:
    """A traced loss and its gradient by each leaf of `params`, as NumPy arrays, all by PyTorch."""
    leaves, structure = jax.tree.flatten(params)
    tensors = [as_tensor(leaf, precision).clone().requires_grad_() for leaf in leaves]
    (value,) = closed(traced, tensors, precision)
    value.backward()
    found = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in tensors]
    return value.item(), jax.tree.unflatten(structure, found)
