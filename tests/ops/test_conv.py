"""Every way of computing a convolution against the direct one in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import Array, export, lax

from physjax.ops import winograd
from physjax.ops.conv import conv
from physjax.ops.conv_algorithm import Plan, choose

# Largest error in float32, in units of the root mean square of what is computed.
TOLERANCE = {"direct": 1e-5, "patch": 1e-5, "winograd2": 3e-5, "winograd4": 3e-4}
ALGORITHMS = list(TOLERANCE)


def arrays(*shapes: Sequence[int], seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


EXACT: dict[Any, list[np.ndarray]] = {}


def exact(
    x: Array, w: Array, dy: Array, strides: tuple[int, int], padding: Any
) -> list[np.ndarray]:
    """The output and both gradients in float64, by lax; kept for the other methods' turns."""
    x64, w64, dy64 = (np.asarray(v, np.float64) for v in (x, w, dy))
    shapes = (x64.shape, w64.shape, dy64.shape)
    known = (x64.tobytes(), w64.tobytes(), shapes, strides, padding)
    if known not in EXACT:

        @jax.jit
        def direct(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
            numbers = ("NHWC", "HWIO", "NHWC")
            y, back = jax.vjp(
                lambda x, w: lax.conv_general_dilated(
                    x, w, strides, padding, dimension_numbers=numbers
                ),
                x,
                w,
            )
            return (y, *back(dy))

        with jax.enable_x64(True):
            EXACT[known] = [np.asarray(v) for v in direct(x64, w64, dy64)]
    return EXACT[known]


def assert_exact_enough(
    algorithm: str, x: Array, w: Array, strides: tuple[int, int] = (1, 1), padding: Any = "SAME"
) -> None:
    @jax.jit
    def ours(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        y, back = jax.vjp(
            lambda x, w: conv(x, w, strides=strides, padding=padding, algorithm=algorithm), x, w
        )
        return (y, *back(dy))

    shape = jax.eval_shape(lambda: conv(x, w, strides=strides, padding=padding)).shape
    (dy,) = arrays(shape, seed=1)
    expected = exact(x, w, dy, strides, padding)
    for name, got, want in zip(("y", "dx", "dw"), ours(x, w, dy), expected, strict=True):
        assert got.shape == want.shape
        assert got.dtype == jnp.float32
        error = np.abs(np.asarray(got) - want).max() / np.sqrt((want**2).mean())
        assert error < TOLERANCE.get(algorithm, TOLERANCE["winograd4"]), (
            f"{algorithm} {name} is off by {error:.1e}"
        )


side = st.integers(0, 2)
pads = st.tuples(st.tuples(side, side), st.tuples(side, side))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(derandomize=True, deadline=None, max_examples=3)
@given(
    batch=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(3, 11), st.integers(3, 11)),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    padding=st.one_of(st.sampled_from(["SAME", "VALID"]), pads),
)
@example(batch=1, size=(5, 9), channels=(1, 1), padding="SAME")
@example(batch=1, size=(4, 7), channels=(512, 3), padding="SAME")
@example(batch=1, size=(9, 4), channels=(3, 512), padding=((4, 3), (0, 5)))
def test_output_and_gradients_of_3x3_kernels(
    algorithm: str, batch: int, size: tuple[int, int], channels: tuple[int, int], padding: Any
) -> None:
    x, w = arrays((batch, *size, channels[0]), (3, 3, *channels))
    assert_exact_enough(algorithm, x, w, padding=padding)


@pytest.mark.parametrize("algorithm", ["auto", "patch"])
@settings(derandomize=True, deadline=None, max_examples=4)
@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.one_of(st.sampled_from(["SAME", "VALID"]), pads),
)
@example(size=(8, 8), kernel=(1, 1), strides=(2, 2), padding="SAME")
def test_other_kernels_and_strides(
    algorithm: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: Any,
) -> None:
    x, w = arrays((2, *size, 5), (*kernel, 5, 7))
    assert_exact_enough(algorithm, x, w, strides, padding)


@pytest.mark.parametrize("shape", [(17, 8, 8, 50), (8, 6, 6, 64), (2, 32, 32, 3), (8, 16, 16, 12)])
def test_auto_is_exact_enough(shape: tuple[int, ...]) -> None:
    x, w = arrays(shape, (3, 3, shape[-1], 64))
    assert choose(x.shape, w.shape, platform="cpu") != Plan()
    assert_exact_enough("auto", x, w)


