"""Training of layered networks by a preset: from options to a record and the trained networks."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from physjax.resistive.checks import NetworkError, check_choice, check_integer, check_number
from physjax.resistive.examples import Examples
from physjax.resistive.layered.network import LayeredNetwork, layered_network
from physjax.resistive.layered.presets import (
    LAYERED_PRESETS,
    ImageSet,
    image_examples,
)
from physjax.resistive.layered.training import (
    LayeredHistory,
    LayeredOptions,
    layered_outputs,
    train_layered,
)
from physjax.resistive.network import Floats, Ints
from physjax.resistive.rules import MAX_BETA, MAX_RATE
from physjax.resistive.runner import MAX_PRESET_STEPS, MAX_SEEDS, PresetOptions
from physjax.resistive.states import ETA_MIN


@dataclass(frozen=True)
class LayeredRecord:
    """What is kept of a training; errors in volts squared, lists by seed.

    An example's class is the output with the highest voltage.
    """

    task: str
    network: str
    rule: str
    rule_settings: str
    seeds: list[int]
    sizes: list[int]
    gain: float
    resistors: int
    steps: int
    batch: int | None
    train_examples: int
    test_examples: int
    seconds: float
    train_squared_error: float
    squared_error: float
    squared_errors: list[float]
    conducting_diodes: float | None
    """Share of the hidden nodes that their diode holds at 0 V, over the test examples."""
    kkt_violation: float
    test_accuracy: float
    test_accuracy_sd: float | None
    test_accuracies: list[float]
    train_accuracy: float

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return asdict(self)


@dataclass(frozen=True)
class LayeredRun:
    """A finished training.

    Attributes:
      record: what is kept of it.
      histories: of the error, one for each seed.
      after: the trained networks.
      examples: what each of them learned.
    """

    record: LayeredRecord
    histories: list[LayeredHistory]
    after: list[LayeredNetwork]
    examples: list[Examples]


@dataclass(frozen=True)
class ResolvedLayered:
    """Options with the preset's own values filled in, checked.

    Attributes:
      train: how long, and how.
      before: the networks at the start, one for each seed.
      needs_images: whether the task's images are to be handed in.
      train_images: how many of them to train on.
    """

    train: LayeredOptions
    before: list[LayeredNetwork]
    needs_images: bool
    train_images: int


def resolve_layered(options: PresetOptions) -> ResolvedLayered:
    """Fill the preset's own values in, and check everything that can be before the training.

    Args:
      options: the task, and what to change.

    Returns:
      What is trained, and how.

    Raises:
      NetworkError: for an option that is out of range or has no effect.
    """
    check_choice("network", options.network, ("diodes", "layers"))
    if options.task not in LAYERED_PRESETS:
        raise NetworkError(
            f"task {options.task!r} is for --network graph; layered networks learn "
            f"{', '.join(LAYERED_PRESETS)}"
        )
    if options.rule not in (None, "equilibrium"):
        raise NetworkError(
            f"layered networks learn by equilibrium propagation, not by the rule {options.rule!r}; "
            "leave it out"
        )
    for name in ("probability", "cuts", "cut_at"):
        if getattr(options, name) != getattr(PresetOptions, name):
            raise NetworkError(f"{name} is for --network graph; leave it out")
    check_integer("seeds", options.seeds, 1, MAX_SEEDS)
    preset = LAYERED_PRESETS[options.task]
    diodes = options.network == "diodes"
    train = preset.train if diodes else replace(preset.train, rates=preset.linear_rate)
    if options.steps is not None:
        check_integer("steps", options.steps, 1, MAX_PRESET_STEPS)
        train = replace(train, steps=options.steps)
    if options.rate is not None:
        check_number("rate", options.rate, 0, MAX_RATE)
        train = replace(train, rates=options.rate)
    if options.eta is not None:
        check_number("eta (beta in siemens)", options.eta, ETA_MIN, MAX_BETA)
        train = replace(train, beta=options.eta)
    before = [
        layered_network(preset.sizes, seed, diodes=diodes, gain=preset.gain)
        for seed in range(options.seeds)
    ]
    return ResolvedLayered(train, before, preset.examples is None, preset.train_images)


def run_layered(options: PresetOptions, images: ImageSet | None = None) -> LayeredRun:
    """Train layered networks on a task by its preset.

    Args:
      options: the task, and what to change. Seeds 0 .. seeds - 1 are those of the start, of the
        order of the examples, and of the digits' split.
      images: of a task whose images are read elsewhere.

    Returns:
      The finished training.

    Raises:
      NetworkError: for an option that is out of range or has no effect; a training that diverges.
    """
    setup = resolve_layered(options)
    make = LAYERED_PRESETS[options.task].examples
    seeds = list(range(options.seeds))
    if make is not None:
        examples = [make(seed) for seed in seeds]
    elif images is not None:
        examples = [image_examples(options.task, images)] * len(seeds)
    else:
        raise NetworkError(f"task {options.task!r} needs its images")
    start = time.perf_counter()
    trained = [
        train_layered(net, each, setup.train, seed=seed)
        for net, each, seed in zip(setup.before, examples, seeds, strict=True)
    ]
    seconds = time.perf_counter() - start
    after, histories = [net for net, _ in trained], [history for _, history in trained]
    scores = [_score(net, each) for net, each in zip(after, examples, strict=True)]
    train, test = [pair[0] for pair in scores], [pair[1] for pair in scores]
    accuracies = [score[1] for score in test]
    first = after[0]
    record = LayeredRecord(
        task=options.task,
        network=options.network,
        rule="equilibrium",
        rule_settings=repr(setup.train),
        seeds=seeds,
        sizes=list(first.sizes),
        gain=first.gain,
        resistors=sum(g.size for g in first.conductances),
        steps=setup.train.steps,
        batch=setup.train.batch,
        train_examples=len(examples[0].inputs),
        test_examples=len(examples[0].test_inputs),
        seconds=seconds,
        train_squared_error=float(np.mean([score[0] for score in train])),
        squared_error=float(np.mean([score[0] for score in test])),
        squared_errors=[score[0] for score in test],
        conducting_diodes=float(np.mean([s[2] for s in test])) if first.diodes else None,
        kkt_violation=max(history.violation for history in histories),
        test_accuracy=float(np.mean(accuracies)),
        test_accuracy_sd=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        test_accuracies=accuracies,
        train_accuracy=float(np.mean([score[1] for score in train])),
    )
    return LayeredRun(record, histories, after, examples)


def _score(
    net: LayeredNetwork, examples: Examples
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Squared error, accuracy and share of conducting diodes: of training and of test examples."""

    def of(x: Floats, y: Floats, labels: Ints | None) -> tuple[float, float, float]:
        outputs, share = layered_outputs(net, x)
        return (
            float(((outputs - y) ** 2).mean()),
            float((outputs.argmax(axis=1) == labels).mean()),
            share,
        )

    train = of(examples.inputs, examples.targets, examples.labels)
    return train, of(examples.test_inputs, examples.test_targets, examples.test_labels)
