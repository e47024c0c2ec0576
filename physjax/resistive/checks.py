"""Checks of numbers that a caller gives: the message names the option, its range and the value."""

from __future__ import annotations

import numbers
from typing import Any

from physjax.errors import UserError


class NetworkError(UserError):
    """A network, an option or a choice of nodes that cannot be used; the message says why."""


def check_integer(name: str, value: Any, low: int, high: int) -> None:
    """Refuse a value that is not a whole number from `low` to `high`.

    Args:
      name: how the option is called.
      value: what was given.
      low: the smallest number allowed.
      high: the largest number allowed.

    Raises:
      NetworkError: it is no integer, or out of range.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        raise NetworkError(
            f"{name} must be a whole number from {low} to {high}, not {_show(value)}"
        )


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Refuse a value that is not a number from `low` to `high`; NaN is none.

    Args:
      name: how the option is called.
      value: what was given.
      low: the smallest number allowed.
      high: the largest number allowed.

    Raises:
      NetworkError: it is no number, or out of range.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    # NaN is within no limits. No isfinite: it fails on whole numbers beyond the floats.
    if not real or not low <= value <= high:
        raise NetworkError(f"{name} must be a number from {low:g} to {high:g}, not {_show(value)}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not among the choices.

    Args:
      name: what is chosen.
      value: what was given.
      choices: the words allowed.

    Raises:
      NetworkError: it is another one.
    """
    if value not in choices:
        raise NetworkError(f"unknown {name} {_show(value)}; one of {', '.join(choices)}")


def check_seed(value: Any) -> None:
    """Refuse a seed that NumPy's and JAX's generators do not both take.

    Args:
      value: what was given.

    Raises:
      NetworkError: it is no whole number from 0 to 2^32 - 1.
    """
    check_integer("seed", value, 0, 2**32 - 1)


def _show(value: Any) -> str:
    """The value as a message shows it; Python does not print whole numbers of any length."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of {value.bit_length()} bits"
    text = str(value) if isinstance(value, numbers.Number) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
