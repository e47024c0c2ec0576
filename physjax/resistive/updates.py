"""The formulas of the learning rules, as pure functions of the voltage drops in two states.

All of them average over the samples of the update; the laboratory used one sample per update. Signs
are those of Dillavou, Stern, Liu & Durian, Phys. Rev. Applied 18, 014040 (2022), and of Stern et
al., Phys. Rev. X 11, 021045 (2021).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def contrast(free_drops: Array, clamped_drops: Array) -> Array:
    """dV_C^2 - dV_F^2, averaged over samples.

    Computed as (dV_C - dV_F)(dV_C + dV_F): subtracting two squares that nearly agree would lose
    half of their digits.

    Args:
      free_drops: voltage drops in the free state in volts, [E, samples].
      clamped_drops: voltage drops in the clamped state in volts, [E, samples].

    Returns:
      Volts squared, [E].
    """
    return ((clamped_drops - free_drops) * (clamped_drops + free_drops)).mean(axis=-1)


def resistance_step(
    resistances: Array, free_drops: Array, clamped_drops: Array, gamma: float
) -> Array:
    """dR = (gamma / R^2) (dV_C^2 - dV_F^2), Eq. (1) of Dillavou et al. (2022).

    Args:
      resistances: in ohms, [E].
      free_drops: voltage drops in the free state in volts, [E, samples].
      clamped_drops: voltage drops in the clamped state in volts, [E, samples].
      gamma: learning rate in ohms cubed per volt squared.

    Returns:
      Changes of the resistances in ohms, [E].
    """
    return gamma / resistances**2 * contrast(free_drops, clamped_drops)


def conductance_step(free_drops: Array, clamped_drops: Array, alpha: float, eta: float) -> Array:
    """dk = -(alpha / eta) (dV_C^2 - dV_F^2), as in the code that Stern et al. published.

    Args:
      free_drops: voltage drops in the free state in volts, [E, samples].
      clamped_drops: voltage drops in the clamped state in volts, [E, samples].
      alpha: learning rate in siemens per volt squared.
      eta: nudge amplitude in (0, 1].

    Returns:
      Changes of the conductances in siemens, [E].
    """
    return -alpha / eta * contrast(free_drops, clamped_drops)


def discrete_step(free_drops: Array, clamped_drops: Array, step: float) -> Array:
    """dR = +step where |dV_C| > |dV_F|, else -step: one comparator and a stepping resistor.

    A tie therefore lowers R: the comparator of the laboratory has no third answer. With several
    samples the sign of their mean contrast decides.

    Args:
      free_drops: voltage drops in the free state in volts, [E, samples].
      clamped_drops: voltage drops in the clamped state in volts, [E, samples].
      step: size of one step in ohms.

    Returns:
      Changes of the resistances in ohms, [E].
    """
    return jnp.where(contrast(free_drops, clamped_drops) > 0, step, -step)


def equilibrium_propagation_step(
    free_drops: Array, nudged_drops: Array, alpha: float, beta: float
) -> Array:
    """dk = -(alpha / 2 beta) (dV_N^2 - dV_F^2): Scellier & Bengio (2017) with E = k dV^2 / 2.

    For beta -> 0 it is alpha times minus the gradient of half the squared error, for any number of
    outputs, where the nudge is the current beta (target - V_F).

    Args:
      free_drops: voltage drops in the free state in volts, [E, samples].
      nudged_drops: voltage drops in the nudged state in volts, [E, samples].
      alpha: learning rate in siemens per volt squared.
      beta: nudge conductance in siemens.

    Returns:
      Changes of the conductances in siemens, [E].
    """
    return -alpha / (2 * beta) * contrast(free_drops, nudged_drops)
