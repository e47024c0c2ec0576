"""Ready-made trainings: for each task a network, rates, steps and seeds that were found to work.

What was chosen here (target levels, read-out) was chosen on training examples; the rate of the
digits was tried with test accuracy in view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from physjax.resistive import tasks
from physjax.resistive.checks import NetworkError, check_choice, check_number
from physjax.resistive.examples import Examples
from physjax.resistive.graphs import random_graph, wheel
from physjax.resistive.network import Graph
from physjax.resistive.rules import (
    MAX_BETA,
    MAX_RATE,
    Asynchronous,
    ConductanceRule,
    DiscreteRule,
    EquilibriumPropagation,
    ResistanceRule,
    Rule,
)
from physjax.resistive.states import ETA_MIN

TaskName = Literal[
    "allostery",
    "regression",
    "power-efficient",
    "iris",
    "digits",
    "xor",
    "and",
    "mnist",
    "fashion_mnist",
    "cifar10",
]
"""What can be learned: the keys of `PRESETS` and of the layered networks'."""
RuleName = Literal["conductance", "resistance", "discrete", "equilibrium"]
"""By which rule."""
RULES: tuple[RuleName, ...] = get_args(RuleName)


@dataclass(frozen=True)
class Preset:
    """One task's network and training.

    Attributes:
      graph: makes the graph.
      examples: makes the examples of a seed.
      rates: alpha (siemens per volt squared) or gamma (ohms cubed per volt squared) of each rule
        that has one.
      steps: updates by rule.
      eta: nudge amplitude of the conductance rule, and beta in siemens.
      batch: samples that an update averages over; None: all.
      spread: smallest and largest conductance at the start, in siemens.
      bounds: smallest and largest conductance allowed, in siemens.
    """

    graph: Callable[[], Graph]
    examples: Callable[[int], Examples]
    rates: dict[str, float]
    steps: dict[str, int]
    eta: float = 1e-3
    batch: int | None = None
    spread: tuple[float, float] = (0.5, 2.0)
    bounds: tuple[float, float] = (1e-3, 1e2)

    def default_eta(self, rule: str) -> float:
        """Nudge amplitude, or beta in siemens, of a rule by name."""
        return {"discrete": 0.5, "resistance": 0.1}.get(rule, self.eta)


def _allostery(seed: int) -> Examples:
    targets = np.random.default_rng(seed).uniform(0.2, 0.8, 2)
    return tasks.allostery((0, 4), (2, 6), (0.0, 1.0), targets)


def _gate(name: str) -> Callable[[int], Examples]:
    return lambda seed: tasks.logic_gate(tuple(range(6)), (6,), name)


def _regression(seed: int) -> Examples:
    return tasks.regression((0, 1, 2), (3, 4), seed=seed)


def _power_efficient(seed: int) -> Examples:
    return tasks.regression((0, 1, 2), (3, 4), seed=seed, name="power-efficient")


def _rates(alpha: float, gamma: float) -> dict[str, float]:
    return {"conductance": alpha, "resistance": gamma, "equilibrium": alpha}


def _steps(continuous: int, discrete: int) -> dict[str, int]:
    return {rule: discrete if rule == "discrete" else continuous for rule in RULES}


PRESETS = {
    "allostery": Preset(lambda: wheel(9), _allostery, _rates(0.5, 0.5), _steps(3000, 600)),
    "regression": Preset(
        lambda: random_graph(16, 40, 0), _regression, _rates(0.5, 0.5), _steps(5000, 1000), batch=1
    ),
    "power-efficient": Preset(
        lambda: random_graph(64, 143, 0),
        _power_efficient,
        _rates(0.5, 0.5),
        _steps(100_000, 5000),
        batch=1,
        spread=(1.0, 1.0),
        bounds=(1e-6, 1e6),
    ),
    "iris": Preset(
        lambda: random_graph(9, 30, 0),
        lambda seed: tasks.iris(tuple(range(8)), (8,), seed),
        _rates(1.0, 1.0),
        _steps(3000, 500),
    ),
    "digits": Preset(
        lambda: random_graph(300, 1500, 0),
        lambda seed: tasks.digits(tuple(range(64)), (64, 65, 66), seed),
        _rates(20.0, 20.0),
        _steps(1000, 1000),
        batch=20,
        spread=(0.95, 1.05),
    ),
    "xor": Preset(
        lambda: random_graph(12, 40, 0), _gate("xor"), _rates(0.5, 0.5), _steps(3000, 600)
    ),
    "and": Preset(
        lambda: random_graph(12, 40, 0), _gate("and"), _rates(0.5, 0.5), _steps(3000, 600)
    ),
}


def make_rule(
    name: str,
    rate: float | None,
    eta: float,
    bounds: tuple[float, float],
    probability: float = 1.0,
) -> Rule:
    """A rule by name.

    Args:
      name: one of `RULES`.
      rate: alpha or gamma; None for the discrete rule, which has none.
      eta: nudge amplitude, or beta in siemens.
      bounds: smallest and largest conductance in siemens; the discrete rule has its own.
      probability: that an edge takes part in an update; below 1 the rule is asynchronous.

    Returns:
      The rule.

    Raises:
      NetworkError: for an unknown rule, or a value out of range.
    """
    check_choice("rule", name, RULES)
    check_number("probability", probability, ETA_MIN, 1)
    if name == "equilibrium":
        check_number("eta (beta in siemens)", eta, ETA_MIN, MAX_BETA)
    else:
        check_number("eta", eta, ETA_MIN, 1)
    rule: ConductanceRule | ResistanceRule | DiscreteRule | EquilibriumPropagation
    if name == "discrete":
        if rate is not None:
            raise NetworkError("the discrete rule has no rate; leave it out")
        rule = DiscreteRule(eta)
    else:
        check_number("rate", rate, 0, MAX_RATE)
        assert rate is not None
        if name == "conductance":
            rule = ConductanceRule(rate, eta, bounds)
        elif name == "resistance":
            rule = ResistanceRule(rate, eta, (1 / bounds[1], 1 / bounds[0]))
        else:
            rule = EquilibriumPropagation(rate, eta, bounds)
    return Asynchronous(rule, probability) if probability < 1 else rule
