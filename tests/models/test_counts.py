"""Parameter counts of the originals against the published ones; nothing is compiled."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import pytest

from physjax.config import ConfigError, ModelConfig
from physjax.models import build, get_spec, image_size

Norm = Literal["batch", "none"]
Size = Literal["cifar", "imagenet"]


def shapes(config: ModelConfig, num_classes: int, **changed: Any) -> dict:
    """Shapes of the variables."""
    size = image_size(config)
    model = build(config, num_classes).clone(**changed)
    images = jnp.zeros((1, size, size, 3))
    return jax.eval_shape(lambda key: model.init(key, images), jax.random.key(0))


def parameters(variables: dict) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(variables["params"]))


# torchvision's models of these names; ResNet-20: table 6 of He et al., worked out below.
PUBLISHED: list[tuple[str, Size, Norm, int, int]] = [
    ("alexnet", "imagenet", "none", 1000, 61_100_840),
    ("vgg11", "imagenet", "none", 1000, 132_863_336),
    ("vgg16", "imagenet", "none", 1000, 138_357_544),
    ("googlenet", "imagenet", "batch", 1000, 6_624_904),
    ("resnet18", "imagenet", "batch", 1000, 11_689_512),
    ("densenet", "imagenet", "batch", 1000, 7_978_856),
    ("resnet20", "cifar", "batch", 10, 269_722),
]


@pytest.mark.parametrize(("name", "size", "norm", "classes", "count"), PUBLISHED)
def test_published_counts(name: str, size: Size, norm: Norm, classes: int, count: int) -> None:
    config = ModelConfig(name, size=size, norm=norm, law="none", algorithm="direct")
    assert parameters(shapes(config, classes)) == count


def test_speedrun_by_hand() -> None:
    # The whitening layer, six convolutions, norms without scale, and the dense layer.
    whitening = 2 * 2 * 3 * 24 + 24
    pairs = ((24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256))
    convolutions = sum(9 * a * b + b for a, b in pairs)
    config = ModelConfig("speedrun", law="none", algorithm="direct", norm_scale=False)
    assert parameters(shapes(config, 10)) == whitening + convolutions + 256 * 10 + 10


def test_vgg5_by_hand() -> None:
    pairs = ((3, 128), (128, 256), (256, 512), (512, 512), (512, 512))
    convolutions = sum(9 * a * b + b for a, b in pairs)
    config = ModelConfig("vgg5", norm="none", law="none", algorithm="direct")
    # Four pools leave 2x2 pixels.
    assert parameters(shapes(config, 10)) == convolutions + 2048 * 10 + 10


def test_googlenet_with_auxiliary_heads_has_the_published_count() -> None:
    # torchvision's googlenet with aux_logits=True.
    config = ModelConfig(
        "googlenet", "imagenet", law="none", algorithm="direct", auxiliary_weight=0.3
    )
    assert parameters(shapes(config, 1000)) == 13_004_888


def test_resnet20_by_hand() -> None:
    convolutions = 27 * 16 + 6 * 144 * 16 + (144 + 5 * 288) * 32 + (288 + 5 * 576) * 64
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    assert convolutions + norms + 64 * 10 + 10 == 269_722


def test_densenet_of_100_layers_has_the_published_count() -> None:
    # Table 2 of Huang et al.: DenseNet-BC (L = 100, k = 12) has 0.8M.
    variables = shapes(
        ModelConfig("densenet", law="none", algorithm="direct"), 10, depths=(16, 16, 16)
    )
    assert round(parameters(variables), -5) == 800_000


def test_auxiliary_heads_are_refused_where_there_are_none() -> None:
    with pytest.raises(ConfigError, match=r"0\.3, but model 'vgg11' has no .* or choose googlenet"):
        get_spec(ModelConfig("vgg11", auxiliary_weight=0.3))


def test_resnet20_has_no_original_of_another_size() -> None:
    with pytest.raises(ConfigError, match=r"'resnet20' has no size 'imagenet'; it has cifar"):
        get_spec(ModelConfig("resnet20", size="imagenet"))
