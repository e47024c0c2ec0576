"""Small networks in float64 as a learning rule sees them, for oracles of rules that settle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from helpers.random_params import random_like
from physjax.forces import LAWS
from physjax.models.base import Classifier
from physjax.nn.connection import PLAIN, Connection
from physjax.nn.conv import Conv
from physjax.nn.dense import Dense
from physjax.nn.physics import PhysicsLayer
from physjax.ops.pool import max_pool
from physjax.rules import Network, Outputs

CLASSES = 4


class Small(Classifier):
    """Convolutions, each with a pool, and dense layers on images of 8x8 pixels; logits float64.

    Attributes:
      convolutions: channels of each.
      hidden: units of each hidden dense layer.
      pooled: whether the pools are there.
    """

    convolutions: tuple[int, ...] = (4, 6)
    hidden: tuple[int, ...] = (8,)
    pooled: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for index, features in enumerate(self.convolutions):
            x = self.layer(
                features,
                activation=self.activation,
                pool=partial(max_pool, window=(2, 2)) if self.pooled else None,
                source=index == 0,
                name=f"conv{index}",
            )(x, train)
        x = x.reshape(x.shape[0], -1)
        for index, units in enumerate(self.hidden):
            x = self.activation(self.dense(units, name=f"fc{index}")(self.drop(x, train)))
        return self.dense(self.num_classes, name="out")(x)


DENSE: dict[str, Any] = {"convolutions": (), "hidden": (16, 16, 16, 16)}
"""Fields of a network of five dense layers, which compiles in no time."""


def small(
    law: str = "none",
    norm: bool = False,
    connection: Connection = PLAIN,
    activation: Callable[[jax.Array], jax.Array] = nn.relu,
    **fields: Any,
) -> Small:
    own = {"connection": connection, "dtype": jnp.float64}
    batch_norm = partial(nn.BatchNorm, momentum=0.9, dtype=jnp.float64)
    layer = partial(
        PhysicsLayer, law=LAWS[law], norm=batch_norm if norm else None, algorithm="direct", **own
    )
    return Small(
        num_classes=CLASSES,
        layer=layer,
        convolution=Conv,
        dense=partial(Dense, **own),
        activation=activation,
        **fields,
    )


def network_of(model: Classifier, examples: int = 6, seed: int = 0) -> tuple[Network, Any]:
    """What a rule sees of `model` on noise, and parameters. Call it where 64 bits are enabled."""
    rng = np.random.default_rng(seed)
    images = jnp.asarray(rng.normal(size=(examples, 8, 8, 3)))
    targets = jax.nn.one_hot(jnp.arange(examples) % CLASSES, CLASSES, dtype=jnp.float64)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), random_like(shapes["params"], 1))
    stats = jax.tree.map(lambda s: jnp.ones(s.shape, jnp.float64), shapes.get("batch_stats", {}))

    def forward(params: Any, activation: Any) -> Outputs:
        logits, changed = model.clone(activation=activation).apply(
            {"params": params, **({"batch_stats": stats} if stats else {})},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(2)},
        )
        return Outputs(logits, changed.get("batch_stats", {}), {})

    def loss(params: Any, _: Any) -> tuple[jax.Array, Outputs]:
        outputs = forward(params, model.activation)
        return jnp.mean(optax.softmax_cross_entropy(outputs.logits, targets)), outputs

    network = Network(
        loss=loss,
        examples=jnp.asarray(examples),
        sum_over_devices=lambda tree: tree,
        forward=forward,
        activation=model.activation,
        targets=targets,
        mask=jnp.ones(examples, bool),
        key=jax.random.key(3),
    )
    return network, params


def squared_loss(network: Network, params: Any) -> jax.Array:
    """The mean over examples of half the squared error of the logits."""
    logits = network.forward(params, network.activation).logits
    return jnp.mean(0.5 * jnp.sum((logits - network.targets) ** 2, axis=-1))


def cosines(one: Any, two: Any) -> dict[str, float]:
    """By parameter, the cosine between two trees; 1 where both are zero."""
    found = {}
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(two), strict=True
    ):
        x, y = np.ravel(a), np.ravel(b)
        length = np.linalg.norm(x) * np.linalg.norm(y)
        found[jax.tree_util.keystr(path)] = (
            float(x @ y / length) if length else float(not (x.any() or y.any()))
        )
    return found


def distance(one: Any, two: Any) -> float:
    """The length of the difference of two trees, relative to that of the second."""

    def flat(tree: Any) -> np.ndarray:
        return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])

    return float(np.linalg.norm(flat(one) - flat(two)) / np.linalg.norm(flat(two)))
