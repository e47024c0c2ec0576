"""The convolution that every layer uses, by the algorithm that is fastest.

XLA's convolutions are the best there is on GPU and TPU. On CPU they are slow, above all the
kernel gradient, so there `physjax.ops.conv_algorithm` chooses among three algorithms when a step is
traced:

- ``direct``: `lax.conv_general_dilated`;
- ``patch``: slices of the input side by side (im2col), and one matrix product;
- ``winograd2``, ``winograd4``: F(2x2, 3x3) and F(4x4, 3x3) of `physjax.ops.winograd`.

What was lowered for another platform than the CPU has nothing but direct convolutions, whatever
the algorithm, also when a process without such a device lowered it.

Gradients can be differentiated again, in reverse mode (grad of grad) and in forward mode
(Hessian-vector products, `jax.hessian`). Forward mode on the convolution itself (`jax.jvp`,
`jax.linearize`) works where all of a plan is direct; otherwise it raises JAX's TypeError about
custom_vjp functions. A derivative along a direction then comes from two reverse passes, which
works through every layer of physjax, pools and force laws too (docs/laws.md shows the two lines).

The batch may be a symbol of `jax.export`; "auto" then chooses as for a batch of 128.

An XLA:CPU direct convolution inside a loop body (`lax.scan`) is hundreds of times slower than
outside one; the other algorithms, being matrix products, scan at full speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from physjax.ops import winograd
from physjax.ops.conv_algorithm import (
    TRANSFORMS,
    Algorithm,
    Padding,
    Plan,
    checked,
    choose,
    output_size,
)
from physjax.ops.winograd import Pads

_NHWC = ("NHWC", "HWIO", "NHWC")


@dataclass(frozen=True)
class _Layer:
    """What is static in one convolution."""

    plan: Plan
    input_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    strides: tuple[int, int]
    pads: Pads


def conv(
    images_NHWC: Array,
    kernel_HWIO: Array,
    *,
    strides: Sequence[int] = (1, 1),
    padding: Padding = "SAME",
    algorithm: Algorithm = "auto",
) -> Array:
    """Two-dimensional convolution (cross-correlation, as everywhere in deep learning).

    Args:
      images_NHWC: batch, height, width, channels.
      kernel_HWIO: height, width, input channels, output channels; the images' dtype.
      strides: down and across, each at least 1.
      padding: "SAME", "VALID", the number of zeros on every side, or ((top, bottom),
        (left, right)).
      algorithm: "auto" chooses by platform and shape; the others force one algorithm on the CPU.

    Returns:
      Array [N, H', W', O] of the images' dtype. bfloat16 and float16 are computed in float32
      where the algorithm is not direct.

    Raises:
      ValueError: shapes, strides, padding or algorithm that do not fit; the message names them.
    """
    if images_NHWC.dtype != kernel_HWIO.dtype:
        raise ValueError(
            f"conv: images are {images_NHWC.dtype}, the kernel is {kernel_HWIO.dtype}; cast one"
        )
    plan = choose(images_NHWC.shape, kernel_HWIO.shape, strides, padding, algorithm)
    strides, pads = checked(images_NHWC.shape, kernel_HWIO.shape, strides, padding)
    layer = _Layer(plan, images_NHWC.shape, kernel_HWIO.shape, strides, pads)
    if plan == Plan():
        return _direct_forward(layer, images_NHWC, kernel_HWIO)
    return _chosen(layer, images_NHWC, kernel_HWIO)


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
    """[N, H', W', kernel height * width * C]: the input below each kernel position."""
    height, width, _, _ = layer.kernel_shape
    down, across = layer.strides
    out_h, out_w = output_size(x_NHWC.shape, layer.kernel_shape, layer.strides, layer.pads)
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
    algorithm: str,
    layer: _Layer,
    direct: Callable,
    patch: Callable,
    wino: Callable,
    *operands: Array,
) -> Array:
    """One of the three maps, by `algorithm` on the CPU and directly everywhere else."""
    direct = partial(direct, layer)
    if algorithm == "direct":
        return direct(*operands)

    def on_cpu(*operands: Array) -> Array:
        dtype = operands[0].dtype
        wide = [v.astype(jnp.promote_types(dtype, jnp.float32)) for v in operands]
        if algorithm == "patch":
            return patch(layer, *wide).astype(dtype)
        return wino(*wide, layer.pads, TRANSFORMS[algorithm]).astype(dtype)

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
