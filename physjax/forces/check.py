"""Whether a force law is what it says of itself, tried by numbers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from physjax.errors import UserError
from physjax.forces.law import ForceLaw


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
    starts = {name: np.asarray(v, np.float32) for name, v in law.start(_CHANNELS).items()}
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
