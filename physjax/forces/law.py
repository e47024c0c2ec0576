"""What a force law is: a pure function from parameters and activations to a force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np

Params = Mapping[str, jax.Array]


def _no_params(channels: int) -> dict[str, np.ndarray]:
    del channels
    return {}


@dataclass(frozen=True)
class ForceLaw:
    """A force between the output channels of a layer, which lie on a ring.

    `force(params, y)` takes the law's parameters, and among them `interaction_strength` (a scalar)
    where `has_strength`, and activations y of shape [..., C]. It returns what is added to y: an
    array that broadcasts to y. With parameters that are zero, and with those that `init` gives, it
    must return zero exactly, so that a layer starts as its plain twin; a control from the
    literature that has fixed constants instead says so by `starts_plain`.

    A law that `affine` describes can be folded into the convolution (`physjax.fold`): for given
    parameters and C it returns (M, v), float arrays of shapes [C, C] and [C], with
    force(y) = y @ M + v; M is None where the force does not depend on y.
    """

    name: str
    equation: str
    """The force on channel c, in one line of text."""
    source: str
    """Where the law comes from."""
    force: Callable[[Params, jax.Array], jax.Array]
    init: Callable[[int], dict[str, np.ndarray]] = _no_params
    """Start values of the law's own parameters for C channels, by name, the strength apart."""
    has_strength: bool = False
    after_activation: bool = False
    """Whether the force acts on the output of the nonlinearity, rather than on its input."""
    starts_plain: bool = True
    """Whether zero parameters leave the plain layer."""
    affine: Callable[[Params, int], tuple[jax.Array | None, jax.Array]] | None = None
