"""The way of computing a convolution, by platform and shape."""

from __future__ import annotations

import pytest

from physjax.ops.conv_algorithm import Plan, choose


def test_choose_depends_on_platform_and_shape() -> None:
    assert choose((128, 8, 8, 256), (3, 3, 256, 256), platform="cpu") != Plan()
    for platform in ("gpu", "tpu"):
        assert choose((128, 8, 8, 256), (3, 3, 256, 256), platform=platform) == Plan()
        forced = choose((1, 8, 8, 2), (3, 3, 2, 2), algorithm="winograd4", platform=platform)
        assert forced == Plan()
    forced = choose((1, 8, 8, 2), (3, 3, 2, 2), algorithm="winograd2", platform="cpu")
    assert str(forced) == "winograd2"
    assert str(Plan()) == "direct"
    assert str(Plan("direct", "patch", "patch")) == "direct/patch/patch"


@pytest.mark.parametrize(
    ("images", "kernel", "strides", "plan"),
    [
        ((128, 32, 32, 3), (3, 3, 3, 64), 1, "patch"),
        ((128, 16, 16, 64), (3, 3, 64, 192), 1, "winograd4"),
        ((128, 8, 8, 256), (3, 3, 256, 256), 1, "winograd4"),
        ((8, 4, 4, 512), (3, 3, 512, 512), 1, "winograd2"),
        ((128, 6, 6, 128), (3, 3, 128, 128), 1, "winograd2"),
        ((128, 2, 2, 512), (3, 3, 512, 512), 1, "winograd2"),
        ((16, 2, 2, 512), (3, 3, 512, 512), 1, "patch"),
        ((128, 2, 2, 8), (3, 3, 8, 8), 1, "patch"),
        ((128, 3, 3, 256), (3, 3, 256, 512), 2, "patch"),
        ((128, 16, 16, 32), (3, 3, 32, 64), 1, "winograd4"),
        ((1, 8, 8, 256), (3, 3, 256, 256), 1, "patch"),
        ((128, 16, 16, 16), (3, 3, 16, 32), 1, "direct/direct/winograd4"),
        ((128, 8, 8, 256), (1, 1, 256, 512), 2, "patch"),
        ((128, 8, 8, 256), (3, 3, 256, 512), 2, "direct/direct/patch"),
        ((128, 224, 224, 3), (11, 11, 3, 64), 4, "direct"),
        ((128, 27, 27, 64), (5, 5, 64, 192), 1, "direct"),
        ((128, 27, 27, 128), (5, 5, 128, 192), 1, "direct/direct/patch"),
    ],
)
def test_the_measured_choice_on_a_cpu(
    images: tuple[int, ...], kernel: tuple[int, ...], strides: int, plan: str
) -> None:
    assert str(choose(images, kernel, (strides, strides), platform="cpu")) == plan
