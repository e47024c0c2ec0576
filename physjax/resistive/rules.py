"""Learning rules: what one edge does, given its own voltage drop in two states and nothing else.

The pure functions take drops of shape (E, samples) and average over the samples of the step (one
sample a step is what the laboratory did). The dataclasses bind their constants and bounds, and are
what :func:`physjax.resistive.train.train` takes. Signs are those of Dillavou, Stern, Liu & Durian,
Phys. Rev. Applied 18, 014040 (2022), and of Stern et al., Phys. Rev. X 11, 021045 (2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from physjax.resistive.network import NetworkError
from physjax.resistive.solve import Nudge

BOUNDS = (1e-6, 1e6)


def contrast(free_drops: Array, clamped_drops: Array) -> Array:
    """dV_C^2 - dV_F^2, averaged over samples: shape (E,), in volts squared.

    As (dV_C - dV_F)(dV_C + dV_F): two squares that nearly agree would lose half their digits.
    """
    return ((clamped_drops - free_drops) * (clamped_drops + free_drops)).mean(axis=-1)


def resistance_step(
    resistances: Array, free_drops: Array, clamped_drops: Array, gamma: float
) -> Array:
    """dR = (gamma / R^2) (dV_C^2 - dV_F^2), Eq. (1) of Dillavou et al. (2022); shape (E,)."""
    return gamma / resistances**2 * contrast(free_drops, clamped_drops)


def conductance_step(free_drops: Array, clamped_drops: Array, alpha: float, eta: float) -> Array:
    """dk = -(alpha / eta) (dV_C^2 - dV_F^2), as in the published codes; shape (E,)."""
    return -alpha / eta * contrast(free_drops, clamped_drops)


def discrete_step(free_drops: Array, clamped_drops: Array, step: float) -> Array:
    """dR = +step where |dV_C| > |dV_F|, else -step: one comparator and a stepping resistor.

    A tie therefore lowers R: the comparator of the laboratory has no third answer. With several
    samples the sign of their mean contrast decides.
    """
    return jnp.where(contrast(free_drops, clamped_drops) > 0, step, -step)


def equilibrium_propagation_step(
    free_drops: Array, nudged_drops: Array, alpha: float, beta: float
) -> Array:
    """dk = -(alpha / 2 beta) (dV_N^2 - dV_F^2): Scellier & Bengio (2017) with E = k dV^2 / 2.

    For beta -> 0 it is alpha times minus the gradient of half the squared error, for any number of
    outputs, where the nudge is the current beta (target - V_F).
    """
    return -alpha / (2 * beta) * contrast(free_drops, nudged_drops)


class Rule(Protocol):
    """What :func:`physjax.resistive.train.train` needs of a rule."""

    @property
    def nudge(self) -> Nudge:
        """`voltage`: outputs are held; `current`: a current is fed into them."""

    @property
    def amplitude(self) -> float:
        """eta, or beta in siemens."""

    def start(self, conductances: Array) -> Array:
        """The conductances as the rule can represent them."""

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        """The next conductances, from drops of shape (E, samples)."""


@dataclass(frozen=True)
class ConductanceRule:
    """:func:`conductance_step`, clipped to `bounds` in siemens."""

    alpha: float = 0.5
    eta: float = 1e-3
    bounds: tuple[float, float] = BOUNDS
    nudge: ClassVar[Nudge] = "voltage"

    def __post_init__(self) -> None:
        _check(self.alpha, self.eta, self.bounds)

    @property
    def amplitude(self) -> float:
        return self.eta

    def start(self, conductances: Array) -> Array:
        return jnp.clip(conductances, *self.bounds)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        return self.start(conductances + conductance_step(free, clamped, self.alpha, self.eta))


@dataclass(frozen=True)
class ResistanceRule:
    """:func:`resistance_step`, clipped to `bounds` in ohms."""

    gamma: float = 0.5
    eta: float = 0.1
    bounds: tuple[float, float] = BOUNDS
    nudge: ClassVar[Nudge] = "voltage"

    def __post_init__(self) -> None:
        _check(self.gamma, self.eta, self.bounds)

    @property
    def amplitude(self) -> float:
        return self.eta

    def start(self, conductances: Array) -> Array:
        return 1 / jnp.clip(1 / conductances, *self.bounds)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        r = 1 / conductances
        return 1 / jnp.clip(r + resistance_step(r, free, clamped, self.gamma), *self.bounds)


@dataclass(frozen=True)
class DiscreteRule:
    """:func:`discrete_step` on resistors with `levels` equal steps up to `r_max` ohms.

    R stays among r_max / levels * (1, 2, ..., levels): a digital potentiometer, never a short.
    """

    eta: float = 0.5
    levels: int = 128
    r_max: float = 2.0
    nudge: ClassVar[Nudge] = "voltage"

    def __post_init__(self) -> None:
        _check(1.0, self.eta, (self.r_max / self.levels, self.r_max))

    @property
    def step(self) -> float:
        return self.r_max / self.levels

    @property
    def amplitude(self) -> float:
        return self.eta

    def start(self, conductances: Array) -> Array:
        return self._on_grid(1 / conductances)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        return self._on_grid(1 / conductances + discrete_step(free, clamped, self.step))

    def _on_grid(self, resistances: Array) -> Array:
        return 1 / (jnp.clip(jnp.round(resistances / self.step), 1, self.levels) * self.step)


@dataclass(frozen=True)
class EquilibriumPropagation:
    """:func:`equilibrium_propagation_step`, clipped to `bounds` in siemens."""

    alpha: float = 0.5
    beta: float = 1e-3
    bounds: tuple[float, float] = BOUNDS
    nudge: ClassVar[Nudge] = "current"

    def __post_init__(self) -> None:
        _check(self.alpha, 1.0, self.bounds)
        if not self.beta > 0:
            raise NetworkError(f"beta must be positive, not {self.beta}")

    @property
    def amplitude(self) -> float:
        return self.beta

    def start(self, conductances: Array) -> Array:
        return jnp.clip(conductances, *self.bounds)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        change = equilibrium_propagation_step(free, clamped, self.alpha, self.beta)
        return self.start(conductances + change)


@dataclass(frozen=True)
class Asynchronous:
    """Any rule, with each edge taking its step with probability p, independently: no common clock
    (Wycoff, Dillavou, Stern, Liu & Durian, arXiv:2201.04626)."""

    rule: ConductanceRule | ResistanceRule | DiscreteRule | EquilibriumPropagation
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise NetworkError(f"update probability must lie in (0, 1], not {self.probability}")

    @property
    def nudge(self) -> Nudge:
        return self.rule.nudge

    @property
    def amplitude(self) -> float:
        return self.rule.amplitude

    def start(self, conductances: Array) -> Array:
        return self.rule.start(conductances)

    def update(self, conductances: Array, free: Array, clamped: Array, key: Array) -> Array:
        awake = jax.random.bernoulli(key, self.probability, conductances.shape)
        return jnp.where(awake, self.rule.update(conductances, free, clamped, key), conductances)


def _check(rate: float, eta: float, bounds: tuple[float, float]) -> None:
    if not rate >= 0:
        raise NetworkError(f"the learning rate must not be negative, but is {rate}")
    if not 0 < eta <= 1:
        raise NetworkError(f"nudge amplitude eta must lie in (0, 1], not {eta}")
    if not 0 < bounds[0] < bounds[1]:
        raise NetworkError(f"bounds must satisfy 0 < low < high, not {bounds}")
