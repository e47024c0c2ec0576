"""Training by a preset: from options to a record, the trained networks and the history."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from physjax.resistive.checks import NetworkError, check_choice, check_integer
from physjax.resistive.damage import random_cuts
from physjax.resistive.evaluation import evaluate
from physjax.resistive.examples import Examples
from physjax.resistive.network import Network, network, random_conductances
from physjax.resistive.presets import PRESETS, RULES, RuleName, TaskName, make_rule
from physjax.resistive.rules import Rule
from physjax.resistive.train import TrainingHistory, TrainOptions, train_many

NetworkName = Literal["graph", "diodes", "layers"]
"""Which kind of network."""
MAX_SEEDS = 1000
"""Networks of one command."""
MAX_PRESET_STEPS = 1_000_000
"""Updates of one command."""


@dataclass(frozen=True)
class PresetOptions:
    """What to train, and what to change about its preset."""

    task: TaskName = "allostery"
    """What to learn. Of the digits a graph learns 0, 1 and 2, layers all ten; mnist, fashion_mnist
    and cifar10 are for layers, xor for both, the others for a graph."""
    rule: RuleName | None = None
    """What an edge does in an update; by default `conductance` on a graph. Layers learn by
    equilibrium propagation, centred."""
    network: NetworkName = "graph"
    """Resistors on a graph; or from each node of a layer to each of the next, with diodes that hold
    hidden nodes at v >= 0 or v <= 0, or the same layers without them."""
    seeds: int = 1
    """How many networks (1 to 1000), each with its own start and examples; trained side by side."""
    steps: int | None = None
    """Updates (1 to 1000000); by default the preset's own number."""
    eta: float | None = None
    """Nudge amplitude in (0, 1]; for equilibrium propagation, beta in siemens, up to 1e6."""
    rate: float | None = None
    """alpha or gamma (0 to 1e9); the discrete rule has none."""
    probability: float = 1.0
    """Probability in (0, 1] that an edge takes part in an update; below 1: asynchronous."""
    cuts: int = 0
    """How many random edges to cut (0 to as many as leave the network in one piece)."""
    cut_at: int = 0
    """Before which update to cut them (0 to steps - 1)."""


