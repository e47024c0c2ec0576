"""What a force law is: a pure function from parameters and activations to a force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

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

    `form` says how the force depends on y, and with it where the force acts:

    - "constant", not at all: after the norm. It folds into a bias (`physjax.fold`).
    - "linear", force(y) = y @ M: before the norm, and so on kernel and bias, whose last axis is the
      output channel like that of y. It folds into the kernel. Nothing is lost to the norm, which
      subtracts what is common to all pixels and undoes no mixing of channels.
    - "general": on the activations, after the norm or, with `after_activation`, after the
      nonlinearity and the pool that follows it. It does not fold.

    Raises ValueError for a force after the activation that is not "general".
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
    """Whether the force acts after the nonlinearity and the pool, rather than before them."""
    starts_plain: bool = True
    """Whether zero parameters leave the plain layer."""
    form: Literal["constant", "linear", "general"] = "general"

    def __post_init__(self) -> None:
        if self.after_activation and self.form != "general":
            raise ValueError(
                f"the force law {self.name!r} is {self.form} and acts after the activation; only "
                "a law of form 'general' can"
            )
