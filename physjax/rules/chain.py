"""A network cut at its nonlinearities: its layers as functions of each other's states.

    h_k = act(a_k),    a_k = a_k(theta, h_{k-1}),    k = 1 .. L,

with h_0 the images and a_L the logits. Everything between two nonlinearities is one function a_k:
what follows the one below (pool, a force that acts after the activation, flattening, dropout) and
what comes before the next (convolution or product, norm, force). Nothing of the network is written
down a second time: it is run as ever, with its nonlinearity handed out to whoever asks, traced, and
the trace is cut where the nonlinearity was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from physjax.config import ConfigError, ModelConfig
from physjax.models import MODELS, build, image_size

Activation = Callable[[jax.Array], jax.Array]
Tree = Any


class NoChain(ConfigError):
    """A network is no chain of layers; the message says why."""


@dataclass(frozen=True)
class Layer:
    """One a_k, as a function of what it reads."""

    leaves: tuple[int, ...]
    """The parameters that it reads, as indices into the leaves of their tree."""
    function: Callable[[Sequence[jax.Array], jax.Array | None], jax.Array]
    """(those parameters, h_{k-1} [N, ...]; None for the first layer) -> a_k [N, ...]."""


@dataclass(frozen=True)
class Chain:
    """All layers of a network on one batch, from the images up. The last gives the logits.

    Their nonlinearity is `activation`; the logits have none.
    """

    layers: tuple[Layer, ...]
    activation: Activation

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def last(self) -> int:
        """The index of the layer that gives the logits."""
        return len(self.layers) - 1

    def state(self, k: int, drive: jax.Array) -> jax.Array:
        """h_k where `drive` is what its nonlinearity sees."""
        return drive if k == self.last else self.activation(drive)

    def drive(self, k: int, leaves: Sequence[jax.Array], below: jax.Array | None) -> jax.Array:
        """a_k of several states at once.

        Args:
          k: the layer, from 0.
          leaves: of all parameters.
          below: h_{k-1} [S, N, ...]; the first layer reads the images, and looks at none.

        Returns:
          [S, N, ...]; [1, N, ...] of the first layer.
        """
        layer = self.layers[k]
        own = [leaves[i] for i in layer.leaves]
        if k == 0:
            return layer.function(own, None)[None]
        return jax.vmap(layer.function, in_axes=(None, 0))(own, below)


def cut(
    run: Callable[[Tree, Activation], jax.Array], activation: Activation, params: Tree
) -> Chain:
    """The layers of a network.

    Args:
      run: (params, nonlinearity) -> logits [N, K]: the network on a batch, where every nonlinearity
        is a call of the one that is handed in.
      activation: the nonlinearity.
      params: of the network; their shapes are all that counts.

    Raises:
      NoChain: no nonlinearity was asked for, or a layer reads more than the one below it.
    """
    leaves, structure = jax.tree.flatten(params)
    shapes: list[jax.ShapeDtypeStruct] = []

    def note(drive: jax.Array) -> jax.Array:
        shapes.append(jax.ShapeDtypeStruct(drive.shape, drive.dtype))
        return activation(drive)

    jax.eval_shape(lambda p: run(p, note), params)
    if not shapes:
        raise NoChain("it asks for no nonlinearity by its attribute `activation`")

    def every(leaves: Sequence[jax.Array], states: Sequence[jax.Array]) -> list[jax.Array]:
        given, seen = iter(states), []

        def hand_out(drive: jax.Array) -> jax.Array:
            seen.append(drive)
            return next(given)

        logits = run(jax.tree.unflatten(structure, leaves), hand_out)
        return [*seen, logits]

    traced = jax.make_jaxpr(every)(leaves, shapes)
    return Chain(tuple(_layer(traced, k, len(leaves)) for k in range(len(shapes) + 1)), activation)


def _layer(traced: core.ClosedJaxpr, k: int, parameters: int) -> Layer:
    """Output `k` of a trace alone: the operations that it needs, and the inputs that they read."""
    whole = traced.jaxpr
    output = whole.outvars[k]
    needed: set[Any] = {output}
    kept = []
    for equation in reversed(whole.eqns):
        if any(made in needed for made in equation.outvars):
            kept.append(equation)
            needed.update(v for v in equation.invars if not isinstance(v, core.Literal))
    origin = whole.debug_info._replace(result_paths=None)
    part = whole.replace(eqns=kept[::-1], outvars=[output], debug_info=origin)
    reads = [i for i, v in enumerate(whole.invars) if v in needed]
    leaves = tuple(i for i in reads if i < parameters)
    below = [i - parameters for i in reads if i >= parameters]
    if below != ([k - 1] if k else []):
        read = " and ".join(f"layer {j + 1}" for j in below) or "no layer"
        raise NoChain(f"its layer {k + 1} reads {read}, not the one below it alone")

    def function(own: Sequence[jax.Array], state: jax.Array | None) -> jax.Array:
        given: list[Any] = [None] * len(whole.invars)  # what is not read is not looked at
        for i, value in zip(leaves, own, strict=True):
            given[i] = value
        if k:
            given[parameters + k - 1] = state
        (drive,) = jax.core.eval_jaxpr(part, traced.consts, *given)
        return jnp.asarray(drive)

    return Layer(leaves, function)


def check_chain(config: ModelConfig, rule: str) -> None:
    """Whether that learning rule can have the base as a chain of layers.

    Raises ConfigError where it is none, with the bases that are.
    """
    fault = _fault(config)
    if fault:
        others = (dataclasses.replace(config, name=name, size="cifar") for name in MODELS)
        able = ", ".join(other.name for other in others if not _fault(other))
        raise ConfigError(
            f"learning rule {rule!r} lets a chain of layers settle, which model {config.name!r} is "
            f"not: {fault}; choose one of {able}"
        )


@lru_cache
def _fault(config: ModelConfig) -> str:
    """Why a base is no chain of layers; empty: it is one."""
    try:
        # What makes no difference is left out, so that tracing is quick.
        plain = dataclasses.replace(
            config, law="none", width=0.1, algorithm="direct", auxiliary_weight=0.0
        )
        model, side = build(plain, 10), image_size(plain)
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        shapes = jax.eval_shape(model.init, jax.random.key(0), images)

        def run(params: Tree, activation: Activation) -> jax.Array:
            rest = {
                name: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), tree)
                for name, tree in shapes.items()
                if name != "params"
            }
            variables = {**rest, "params": params}
            return jnp.asarray(
                model.clone(activation=activation).apply(variables, jnp.zeros(images.shape))
            )

        cut(run, model.activation, shapes["params"])
    except NoChain as error:
        return str(error)
    return ""
