"""The table of layers that `--summary` prints."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from physjax.config import ModelConfig
from physjax.models import build, image_size
from physjax.models.summary import layer_table, summary

pytestmark = pytest.mark.quick_compile


@pytest.mark.parametrize("name", ["cnn", "googlenet", "densenet"])
def test_layers_add_up_and_running_statistics_are_not_among_the_parameters(name: str) -> None:
    config = ModelConfig(name, width=0.125, norm="batch", algorithm="direct")
    *layers, whole = layer_table(config, 10)
    size = image_size(config)
    model = build(config, 10)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    counts = {kind: sum(x.size for x in jax.tree.leaves(tree)) for kind, tree in variables.items()}
    assert whole.parameters == sum(layer.parameters for layer in layers) == counts["params"]
    assert whole.statistics == sum(layer.statistics for layer in layers) == counts["batch_stats"]
    assert whole.statistics > 0
    assert whole.output == (10,)
    # The rest is in what stands between the layers: pools and the like.
    assert 0.5 * whole.flops < sum(layer.flops for layer in layers) <= 1.01 * whole.flops


def test_the_flops_of_a_layer_are_those_of_its_products() -> None:
    first = layer_table(ModelConfig("cnn", norm="none", law="none", width=0.125), 10)[0]
    # A product and a sum for each tap, and the bias, before the pool.
    usual = 32 * 32 * first.output[-1] * (2 * 3 * 3 * 3 + 1)
    assert first.flops == pytest.approx(usual, rel=0.1)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_it_fits_the_terminal_and_cuts_nothing(width: int) -> None:
    config = ModelConfig("alexnet", width=0.25)
    text = summary(config, 10, 128, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for layer in layer_table(config, 10) if width >= 60 else ():
        parts = [str(list(layer.output)), f"{layer.parameters:,}", f"{layer.flops:,}"]
        assert any(all(part in line for part in parts) for line in text.splitlines())
