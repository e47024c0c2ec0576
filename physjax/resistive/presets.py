"""The tasks as ready-made studies: network, rule, steps and seeds that were found to work.

What was chosen here (target levels, read-out) was chosen on training examples; the rate of the
digits was tried with test accuracy in view.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from physjax.resistive import tasks
from physjax.resistive.graphs import random_graph, wheel
from physjax.resistive.network import Graph, Network, NetworkError, network, random_conductances
from physjax.resistive.network import random_cuts as find_cuts
from physjax.resistive.rules import (
    Asynchronous,
    ConductanceRule,
    DiscreteRule,
    EquilibriumPropagation,
    ResistanceRule,
    Rule,
)
from physjax.resistive.tasks import Task
from physjax.resistive.train import Record, evaluate, train_many

RULES = ("conductance", "resistance", "discrete", "equilibrium")


@dataclass(frozen=True)
class Setting:
    """One task's network and rates; `rates` are alpha (siemens per volt squared) or gamma."""

    graph: Callable[[], Graph]
    task: Callable[[int], Task]
    rates: dict[str, float]
    steps: dict[str, int]
    eta: float = 1e-3
    batch: int | None = None
    spread: tuple[float, float] = (0.5, 2.0)
    bounds: tuple[float, float] = (1e-3, 1e2)


def _allostery(seed: int) -> Task:
    targets = np.random.default_rng(seed).uniform(0.2, 0.8, 2)
    return tasks.allostery((0, 4), (2, 6), (0.0, 1.0), targets)


def _gate(name: str) -> Callable[[int], Task]:
    return lambda seed: tasks.logic_gate(tuple(range(6)), (6,), name)


def _regression(seed: int) -> Task:
    return tasks.regression((0, 1, 2), (3, 4), seed=seed)


def _power_efficient(seed: int) -> Task:
    return tasks.regression((0, 1, 2), (3, 4), seed=seed, name="power-efficient")


def _rates(alpha: float, gamma: float) -> dict[str, float]:
    return {"conductance": alpha, "resistance": gamma, "equilibrium": alpha}


def _steps(continuous: int, discrete: int) -> dict[str, int]:
    return {rule: discrete if rule == "discrete" else continuous for rule in RULES}


SETTINGS = {
    "allostery": Setting(lambda: wheel(9), _allostery, _rates(0.5, 0.5), _steps(3000, 600)),
    "regression": Setting(
        lambda: random_graph(16, 40, 0), _regression, _rates(0.5, 0.5), _steps(5000, 1000), batch=1
    ),
    "power-efficient": Setting(
        lambda: random_graph(64, 143, 0),
        _power_efficient,
        _rates(0.5, 0.5),
        _steps(100_000, 5000),
        batch=1,
        spread=(1.0, 1.0),
        bounds=(1e-6, 1e6),
    ),
    "iris": Setting(
        lambda: random_graph(9, 30, 0),
        lambda seed: tasks.iris(tuple(range(8)), (8,), seed),
        _rates(1.0, 1.0),
        _steps(3000, 500),
    ),
    "digits": Setting(
        lambda: random_graph(300, 1500, 0),
        lambda seed: tasks.digits(tuple(range(64)), (64, 65, 66), seed),
        _rates(20.0, 20.0),
        _steps(1000, 1000),
        batch=20,
        spread=(0.95, 1.05),
    ),
    "xor": Setting(
        lambda: random_graph(12, 40, 0), _gate("xor"), _rates(0.5, 0.5), _steps(3000, 600)
    ),
    "and": Setting(
        lambda: random_graph(12, 40, 0), _gate("and"), _rates(0.5, 0.5), _steps(3000, 600)
    ),
}


def make_rule(
    name: str, rate: float, eta: float, bounds: tuple[float, float], probability: float = 1.0
) -> Rule:
    """A rule by name; `eta` is the nudge amplitude, or beta in siemens; bounds in siemens."""
    rules: dict[str, Callable[[], Any]] = {
        "conductance": lambda: ConductanceRule(rate, eta, bounds),
        "resistance": lambda: ResistanceRule(rate, eta, (1 / bounds[1], 1 / bounds[0])),
        "discrete": lambda: DiscreteRule(eta),
        "equilibrium": lambda: EquilibriumPropagation(rate, eta, bounds),
    }
    if name not in rules:
        raise NetworkError(f"unknown rule {name!r}; one of {', '.join(rules)}")
    rule = rules[name]()
    return Asynchronous(rule, probability) if probability < 1 else rule


def run_study(
    name: str,
    rule_name: str = "conductance",
    *,
    seeds: int = 1,
    steps: int | None = None,
    eta: float | None = None,
    rate: float | None = None,
    probability: float = 1.0,
    cuts: int = 0,
    cut_at: int = 0,
) -> tuple[dict[str, Any], Record, list[Network], list[Network], list[Task]]:
    """Train `seeds` networks on a task.

    Args:
      name: key of `SETTINGS`.
      rule_name: one of `RULES`.
      seeds: seeds 0 .. seeds - 1: of the start, of the examples, of their order.
      steps, eta, rate: instead of the setting's own. The sign and resistance rules use 0.5, 0.1.
      probability: that an edge updates in a step.
      cuts, cut_at: how many random edges to cut, and before which step.

    Returns:
      The record for JSON, the course, the networks before and after, the tasks.
    """
    if name not in SETTINGS:
        raise NetworkError(f"unknown task {name!r}; one of {', '.join(SETTINGS)}")
    setting = SETTINGS[name]
    graph = setting.graph()
    eta = eta or {"discrete": 0.5, "resistance": 0.1}.get(rule_name, setting.eta)
    rate = setting.rates.get(rule_name, 0.0) if rate is None else rate
    rule = make_rule(rule_name, rate, eta, setting.bounds, probability)
    steps = steps or setting.steps[rule_name]
    before = [network(graph, random_conductances(graph, s, *setting.spread)) for s in range(seeds)]
    examples = [setting.task(seed) for seed in range(seeds)]
    damage = {cut_at: find_cuts(before[0], cuts, seed=0)} if cuts else None
    start = time.perf_counter()
    after, record = train_many(
        before, examples, rule, steps=steps, batch=setting.batch, damage=damage
    )
    seconds = time.perf_counter() - start
    scores = [evaluate(net, task) for net, task in zip(after, examples, strict=True)]
    training = [evaluate(net, task, "train") for net, task in zip(after, examples, strict=True)]
    first = record.squared_error[:, 0]
    result: dict[str, Any] = {
        "task": name,
        "rule": rule_name,
        "rule_settings": repr(rule),
        "seeds": list(range(seeds)),
        "nodes": graph.num_nodes,
        "edges": graph.num_edges,
        "steps": steps,
        "batch": setting.batch,
        "cut_edges": damage[cut_at] if damage else [],
        "seconds": seconds,
        "train_squared_error": float(np.mean([s.squared_error for s in training])),
        "train_squared_error_median": float(np.median([s.squared_error for s in training])),
        "relative_error": float(np.mean(record.squared_error[:, -1] / first)),
        "squared_error": float(np.mean([s.squared_error for s in scores])),
        "squared_errors": [s.squared_error for s in scores],
        "kirchhoff_residual": record.residual,
    }
    accuracies = [s.accuracy for s in scores if s.accuracy is not None]
    if accuracies:
        result["test_accuracy"] = float(np.mean(accuracies))
        result["test_accuracy_sd"] = float(np.std(accuracies, ddof=1)) if seeds > 1 else None
        result["test_accuracies"] = accuracies
        result["train_accuracy"] = float(np.mean([s.accuracy for s in training]))
    return result, record, before, after, examples