@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4"])
def test_a_few_images_at_a_time(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output and gradients, and gradients of these, of a batch that is taken in a loop."""
    x, w = arrays((12, 9, 7, 5), (3, 3, 5, 6))

    def slopes(x: Array, w: Array) -> tuple[Array, Array]:
        return jax.grad(loss, (0, 1))(x, w, algorithm)

    def loops() -> int:
        # A function of its own: JAX keeps the program of one that it has seen.
        return str(jax.make_jaxpr(lambda *at: slopes(*at))(x, w)).count("scan[")

    def second_slopes() -> tuple[Array, Array]:
        squares = jax.grad(lambda *at: sum((s**2).sum() for s in slopes(*at)), (0, 1))
        return jax.jit(squares)(x, w)

    assert loops() == 0
    whole = second_slopes()
    # A few images, whose tiles take 10 to 14 kB each.
    monkeypatch.setattr(winograd, "_PIECE_BYTES", 60_000)
    assert loops() == 3
    assert_exact_enough(algorithm, x, w)
    for got, want in zip(second_slopes(), whole, strict=True):
        error = jnp.abs(got - want).max() / jnp.sqrt((want**2).mean())
        assert error < TOLERANCE[algorithm]


@pytest.mark.parametrize(
    ("images", "side", "channels", "at_a_time"),
    [
        (250, 16, (64, 192), 5),
        # A loop that reads 11 MB of kernels takes as many bytes of images.
        (250, 8, (192, 384), 25),
        (4, 16, (64, 192), 4),
        # No divisor is near eight.
        (251, 16, (64, 192), 251),
        (6, 224, (64, 64), 1),
    ],
)
def test_how_many_images_at_a_time(
    images: int, side: int, channels: tuple[int, int], at_a_time: int
) -> None:
    output, kernels = (images, side, side, channels[1]), (36, *channels)
    assert winograd._images_at_a_time(output, kernels, winograd.F4) == at_a_time
    # XLA splits a batch over the devices of a mesh, and no loop over it.
    with jax.set_mesh(jax.make_mesh((1,), ("batch",), (jax.sharding.AxisType.Auto,))):
        assert winograd._images_at_a_time(output, kernels, winograd.F4) == images


def loss(x: Array, w: Array, algorithm: str) -> Array:
    return jnp.sin(conv(x, w, algorithm=algorithm)).sum()


@pytest.mark.parametrize("algorithm", ["patch", "winograd4"])
def test_vmap_over_images_and_over_kernels(algorithm: str) -> None:
    x, w = arrays((2, 2, 5, 6, 3), (2, 3, 3, 3, 4))
    gradient = jax.grad(loss, (0, 1))
    one = jax.jit(lambda x, w: gradient(x, w, algorithm))
    both = jax.jit(jax.vmap(one))(x, w)
    shared = jax.jit(jax.vmap(one, (0, None)))(x, w[0])
    for i in range(2):
        for got, want in zip(both, one(x[i], w[i]), strict=True):
            np.testing.assert_allclose(got[i], want, atol=2e-4)
        for got, want in zip(shared, one(x[i], w[0]), strict=True):
            np.testing.assert_allclose(got[i], want, atol=2e-4)


@pytest.mark.parametrize("algorithm", ["patch", "winograd4"])
def test_pmap_is_jit_on_each_device(algorithm: str) -> None:
    devices = jax.local_device_count()
    x, w = arrays((devices, 1, 8, 8, 3), (3, 3, 3, 4))

    def gradient(x: Array, w: Array) -> Array:
        return lax.pmean(jax.grad(loss, 1)(x, w, algorithm), "devices")

    mapped = jax.pmap(gradient, axis_name="devices", in_axes=(0, None))(x, w)
    whole = jax.jit(lambda x, w: jax.grad(loss, 1)(x, w, algorithm) / devices)(x[:, 0], w)
    for part in mapped:
        np.testing.assert_allclose(part, whole, atol=1e-4)


@pytest.mark.parametrize("algorithm", ["patch", "winograd4"])
def test_derivatives_of_the_gradient(algorithm: str) -> None:
    x, w, x_dot, w_dot = arrays((1, 5, 6, 3), (3, 3, 3, 4), (1, 5, 6, 3), (3, 3, 3, 4))

    def forward(x: Array, w: Array, algorithm: str) -> tuple[Array, Array]:
        gradient = jax.grad(loss, (0, 1))
        return jax.jvp(lambda x, w: gradient(x, w, algorithm), (x, w), (x_dot, w_dot))[1]

    def reverse(x: Array, w: Array, algorithm: str) -> tuple[Array, Array]:
        def slope(x: Array, w: Array) -> Array:
            dx, dw = jax.grad(loss, (0, 1))(x, w, algorithm)
            return (dx * x_dot).sum() + (dw * w_dot).sum()

        return jax.grad(slope, (0, 1))(x, w)

    expected = jax.jit(forward, static_argnums=2)(x, w, "direct")
    for derivative in (forward, reverse):
        got = jax.jit(derivative, static_argnums=2)(x, w, algorithm)
        for part, want in zip(got, expected, strict=True):
            np.testing.assert_allclose(part, want, atol=1e-3 * float(jnp.abs(want).max()))


def test_forward_mode_works_directly_and_is_refused_otherwise() -> None:
    x, w = arrays((1, 5, 5, 2), (3, 3, 2, 2))
    y_dot = jax.jvp(lambda x: conv(x, w, algorithm="direct"), (x,), (x,))[1]
    np.testing.assert_allclose(y_dot, conv(x, w, algorithm="direct"), atol=1e-5)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda x: conv(x, w, algorithm="winograd4"), (x,), (x,))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_half_precision_keeps_its_dtype_and_its_digits(algorithm: str) -> None:
    x, w = (v.astype(jnp.bfloat16) for v in arrays((2, 8, 8, 32), (3, 3, 32, 8)))
    dy = arrays((2, 8, 8, 8), seed=1)[0].astype(jnp.bfloat16)

    @jax.jit
    def ours(x: Array, w: Array, dy: Array) -> tuple[Array, ...]:
        y, back = jax.vjp(lambda x, w: conv(x, w, algorithm=algorithm), x, w)
        return (y, *back(dy))

    for value, want in zip(ours(x, w, dy), exact(x, w, dy, (1, 1), "SAME"), strict=True):
        assert value.dtype == jnp.bfloat16
        error = np.abs(np.asarray(value, np.float64) - want).max() / np.sqrt((want**2).mean())
        assert error < 0.05


@pytest.mark.parametrize("platforms", [["cuda"], ["tpu"]])
@pytest.mark.parametrize("algorithm", ["auto", "patch", "winograd2", "winograd4"])
def test_other_platforms_get_the_direct_convolution(platforms: list[str], algorithm: str) -> None:
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 8, 8, 64), (3, 3, 64, 64))]
    step = jax.jit(jax.value_and_grad(lambda x, w: loss(x, w, algorithm), (0, 1)))
    text = export.export(step, platforms=platforms)(*shapes).mlir_module()
    assert text.count("stablehlo.convolution") == 3
    assert "dot_general" not in text


def test_the_cpu_gets_no_convolution() -> None:
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 8, 8, 64), (3, 3, 64, 64))]
    step = jax.jit(jax.value_and_grad(lambda x, w: loss(x, w, "winograd4"), (0, 1)))
    text = export.export(step, platforms=["cpu"])(*shapes).mlir_module()
    assert "stablehlo.convolution" not in text
    assert text.count("stablehlo.dot_general") >= 3


@pytest.mark.parametrize("algorithm", ["auto", "patch"])
def test_exported_with_an_open_batch(algorithm: str) -> None:
    """Output and gradients of a batch that is a symbol while the program is made."""
    (batch,) = export.symbolic_shape("b")
    w = arrays((3, 3, 64, 32))[0]
    step = jax.jit(jax.value_and_grad(lambda x: loss(x, w, algorithm)))
    made = export.export(step)(jax.ShapeDtypeStruct((batch, 7, 8, 64), jnp.float32))

    assert "stablehlo.convolution" not in made.mlir_module()
    for size in (1, 3):
        x = arrays((size, 7, 8, 64), seed=size)[0]
        for got, want in zip(made.call(x), step(x), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=0.01)


@pytest.mark.parametrize("kernel", [(1, 1), (5, 5), (3, 1)])
def test_winograd_refuses_other_kernels(kernel: tuple[int, int]) -> None:
    x, w = arrays((1, 8, 8, 2), (*kernel, 2, 2))
    with pytest.raises(ValueError, match=f"winograd4.*{kernel[0]}x{kernel[1]}.*'auto'"):
        conv(x, w, algorithm="winograd4")
    with pytest.raises(ValueError, match=r"strides \(1, 1\), not 3x3 with \(2, 2\)"):
        conv(x, arrays((3, 3, 2, 2))[0], strides=(2, 2), algorithm="winograd2")


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ((3, 3, 2, 2), {"padding": "FULL"}, "padding='FULL'"),
        ((3, 3, 2, 2), {"padding": -1}, "padding=-1"),
        ((3, 3, 2, 2), {"padding": (1, 1)}, r"padding=\(1, 1\)"),
        ((3, 3, 2, 2), {"padding": ((0, 0), (-1, 0))}, "padding="),
        ((3, 3, 2, 2), {"strides": (0, 1)}, r"strides=\(0, 1\)"),
        ((3, 3, 2, 2), {"strides": (1, 1, 1)}, r"strides=\(1, 1, 1\)"),
        ((3, 3, 5, 2), {}, "2 channels, the kernel .* takes 5"),
        ((3, 3, 2), {}, "4 axes"),
        ((9, 9, 2, 2), {"padding": "VALID"}, "larger than the images"),
        ((3, 3, 2, 2), {"algorithm": "fft"}, "algorithm='fft'"),
    ],
)
def test_what_does_not_fit_is_named(
    kernel: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    x, w = arrays((1, 8, 8, 2), kernel)
    with pytest.raises(ValueError, match=message):
        conv(x, w, **options)


def test_two_dtypes_are_refused() -> None:
    x, w = arrays((1, 8, 8, 2), (3, 3, 2, 2))
    with pytest.raises(ValueError, match="bfloat16"):
        conv(x.astype(jnp.bfloat16), w)
