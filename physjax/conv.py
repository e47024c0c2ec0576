"""The convolution that every layer uses, and the way it is computed.

XLA's convolutions are the best there is on GPU and TPU. On CPU they are slow, above all the
gradient by the kernel, so there `conv` chooses among three ways by the shapes, at trace time:

- ``direct``: `lax.conv_general_dilated`;
- ``patch``: slices of the input side by side (im2col), and one matrix product;
- ``winograd2``, ``winograd4``: F(2x2, 3x3) and F(4x4, 3x3) of `physjax.winograd`.

The output, the gradient by the input and the gradient by the kernel are chosen for separately:
a `Plan`. What was lowered for another platform than the CPU has nothing but direct convolutions,
whatever the method, also when a process without such a device lowered it.

Gradients can be differentiated again, in reverse mode (grad of grad) and in forward mode
(Hessian-vector products, `jax.hessian`). Forward mode on the convolution itself (`jax.jvp`,
`jax.linearize`) works where all of a plan is direct; otherwise it raises JAX's TypeError about
custom_vjp functions, and method="direct" is the way out.

An XLA:CPU direct convolution inside a loop body (`lax.scan`) is hundreds of times slower than
outside one; the other ways, being matrix products, scan at full speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array, lax

from physjax import winograd
from physjax.winograd import Pads

Method = Literal["auto", "direct", "patch", "winograd2", "winograd4"]
Padding = str | int | Sequence[tuple[int, int]]

_NHWC = ("NHWC", "HWIO", "NHWC")
_TRANSFORMS = {"winograd2": winograd.F2, "winograd4": winograd.F4}


@dataclass(frozen=True)
class Plan:
    """How each of the three convolutions of a layer is computed: names as in `Method`."""

    forward: str = "direct"
    input_gradient: str = "direct"
    kernel_gradient: str = "direct"

    def __str__(self) -> str:
        parts = (self.forward, self.input_gradient, self.kernel_gradient)
        return parts[0] if len(set(parts)) == 1 else "/".join(parts)


@dataclass(frozen=True)
class _Layer:
    """What is static in one convolution."""

    plan: Plan
    input_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    strides: tuple[int, int]
    pads: Pads


def choose(
    input_shape: Sequence[int],
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    padding: Padding = "SAME",
    method: Method = "auto",
    platform: str | None = None,
) -> Plan:
    """How `conv` computes a convolution: a pure function of its arguments, for summaries too.

    Args:
        input_shape: N, H, W, C.
        kernel_shape: H, W, I, O.
        strides, padding, method: as in `conv`.
        platform: "cpu", "gpu", "tpu"; None: JAX's default backend.

    Raises:
        ValueError: as `conv` does.
    """
    strides, pads = _checked(input_shape, kernel_shape, strides, padding)
    if method not in get_args(Method):
        raise ValueError(f"conv: method={method!r}, but it is one of {get_args(Method)}")
    if method in _TRANSFORMS and not winograd.applies(kernel_shape, strides):
        raise ValueError(
            f"conv: method={method!r} computes 3x3 kernels with strides (1, 1), not "
            f"{kernel_shape[0]}x{kernel_shape[1]} with {strides}; use 'auto', 'patch' or 'direct'"
        )
    if (platform or jax.default_backend()) != "cpu":
        return Plan()
    if method != "auto":
        return Plan(method, method, method)
    out_h, out_w = _output_size(input_shape, kernel_shape, strides, pads)
    return _measured(input_shape[0], kernel_shape, strides, out_h, out_w)


# The table: limits between the ways, read off `benchmarks/conv.py` on 2 cores of an AMD EPYC
# (Zen 4) with jaxlib 0.10.2, and malloc as `physjax.runtime` has it.
_FEW_TAPS = 48
"""Kernel height * width * channels up to which a matrix product over patches wins: first layers."""
_FEW_PIXELS = 4
"""Output pixels up to which XLA's direct 3x3 convolution is up to 100 times slower than others."""
_F2_ROWS, _F4_ROWS = 32, 64
"""Tiles in a batch from which a transformed kernel is worth its making."""
_GRADIENT_CHANNELS, _FORWARD_CHANNELS = 9, 20
"""C O / (C + O), products over transforms, from which Winograd beats the direct kernel gradient
(which XLA does worst), and the direct output and input gradient."""
_PATCH_GRADIENT_CHANNELS = 128
"""Channels from which other kernels' gradient is better over patches."""