@dataclass(frozen=True)
class PresetRecord:
    """What is kept of a training; errors in volts squared, lists by seed.

    The accuracies are None for tasks without classes, `test_accuracy_sd` also for a single seed.
    """

    task: str
    rule: str
    rule_settings: str
    seeds: list[int]
    nodes: int
    edges: int
    steps: int
    batch: int | None
    cut_edges: list[int]
    seconds: float
    train_squared_error: float
    train_squared_error_median: float
    relative_error: float
    squared_error: float
    squared_errors: list[float]
    kirchhoff_residual: float
    test_accuracy: float | None = None
    test_accuracy_sd: float | None = None
    test_accuracies: list[float] | None = None
    train_accuracy: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them; without those of classes for tasks that have none."""
        values = asdict(self)
        if self.test_accuracy is None:
            for name in ("test_accuracy", "test_accuracy_sd", "test_accuracies", "train_accuracy"):
                del values[name]
        return values


@dataclass(frozen=True)
class PresetRun:
    """A finished training.

    Attributes:
      record: what is kept of it.
      history: error and resistances during it.
      before: the networks at the start, one for each seed.
      after: the trained networks.
      examples: what each of them learned.
    """

    record: PresetRecord
    history: TrainingHistory
    before: list[Network]
    after: list[Network]
    examples: list[Examples]


@dataclass(frozen=True)
class ResolvedOptions:
    """Options with the preset's own values filled in, checked.

    Attributes:
      rule: what an edge does.
      train: how long, and how.
      cut_edges: numbers of the edges that are cut.
      before: the networks at the start, one for each seed.
    """

    rule: Rule
    train: TrainOptions
    cut_edges: list[int]
    before: list[Network]


def run_preset(options: PresetOptions) -> PresetRun:
    """Train networks on a task by its preset.

    Args:
      options: the task, and what to change. Seeds 0 .. seeds - 1 are those of the start, of the
        examples and of their order; the cut edges are the same for all.

    Returns:
      The finished training.

    Raises:
      NetworkError: for an option that is out of range or has no effect.
    """
    setup = resolve(options)
    preset, seeds = PRESETS[options.task], list(range(options.seeds))
    examples = [preset.examples(seed) for seed in seeds]
    start = time.perf_counter()
    after, history = train_many(setup.before, examples, setup.rule, setup.train)
    seconds = time.perf_counter() - start
    pairs = list(zip(after, examples, strict=True))
    test = [evaluate(net, each) for net, each in pairs]
    training = [evaluate(net, each, "train") for net, each in pairs]
    accuracies = [score.accuracy for score in test if score.accuracy is not None]
    train_accuracies = [score.accuracy for score in training if score.accuracy is not None]
    record = PresetRecord(
        task=options.task,
        rule=options.rule or "conductance",
        rule_settings=repr(setup.rule),
        seeds=seeds,
        nodes=after[0].graph.num_nodes,
        edges=after[0].graph.num_edges,
        steps=setup.train.steps,
        batch=preset.batch,
        cut_edges=setup.cut_edges,
        seconds=seconds,
        train_squared_error=float(np.mean([s.squared_error for s in training])),
        train_squared_error_median=float(np.median([s.squared_error for s in training])),
        relative_error=float(np.mean(history.squared_error[:, -1] / history.squared_error[:, 0])),
        squared_error=float(np.mean([s.squared_error for s in test])),
        squared_errors=[s.squared_error for s in test],
        kirchhoff_residual=history.residual,
        test_accuracy=float(np.mean(accuracies)) if accuracies else None,
        test_accuracy_sd=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        test_accuracies=accuracies or None,
        train_accuracy=float(np.mean(train_accuracies)) if train_accuracies else None,
    )
    return PresetRun(record, history, setup.before, after, examples)


def resolve(options: PresetOptions) -> ResolvedOptions:
    """Fill the preset's own values in, and check everything that can be before the training.

    Args:
      options: the task, and what to change.

    Returns:
      What is trained, and how.

    Raises:
      NetworkError: for an option that is out of range or has no effect.
    """
    check_choice("network", options.network, ("graph",))
    if options.task in get_args(TaskName) and options.task not in PRESETS:
        raise NetworkError(
            f"task {options.task!r} is for layered networks; choose --network diodes or layers"
        )
    check_choice("task", options.task, tuple(PRESETS))
    name = options.rule or "conductance"
    check_choice("rule", name, RULES)
    check_integer("seeds", options.seeds, 1, MAX_SEEDS)
    preset = PRESETS[options.task]
    steps = preset.steps[name] if options.steps is None else options.steps
    check_integer("steps", steps, 1, MAX_PRESET_STEPS)
    rule = make_rule(
        name,
        preset.rates.get(name) if options.rate is None else options.rate,
        preset.default_eta(name) if options.eta is None else options.eta,
        preset.bounds,
        options.probability,
    )
    graph = preset.graph()
    check_integer("cuts", options.cuts, 0, graph.num_edges)
    check_integer("cut_at", options.cut_at, 0, steps - 1)
    if options.cut_at and not options.cuts:
        raise NetworkError(
            "cut_at says when to cut edges, but cuts is 0: give cuts too, or leave it out"
        )
    before = [
        network(graph, random_conductances(graph, seed, *preset.spread))
        for seed in range(options.seeds)
    ]
    cut_edges = random_cuts(before[0], options.cuts, seed=0)
    damage = {options.cut_at: cut_edges} if cut_edges else {}
    train = TrainOptions(steps=steps, batch=preset.batch, damage=damage)
    return ResolvedOptions(rule, train, cut_edges, before)
