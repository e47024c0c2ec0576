"""The network cut at its nonlinearities: the same numbers, and a clear no where it is no chain."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from rich.console import Console

from helpers.runs import assert_same, configure
from helpers.sampling import sampled
from helpers.short import SHORT
from physjax.config import ConfigError, ModelConfig
from physjax.errors import Interrupted
from physjax.models import MODELS, Classifier, ModelSpec, build, init_variables
from physjax.rules.chain import NoChain, cut
from physjax.train.callbacks import Callback
from physjax.train.choices import resolve_choices
from physjax.train.loop import fit
from physjax.train.trainer import Trainer

pytestmark = pytest.mark.quick_compile


def passes(model: Classifier, seed: int = 0) -> tuple[Any, Any]:
    """(params, nonlinearity) -> logits in training, on noise; and the parameters."""
    images = jnp.asarray(np.random.default_rng(seed).normal(size=(4, 32, 32, 3)), jnp.float32)
    variables = init_variables(model, jax.random.key(0), 32)

    def run(params: Any, activation: Any) -> jax.Array:
        logits, _ = model.clone(activation=activation).apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )
        return logits

    return run, variables["params"]


@pytest.mark.parametrize(
    ("name", "law", "fields"),
    sampled(
        [
            ("cnn", "ring", {}),
            ("alexnet", "divisive", {"activation": "gelu"}),
            ("vgg5", "none", {"norm": "none"}),
            ("vgg11", "lrn", {"pool_first": True}),
            ("speedrun", "spring", {"activation": "celu"}),
        ],
        *("alexnet", "speedrun"),
    ),
)
def test_layer_by_layer_is_the_ordinary_pass(name: str, law: str, fields: dict[str, Any]) -> None:
    """Dropout and the statistics of batch norm included."""
    config = ModelConfig(name, law=law, width=0.1, dropout=0.3, algorithm="direct", **fields)
    model = build(config, 7).clone(**SHORT.get(name, {}))
    run, params = passes(model)
    chain = cut(run, model.activation, params)
    layers = len([name for name in params if isinstance(params[name], dict)])
    assert len(chain) == layers
    read = sorted(i for layer in chain.layers for i in layer.leaves)
    assert set(read) == set(range(len(jax.tree.leaves(params))))

    @jax.jit
    def by_layers(params: Any) -> jax.Array:
        leaves, below = jax.tree.leaves(params), None
        for k in range(len(chain)):
            below = chain.state(k, chain.drive(k, leaves, below))
        return below[0]

    expected = jax.jit(run, static_argnums=1)(params, model.activation)
    np.testing.assert_allclose(by_layers(params), expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected) > 0.01


def test_a_chain_of_one_base_reads_the_state_below_and_nothing_else() -> None:
    model = build(ModelConfig("cnn", width=0.1, dropout=0.0, algorithm="direct"), 7)
    run, params = passes(model)
    chain = cut(run, model.activation, params)
    shapes = jax.eval_shape(partial(chain.drive, 0), jax.tree.leaves(params), None)
    below = chain.state(0, jnp.ones(shapes.shape))
    one, two = (
        chain.drive(1, jax.tree.leaves(params), jnp.concatenate([below, factor * below]))
        for factor in (1.0, 2.0)
    )
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[0], one[1])
    assert np.any(one[1] != two[1])


@pytest.mark.parametrize("model", ["resnet20", "googlenet", "densenet"])
def test_a_base_that_is_no_chain_is_refused_with_those_that_are(model: str) -> None:
    config = configure(
        Path("runs"),
        model={"name": model, "dropout": 0.0},
        rule={"update_rule": "equilibrium-propagation"},
    )
    with pytest.raises(ConfigError) as refused:
        resolve_choices(config)
    text = str(refused.value)
    assert f"which model '{model}' is not: its layer " in text
    listed = text.split("choose one of ")[1].split(", ")
    assert listed == ["cnn", "alexnet", "physics", "vgg5", "vgg11", "vgg16", "speedrun"]


def test_bf16_is_refused() -> None:
    config = configure(
        Path("runs"),
        rule={"update_rule": "coupled-learning"},
        run={"precision": "bf16"},
    )
    with pytest.raises(ConfigError, match="leave it at --precision float32"):
        resolve_choices(config)


class Bare(Classifier):
    """A network with a nonlinearity of its own."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        x = self.layer(4, activation=nn.relu, strides=8, source=True, name="conv")(images, train)
        return self.head(x.mean(axis=(1, 2)), name="fc")


def test_a_base_with_a_nonlinearity_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "bare", ModelSpec("bare", "bare", {"cifar": Bare}, {"cifar": 32}))
    model = build(ModelConfig("bare", law="none", algorithm="direct"), 3)
    with pytest.raises(NoChain, match="asks for no nonlinearity by its attribute `activation`"):
        cut(*(lambda run, params: (run, nn.relu, params))(*passes(model)))


class Stop(Callback):
    """Ends the session after a step."""

    interval = 0.0

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step(self, trainer: Trainer, metrics: Any) -> None:
        if trainer.step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)


RULE = {"update_rule": "equilibrium-propagation", "scheme": "random", "rounds": 3}


def test_a_run_that_settles_resumes_bit_for_bit(tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    parts: dict[str, Any] = {"rule": RULE, "model": {"law": "ring", "dropout": 0.2}}
    fit(configure(tmp_path / "whole", **parts), console=quiet)
    stopped = configure(tmp_path / "stopped", **parts)
    with pytest.raises(Interrupted):
        fit(stopped, console=quiet, callbacks=[Stop(13)])
    fit(stopped, console=quiet)
    assert_same(tmp_path / "stopped" / "run", tmp_path / "whole" / "run")