def _measured(
    batch: int, kernel_shape: Sequence[int], strides: tuple[int, int], out_h: int, out_w: int
) -> Plan:
    height, width, channels, features = kernel_shape
    patch = Plan("patch", "patch", "patch")
    taps = height * width
    if taps == 1 or taps * channels <= _FEW_TAPS:
        return patch
    small = taps <= 9 and out_h * out_w <= _FEW_PIXELS
    if not winograd.applies(kernel_shape, strides):
        many = channels >= _PATCH_GRADIENT_CHANNELS
        return patch if small else Plan(kernel_gradient="patch" if many else "direct")
    products = channels * features / (channels + features)
    tiles2, tiles4 = (-(-out_h // m) * -(-out_w // m) for m in (2, 4))
    if products < _GRADIENT_CHANNELS or batch * tiles2 < _F2_ROWS:
        return patch if small or products >= _FORWARD_CHANNELS else Plan()
    # Multiplications are 16 for a tile of F2 and 36 for one of F4. F2 where they are equal: it is
    # the more exact one.
    four = batch * tiles4 >= _F4_ROWS and 36 * tiles4 < 16 * tiles2
    way = "winograd4" if four else "winograd2"
    if products < _FORWARD_CHANNELS and not small:
        return Plan(kernel_gradient=way)
    return Plan(way, way, way)


def conv(
    images_NHWC: Array,
    kernel_HWIO: Array,
    *,
    strides: Sequence[int] = (1, 1),
    padding: Padding = "SAME",
    method: Method = "auto",
) -> Array:
    """Two-dimensional convolution (cross-correlation, as everywhere in deep learning).

    Args:
        images_NHWC: batch, height, width, channels.
        kernel_HWIO: height, width, input channels, output channels; the images' dtype.
        strides: down and across, each at least 1.
        padding: "SAME", "VALID", the number of zeros on every side, or ((top, bottom),
            (left, right)).
        method: "auto" chooses by platform and shape; the others force one way on the CPU.

    Returns:
        Array (N, H', W', O) of the images' dtype. bfloat16 and float16 are computed in float32
        where the way is not direct.

    Raises:
        ValueError: shapes, strides, padding or method that do not fit; the message names them.
    """
    if images_NHWC.dtype != kernel_HWIO.dtype:
        raise ValueError(
            f"conv: images are {images_NHWC.dtype}, the kernel is {kernel_HWIO.dtype}; cast one"
        )
    plan = choose(images_NHWC.shape, kernel_HWIO.shape, strides, padding, method)
    strides, pads = _checked(images_NHWC.shape, kernel_HWIO.shape, strides, padding)
    layer = _Layer(plan, images_NHWC.shape, kernel_HWIO.shape, strides, pads)
    if plan == Plan():
        return _direct_forward(layer, images_NHWC, kernel_HWIO)
    return _chosen(layer, images_NHWC, kernel_HWIO)


def _checked(
    input_shape: Sequence[int], kernel_shape: Sequence[int], strides: Any, padding: Any
) -> tuple[tuple[int, int], Pads]:
    """Strides and padding in one form, or a ValueError."""
    if len(input_shape) != 4 or len(kernel_shape) != 4:
        raise ValueError(
            f"conv: images NHWC and a kernel HWIO have 4 axes each, got shapes "
            f"{tuple(input_shape)} and {tuple(kernel_shape)}"
        )
    if input_shape[3] != kernel_shape[2]:
        raise ValueError(
            f"conv: images {tuple(input_shape)} have {input_shape[3]} channels, the kernel "
            f"{tuple(kernel_shape)} takes {kernel_shape[2]}"
        )
    if min(kernel_shape) < 1:
        raise ValueError(f"conv: kernel shape {tuple(kernel_shape)} has an empty axis")
    strides = (strides, strides) if isinstance(strides, int) else tuple(strides)
    if len(strides) != 2 or min(strides) < 1:
        raise ValueError(f"conv: strides={strides}, but they are two integers of at least 1")
    pads = _pads(input_shape, kernel_shape, strides, padding)
    size = _output_size(input_shape, kernel_shape, strides, pads)
    if min(size) < 1:
        raise ValueError(
            f"conv: kernel {tuple(kernel_shape)} with padding={padding!r} is larger than the "
            f"images {tuple(input_shape)}; pad more or take a smaller kernel"
        )
    return strides, pads


def _pads(
    input_shape: Sequence[int], kernel_shape: Sequence[int], strides: tuple[int, int], padding: Any
) -> Pads:
    if isinstance(padding, str) and padding in ("SAME", "VALID"):
        down, across = lax.padtype_to_pads(input_shape[1:3], kernel_shape[:2], strides, padding)
        return (int(down[0]), int(down[1])), (int(across[0]), int(across[1]))
    if isinstance(padding, int) and padding >= 0:
        return (padding, padding), (padding, padding)
    if isinstance(padding, Sequence) and not isinstance(padding, str) and len(padding) == 2:
        pairs = [tuple(p) if isinstance(p, Sequence) else () for p in padding]
        if all(len(p) == 2 and all(isinstance(v, int) and v >= 0 for v in p) for p in pairs):
            return pairs[0], pairs[1]
    raise ValueError(
        f'conv: padding={padding!r}, but it is "SAME", "VALID", an integer of at least 0, or '
        "((top, bottom), (left, right))"
    )


def _output_size(
    input_shape: Sequence[int], kernel_shape: Sequence[int], strides: tuple[int, int], pads: Pads
) -> tuple[int, int]:
    height, width = (
        (size + sum(pad) - kernel) // stride + 1
        for size, pad, kernel, stride in zip(
            input_shape[1:3], pads, kernel_shape[:2], strides, strict=True
        )
    )
    return height, width


# The three bilinear maps, each computed directly.


def _direct_forward(layer: _Layer, x_NHWC: Array, kernel_HWIO: Array) -> Array:
    return lax.conv_general_dilated(
        x_NHWC, kernel_HWIO, layer.strides, layer.pads, dimension_numbers=_NHWC
    )


def _direct_input_gradient(layer: _Layer, dy_NHWC: Array, kernel_HWIO: Array) -> Array:
    x = jax.ShapeDtypeStruct(layer.input_shape, dy_NHWC.dtype)
    forward = partial(_direct_forward, layer, kernel_HWIO=kernel_HWIO)
    return jax.linear_transpose(forward, x)(dy_NHWC)[0]


def _direct_kernel_gradient(layer: _Layer, x_NHWC: Array, dy_NHWC: Array) -> Array:
    kernel = jax.ShapeDtypeStruct(layer.kernel_shape, x_NHWC.dtype)
    return jax.linear_transpose(partial(_direct_forward, layer, x_NHWC), kernel)(dy_NHWC)[0]


# The same as a matrix product over patches.


def _patches(layer: _Layer, x_NHWC: Array) -> Array:
    """(N, H', W', kernel height * width * C): the input below each kernel position."""
    height, width, _, _ = layer.kernel_shape
    down, across = layer.strides
    out_h, out_w = _output_size(x_NHWC.shape, layer.kernel_shape, layer.strides, layer.pads)
    x = jnp.pad(x_NHWC, ((0, 0), *layer.pads, (0, 0)))
    if height == width == 1:
        return x[:, ::down, ::across]
    # First side by side, then on top of each other: longer pieces of memory to copy than all at
    # once, which takes twice as long for the three channels of an image. Without the barriers XLA
    # pads once for each piece.
    x = lax.optimization_barrier(x)
    last_w, last_h = across * (out_w - 1) + 1, down * (out_h - 1) + 1
    beside = [lax.slice_in_dim(x, j, j + last_w, across, axis=2) for j in range(width)]
    rows = lax.optimization_barrier(jnp.concatenate(beside, axis=-1))
    below = [lax.slice_in_dim(rows, i, i + last_h, down, axis=1) for i in range(height)]
    return jnp.concatenate(below, axis=-1)


def _patch_forward(layer: _Layer, x_NHWC: Array, kernel_HWIO: Array) -> Array:
    return _patches(layer, x_NHWC) @ kernel_HWIO.reshape(-1, kernel_HWIO.shape[-1])


def _patch_input_gradient(layer: _Layer, dy_NHWC: Array, kernel_HWIO: Array) -> Array:
    d_patches = dy_NHWC @ kernel_HWIO.reshape(-1, kernel_HWIO.shape[-1]).T
    x = jax.ShapeDtypeStruct(layer.input_shape, dy_NHWC.dtype)
    return jax.linear_transpose(partial(_patches, layer), x)(d_patches)[0]


def _patch_kernel_gradient(layer: _Layer, x_NHWC: Array, dy_NHWC: Array) -> Array:
    patches = _patches(layer, x_NHWC)
    product = patches.reshape(-1, patches.shape[-1]).T @ dy_NHWC.reshape(-1, dy_NHWC.shape[-1])
    return product.reshape(layer.kernel_shape)


def _by_platform(
    way: str, layer: _Layer, direct: Callable, patch: Callable, wino: Callable, *operands: Array
) -> Array:
    """One of the three maps, computed `way` on the CPU and directly everywhere else."""
    direct = partial(direct, layer)
    if way == "direct":
        return direct(*operands)

    def on_cpu(*operands: Array) -> Array:
        dtype = operands[0].dtype
        wide = [v.astype(jnp.promote_types(dtype, jnp.float32)) for v in operands]
        if way == "patch":
            return patch(layer, *wide).astype(dtype)
        return wino(*wide, layer.pads, _TRANSFORMS[way]).astype(dtype)

    # Lowered for one platform this leaves one branch, and it has no gradient of its own: autodiff
    # of a conditional would keep the residuals of both branches.
    return lax.platform_dependent(*operands, cpu=on_cpu, default=direct)


# A derivative rule for the whole, in place of autodiff through Winograd's sums. Both of its halves
# are ordinary functions, which JAX can differentiate once more, in either mode.


def _planned(layer: _Layer, x_NHWC: Array, kernel_HWIO: Array) -> Array:
    maps = (_direct_forward, _patch_forward, winograd.convolve)
    return _by_platform(layer.plan.forward, layer, *maps, x_NHWC, kernel_HWIO)


_chosen = jax.custom_vjp(_planned, nondiff_argnums=(0,))


def _chosen_fwd(layer: _Layer, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    # The residuals are the operands: to transform the input again is cheaper than the memory that
    # the transformed one takes (2.25 times the input for F(4x4, 3x3), 4 times for F(2x2, 3x3)).
    return _planned(layer, x, kernel), (x, kernel)


def _chosen_bwd(layer: _Layer, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    by_input = (_direct_input_gradient, _patch_input_gradient, winograd.input_gradient)
    by_kernel = (_direct_kernel_gradient, _patch_kernel_gradient, winograd.kernel_gradient)
    return (
        _by_platform(layer.plan.input_gradient, layer, *by_input, dy, kernel),
        _by_platform(layer.plan.kernel_gradient, layer, *by_kernel, x, dy),
    )


_chosen.defvjp(_chosen_fwd, _chosen_bwd)
