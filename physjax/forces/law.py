"""What a force law is: a pure function from parameters and activations to a force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from physjax.config import Keyword, bind, checked, keywords
from physjax.errors import UserError

Params = Mapping[str, jax.Array]


def _no_params(channels: int) -> dict[str, np.ndarray]:
    del channels
    return {}


@dataclass(frozen=True)
class ForceLaw:
    """A force between the output channels of a layer, which lie on a ring.

    `force(params, y)` takes the law's parameters, and among them `interaction_strength` (a scalar)
    where `has_strength`, and activations y of shape [..., C]. It returns what is added to y: an
    array that broadcasts to y. Parameters are float32, whatever y is; those of shape [C] come with
    as many axes as y, [1, ..., 1, C], so that a product with y needs no broadcasting by hand. With
    parameters that are zero, and with those that `init` gives, it must return zero exactly, so that
    a layer starts as its plain twin; a control from the literature that has fixed constants instead
    says so by `starts_plain`.

    Keyword-only arguments of `force` are the law's settings: `--law.NAME`, or `law.NAME` in a
    config, chooses a value within the limits of the annotation. `init` gets those that it names.

        def _force(params, y, *, length: Annotated[float, Field(gt=0)] = 2.0): ...

    `form` says how the force depends on y, and with it where the force acts. Both claims are
    checked by numbers where a layer or `physjax.nn.fold` first meets the law (:func:`check`).

    - "constant", not at all: after the norm. It folds into a bias (`physjax.nn.fold`).
    - "linear", force(y) = y @ M: before the norm, and so on kernel and bias, whose last axis is the
      output channel like that of y. It folds into the kernel. Nothing is lost to the norm, which
      subtracts what is common to all pixels and undoes no mixing of channels.
    - "general": on the activations, after the norm or, with `after_activation`, after the
      nonlinearity and the pool that follows it. It does not fold.

    Raises ValueError for a force after the activation that is not "general", and for a setting
    without a default.
    """

    name: str
    equation: str
    """The force on channel c, in one line of text."""
    source: str
    """Where the law comes from."""
    force: Callable[..., jax.Array]
    init: Callable[..., dict[str, np.ndarray]] = _no_params
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
        keywords(self.force, self.init)

    @property
    def settings(self) -> dict[str, Keyword]:
        """What the law lets one choose, by name: the keyword-only arguments of its functions."""
        return keywords(self.force, self.init)

    def configured(self, values: Mapping[str, Any]) -> ForceLaw:
        """The law with these values of its settings.

        Raises:
          ConfigError: it has no such setting, or a value cannot be; named as in `law.length`.
        """
        own = checked(self.settings, values, "law", f"force law {self.name!r}")
        return replace(self, force=bind(self.force, own), init=bind(self.init, own))

    def __call__(self, params: Mapping[str, Any], y: jax.Array) -> jax.Array:
        """The force on `y`, in its type and of a shape that broadcasts to it.

        Args:
          params: what the law needs, by name, shaped as `init` gives it; others are ignored.
          y: [..., C].
        """
        channels = y.shape[-1]
        given: dict[str, jax.Array] = {}
        for name, start in self.init(channels).items():
            own = jnp.asarray(params[name])
            by_channel = np.shape(start) == (channels,)
            given[name] = own.reshape((1,) * (y.ndim - 1) + (channels,)) if by_channel else own
        if self.has_strength:
            given["interaction_strength"] = jnp.asarray(params["interaction_strength"])
        return self.force(given, y).astype(y.dtype)


class LawError(UserError):
    """A force law does not do what it says of itself; the message names both."""


# Neither few nor many, and no number that another size of an array is likely to be.
_CHANNELS = 8


@lru_cache
def check(law: ForceLaw) -> None:
    """Try by numbers what a law says of itself: its `form`, and `starts_plain`.

    The network trains a linear force on kernels and evaluates it on activations, and folds constant
    and linear ones: where a law is not what it says, these compute different things.

    Raises:
      LawError: a force that does not broadcast to y, one of a form that it has not, or one that
        does not start at zero.
    """
    # The numbers are computed now, also where a network is only being traced.
    with jax.ensure_compile_time_eval():
        _check(law)


def _check(law: ForceLaw) -> None:
    rng = np.random.default_rng(0)
    starts = {name: np.asarray(v, np.float32) for name, v in law.init(_CHANNELS).items()}
    moved = {
        name: np.asarray(v + 0.3 * rng.normal(size=v.shape), np.float32)
        for name, v in starts.items()
    }

    def force(y: np.ndarray, params: Mapping[str, np.ndarray], strength: float = 1.7) -> np.ndarray:
        found = law({**params, "interaction_strength": np.float32(strength)}, jnp.asarray(y))
        try:
            return np.broadcast_to(np.asarray(found), y.shape)
        except ValueError:
            raise LawError(
                f"the force law {law.name!r} returns shape {found.shape} for activations of shape "
                f"{y.shape}; it must return an array that broadcasts to them"
            ) from None

    # Small and large: what saturates is linear near zero.
    small = rng.normal(size=(2, 3, _CHANNELS)).astype(np.float32)
    for y in (small, np.float32(100) * small):
        if law.form == "constant" and not np.array_equal(force(y, moved), force(-small, moved)):
            raise LawError(
                f"the force law {law.name!r} says form='constant', but its force depends on the "
                "activations; give form='linear' or form='general'"
            )
        if law.form == "linear":
            expected = y @ force(np.eye(_CHANNELS, dtype=np.float32), moved)
            error = np.abs(force(y, moved) - expected).max()
            if not error <= 1e-4 * np.abs(expected).max():
                raise LawError(
                    f"the force law {law.name!r} says form='linear', but its force on y is not "
                    f"y @ M with M its force on the unit vectors (off by {error:.2g} at |y| up to "
                    f"{np.abs(y).max():.2g}); give form='general'"
                )
    if law.starts_plain:
        zeros = {name: np.zeros_like(v) for name, v in starts.items()}
        for which, params in (("start values", starts), ("parameters of zero", zeros)):
            largest = np.abs(force(small, params, 2.8)).max()
            if largest != 0:
                raise LawError(
                    f"the force law {law.name!r} exerts a force of up to {largest:.2g} at "
                    f"{which}, but a layer starts as its plain twin; let `init` give values "
                    "without force, or say starts_plain=False"
                )
