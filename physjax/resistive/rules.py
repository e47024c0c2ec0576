"""Learning rules: what one edge does, given its own voltage drop in two states and nothing else.

Each is one of the formulas of updates.py with its constants and bounds, and is what
:func:`physjax.resistive.train.train` takes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from physjax.resistive.checks import NetworkError, check_integer, check_number
from physjax.resistive.states import ETA_MIN, Nudge, check_eta
from physjax.resistive.updates import (
    conductance_step,
    discrete_step,
    equilibrium_propagation_step,
    resistance_step,
)

BOUNDS = (1e-6, 1e6)
"""Default limits of a conductance (siemens) or a resistance (ohms)."""
MAX_RATE = 1e9
"""Largest alpha (siemens per volt squared) or gamma (ohms cubed per volt squared)."""
MAX_BETA = 1e6
"""Largest nudge conductance of equilibrium propagation, in siemens."""


class Rule(Protocol):
    """What :func:`physjax.resistive.train.train` needs of a rule."""

    @property
    def nudge(self) -> Nudge:
        """`voltage`: outputs are held; `current`: a current is fed into them."""

    @property
    def amplitude(self) -> float:
        """eta, or beta in siemens."""

    def start(self, conductances: Array) -> Array:
        """The conductances in siemens as the rule can represent them, [E]."""

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        """The next conductances in siemens, [E].

        Args:
          conductances: the present ones in siemens, [E].
          free: voltage drops in the free state in volts, [E, samples].
          clamped: voltage drops in the clamped state in volts, [E, samples].
          key: of this update's random numbers.
        """


@dataclass(frozen=True)
class ConductanceRule:
    """:func:`conductance_step`, clipped to bounds.

    Attributes:
      alpha: learning rate in siemens per volt squared.
      eta: nudge amplitude in (0, 1].
      bounds: smallest and largest conductance in siemens.

    Raises:
      NetworkError: for a value out of range.
    """

    alpha: float = 0.5
    eta: float = 1e-3
    bounds: tuple[float, float] = BOUNDS
    nudge: ClassVar[Nudge] = "voltage"

    def __post_init__(self) -> None:
        check_number("learning rate alpha", self.alpha, 0, MAX_RATE)
        check_eta(self.eta)
        _check_bounds(self.bounds)

    @property
    def amplitude(self) -> float:
        """eta."""
        return self.eta

    def start(self, conductances: Array) -> Array:
        """The conductances in siemens, clipped, [E]."""
        return jnp.clip(conductances, *self.bounds)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        """The next conductances in siemens, [E]; see :class:`Rule`."""
        return self.start(conductances + conductance_step(free, clamped, self.alpha, self.eta))


@dataclass(frozen=True)
class ResistanceRule:
    """:func:`resistance_step`, clipped to bounds.

    Attributes:
      gamma: learning rate in ohms cubed per volt squared.
      eta: nudge amplitude in (0, 1].
      bounds: smallest and largest resistance in ohms.

    Raises:
      NetworkError: for a value out of range.
    """

    gamma: float = 0.5
    eta: float = 0.1
    bounds: tuple[float, float] = BOUNDS
    nudge: ClassVar[Nudge] = "voltage"

    def __post_init__(self) -> None:
        check_number("learning rate gamma", self.gamma, 0, MAX_RATE)
        check_eta(self.eta)
        _check_bounds(self.bounds)

    @property
    def amplitude(self) -> float:
        """eta."""
        return self.eta

    def start(self, conductances: Array) -> Array:
        """The conductances in siemens, with the resistances clipped, [E]."""
        return 1 / jnp.clip(1 / conductances, *self.bounds)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        """The next conductances in siemens, [E]; see :class:`Rule`."""
        r = 1 / conductances
        return 1 / jnp.clip(r + resistance_step(r, free, clamped, self.gamma), *self.bounds)


@dataclass(frozen=True)
class DiscreteRule:
    """:func:`discrete_step` on resistors with equal steps, as digital potentiometers have.

    R stays among r_max / levels * (1, 2, ..., levels), so that it is never a short.

    Attributes:
      eta: nudge amplitude in (0, 1].
      levels: number of resistances, at least 2.
      r_max: the largest one in ohms.

    Raises:
      NetworkError: for a value out of range.
    """

    eta: float = 0.5
    levels: int = 128
    r_max: float = 2.0
    nudge: ClassVar[Nudge] = "voltage"

    def __post_init__(self) -> None:
        check_eta(self.eta)
        check_integer("number of resistance levels", self.levels, 2, 2**24)
        check_number("largest resistance r_max in ohms", self.r_max, *BOUNDS)

    @property
    def step(self) -> float:
        """Size of one step in ohms."""
        return self.r_max / self.levels

    @property
    def amplitude(self) -> float:
        """eta."""
        return self.eta

    def start(self, conductances: Array) -> Array:
        """The conductances in siemens, with the resistances rounded to whole steps, [E]."""
        return self._on_grid(1 / conductances)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        """The next conductances in siemens, [E]; see :class:`Rule`."""
        return self._on_grid(1 / conductances + discrete_step(free, clamped, self.step))

    def _on_grid(self, resistances: Array) -> Array:
        return 1 / (jnp.clip(jnp.round(resistances / self.step), 1, self.levels) * self.step)


@dataclass(frozen=True)
class EquilibriumPropagation:
    """:func:`equilibrium_propagation_step`, clipped to bounds.

    Attributes:
      alpha: learning rate in siemens per volt squared.
      beta: nudge conductance in siemens.
      bounds: smallest and largest conductance in siemens.

    Raises:
      NetworkError: for a value out of range.
    """

    alpha: float = 0.5
    beta: float = 1e-3
    bounds: tuple[float, float] = BOUNDS
    nudge: ClassVar[Nudge] = "current"

    def __post_init__(self) -> None:
        check_number("learning rate alpha", self.alpha, 0, MAX_RATE)
        check_number("nudge conductance beta in siemens", self.beta, ETA_MIN, MAX_BETA)
        _check_bounds(self.bounds)

    @property
    def amplitude(self) -> float:
        """beta in siemens."""
        return self.beta

    def start(self, conductances: Array) -> Array:
        """The conductances in siemens, clipped, [E]."""
        return jnp.clip(conductances, *self.bounds)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        """The next conductances in siemens, [E]; see :class:`Rule`."""
        change = equilibrium_propagation_step(free, clamped, self.alpha, self.beta)
        return self.start(conductances + change)


@dataclass(frozen=True)
class Asynchronous:
    """Any rule, with each edge taking its step with some probability: there is no common clock.

    Source: Wycoff, Dillavou, Stern, Liu & Durian, arXiv:2201.04626.

    Attributes:
      rule: what an edge does when its turn comes.
      probability: that an edge takes part in an update, in (0, 1]; edges are independent.

    Raises:
      NetworkError: for a probability out of range.
    """

    rule: ConductanceRule | ResistanceRule | DiscreteRule | EquilibriumPropagation
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_number("update probability", self.probability, ETA_MIN, 1)

    @property
    def nudge(self) -> Nudge:
        """The rule's own."""
        return self.rule.nudge

    @property
    def amplitude(self) -> float:
        """The rule's own."""
        return self.rule.amplitude

    def start(self, conductances: Array) -> Array:
        """The conductances in siemens as the rule can represent them, [E]."""
        return self.rule.start(conductances)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        """The next conductances in siemens, [E]; see :class:`Rule`."""
        awake = jax.random.bernoulli(key, self.probability, conductances.shape)
        return jnp.where(awake, self.rule.update(conductances, free, clamped, key), conductances)


def _check_bounds(bounds: tuple[float, float]) -> None:
    low, high = bounds
    check_number("lower of the bounds", low, sys.float_info.min, sys.float_info.max)
    check_number("upper of the bounds", high, sys.float_info.min, sys.float_info.max)
    if not low < high:
        raise NetworkError(f"the lower of the bounds must be below the upper, not {low} and {high}")
