"""What a force law is: a pure function from parameters and activations to a force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from physjax.config import Keyword, bind, checked, keywords

Params = Mapping[str, jax.Array]
Start = np.ndarray | Callable[[jax.Array], jax.Array]
"""A start value, or a function that draws one with a PRNG key."""
Place = Literal["before_norm", "before_late_norm", "after_norm", "after_activation", "after_pool"]
"""What a layer has done when the force acts (`ForceLaw.place`)."""

_WHERE = {"after_activation": "after the activation", "after_pool": "after the activation"}
_PERMUTE = Annotated[int, Field(ge=0, lt=2**32)]


def _no_params(channels: int) -> dict[str, Start]:
    del channels
    return {}


def _no_diagnostics(params: Params, y: jax.Array) -> dict[str, jax.Array]:
    del params, y
    return {}


@dataclass(frozen=True)
class ForceLaw:
    """A force between the output channels of a layer, which lie on a ring.

    `force(params, y)` takes the law's parameters, and among them `interaction_strength` (a scalar)
    where `has_strength`, and activations y of shape [..., C]. It returns what is added to y: an
    array that broadcasts to y. Parameters are float32, whatever y is; those of shape [C] come with
    as many axes as y, [1, ..., 1, C], so that a product with y needs no broadcasting by hand. With
    parameters that are zero, and with those that `init` gives, it must return zero exactly, so that
    a layer starts as its plain twin; a law that cannot, since it has fixed constants as published,
    says so by `starts_plain`.

    Keyword-only arguments of `force` are the law's settings: `--law.NAME`, or `law.NAME` in a
    config, chooses a value within the limits of the annotation. `init` gets those that it names::

        def _force(params, y, *, length: Annotated[float, Field(gt=0)] = 2.0): ...

    `form` says how the force depends on y, and with it where the force acts. Both claims are
    checked by numbers where a layer or `physjax.nn.fold` first meets the law
    (:func:`physjax.forces.check.check`).

    - "constant", not at all: after the norm. It folds into a bias (`physjax.nn.fold`).
    - "linear", force(y) = y @ M: before the norm, and so on kernel and bias, whose last axis is the
      output channel like that of y. It folds into the kernel. Nothing is lost to the norm, which
      subtracts what is common to all pixels and undoes no mixing of channels.
    - "general": on the activations, at the law's `place`. It does not fold.

    Raises ValueError for a place that the form does not have, and for a setting without a default.
    """

    name: str
    equation: str
    """The force on channel c, in one line of text."""
    source: str
    """Where the law comes from."""
    force: Callable[..., jax.Array]
    init: Callable[..., Mapping[str, Start]] = _no_params
    """Start values of the law's own parameters for C channels, by name, the strength apart: []; [C]
    or [1]; or, with a row for each of some neighbours, [n, C] or [n, 1]."""
    has_strength: bool = False
    after_activation: bool = False
    """The same as the place "after_pool"."""
    starts_plain: bool = True
    """Whether zero parameters leave the plain layer."""
    form: Literal["constant", "linear", "general"] = "general"
    place: Place | None = None
    """Where in the layer a general force acts: after the norm where it is None, or

    - "before_norm": on what the convolution, or the pool that comes first, gives;
    - "before_late_norm": after the nonlinearity, and then comes the norm, behind both;
    - "after_norm": before the nonlinearity;
    - "after_activation": after the nonlinearity, before a pool that follows it;
    - "after_pool": at the layer's end.
    """
    diagnostics: Callable[..., dict[str, jax.Array]] = _no_diagnostics
    """(params, y) -> scalars that an epoch's record holds of a layer, by name, beside the RMS
    force; keyword-only arguments as those of `force`."""
    ordered: bool = field(default=True, metadata={"prose": True})
    """Whether it matters to the law which channels are neighbours; then it has the setting
    `permute`."""
    recorded: tuple[str, ...] | None = field(default=None, metadata={"prose": True})
    """Its parameters whose values the record of a run holds; None: all."""
    permutation: int = 0
    """n > 0: the channels lie on the ring in the n-th random order; each keeps its parameters."""

    def __post_init__(self) -> None:
        if self.after_activation and self.place not in (None, "after_pool"):
            raise ValueError(
                f"the force law {self.name!r} says after_activation and place={self.place!r}; "
                "leave out one of them"
            )
        if self.form != "general" and self.acts != _PLACES[self.form]:
            where = _WHERE.get(self.acts, f"at {self.acts!r}")
            raise ValueError(
                f"the force law {self.name!r} is {self.form} and acts {where}; only "
                "a law of form 'general' can"
            )
        if "permute" in self._keywords():
            raise ValueError(
                f"the force law {self.name!r} has a setting 'permute', which is one of "
                "every law; choose another name"
            )

    @property
    def acts(self) -> Place:
        """Where in the layer the force acts, whether `place` or `form` says it."""
        return "after_pool" if self.after_activation else self.place or _PLACES[self.form]

    def _keywords(self) -> dict[str, Keyword]:
        return keywords(self.force, self.init, self.diagnostics)

    @property
    def settings(self) -> dict[str, Keyword]:
        """What the law lets one choose, by name: the keyword-only arguments of its functions, and
        `permute` where it is `ordered`."""
        own = self._keywords()
        if self.ordered:
            doc = "the channels in the n-th random order, not as they are numbered; 0: as they are"
            own["permute"] = Keyword("permute", _PERMUTE, self.permutation, doc)
        return own

    def configured(self, values: Mapping[str, Any]) -> ForceLaw:
        """The law with these values of its settings.

        Raises:
          ConfigError: it has no such setting, or a value cannot be; named as in `law.length`.
        """
        own = checked(self.settings, values, "law", f"force law {self.name!r}")
        return replace(
            self,
            permutation=own.pop("permute", self.permutation),
            force=bind(self.force, own),
            init=bind(self.init, own),
            diagnostics=bind(self.diagnostics, own),
        )

    def start(self, channels: int, key: jax.Array | None = None) -> dict[str, Any]:
        """Start values of the law's own parameters for that many channels; `key` draws those that
        are random, and without one they are some."""
        key = jax.random.key(0) if key is None else key
        return {n: v(key) if callable(v) else v for n, v in self.init(channels).items()}

    @property
    def recorded_names(self) -> tuple[str, ...]:
        """The parameters whose values the record of a run holds."""
        return tuple(self.init(1)) if self.recorded is None else self.recorded

    def __call__(self, params: Mapping[str, Any], y: jax.Array) -> jax.Array:
        """The force on `y`, in its type and of a shape that broadcasts to it.

        Args:
          params: what the law needs, by name, shaped as `init` gives it; others are ignored.
          y: [..., C].
        """
        if not self.permutation:
            return self.force(self._given(params, y), y).astype(y.dtype)
        order = self.order(y.shape[-1])
        found = self.force(self._given(params, y), y[..., order]).astype(y.dtype)
        return found[..., np.argsort(order)] if found.shape[-1:] == order.shape else found

    def diagnose(self, params: Mapping[str, Any], y: jax.Array) -> dict[str, jax.Array]:
        """What the law says of a layer with these parameters and values, by name."""
        values = y[..., self.order(y.shape[-1])] if self.permutation else y
        return self.diagnostics(self._given(params, y), values)

    def order(self, channels: int) -> np.ndarray:
        """Which channel lies at each place of the ring, [C]."""
        if not self.permutation:
            return np.arange(channels)
        return np.random.default_rng(self.permutation).permutation(channels)

    def _given(self, params: Mapping[str, Any], y: jax.Array) -> dict[str, jax.Array]:
        """What `force` gets: parameters by channel in the order of the ring, and with y's axes."""
        channels = y.shape[-1]
        given: dict[str, jax.Array] = {}
        for name in self.init(channels):
            own = jnp.asarray(params[name])
            if self.permutation and own.shape[-1:] == (channels,):
                own = own[..., self.order(channels)]
            by_channel = own.shape == (channels,)
            given[name] = own.reshape((1,) * (y.ndim - 1) + (channels,)) if by_channel else own
        if self.has_strength:
            given["interaction_strength"] = jnp.asarray(params["interaction_strength"])
        return given


_PLACES: dict[str, Place] = {
    "constant": "after_norm",
    "linear": "before_norm",
    "general": "after_norm",
}
"""Where a force of each form acts that says nothing else."""
