"""Evaluate a trained run: its test set, clean and corrupted, with or without several views.

A force that can be merged into the convolution is merged first: it costs nothing then, and changes
the logits by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from physjax import data
from physjax.config import Config, ConfigError
from physjax.data.corrupted import CorruptedImages, find_corrupted
from physjax.data.lazy import Images
from physjax.data.spec import Labels
from physjax.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt_parts
from physjax.evaluate.gates import gates_by_class
from physjax.evaluate.network import TrainedNetwork
from physjax.evaluate.record import (
    CorruptedSource,
    CorruptionMetrics,
    RingMetrics,
    RobustnessRecord,
    write_robustness,
)
from physjax.evaluate.trained import opened
from physjax.train.choices import chosen_law
from physjax.train.metrics import ClassificationMetrics, classification_metrics
from physjax.train.predict import Views

MOST_RINGS = 1000


def evaluate(
    path: Path,
    *,
    tta: Views = "none",
    dataset: data.Dataset | None = None,
    data_dir: str | None = None,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    corrupted_dir: str | Path | None = None,
    permuted_rings: int = 0,
    gates: bool = False,
    plugins: Sequence[str] = (),
    other_code: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> RobustnessRecord:
    """Evaluate the finished run in `path` on its test set, and write robustness.json into it.

    Args:
        path: the run's folder.
        tta: average probabilities over views of each image: `mirror` over both mirror images,
            `mirror+shift` over those moved by a pixel to two corners too.
        dataset: whole, that the run was trained on; None: the one that its config names.
        data_dir: TFDS folder; None: as for training, where that is still there.
        corruptions: names in `CORRUPTIONS`, or of those in `corrupted_dir`. With none of them it is
            a single pass over the images as they are, or all that `corrupted_dir` has.
        severities: of each corruption, 1 to 5.
        corrupted_dir: a folder of corrupted test images, such as CIFAR-10-C
            (`physjax.data.corrupted`), in place of corruptions that are made here.
        permuted_rings: evaluate with the channels in so many random orders on the ring, too. Each
            channel keeps its parameters and gets other neighbours: where accuracy stays, it does
            not matter who they are.
        gates: record which channels the law's gates open and close for which class.
        plugins: to load instead of those that the record names, which may have moved since.
        other_code: evaluate also where the code of the law or the base model, or a setting of JAX
            that changes numbers, is not what it was trained with.
        log: is told every result as it comes.

    Raises:
        RecordError: the run has not ended, or its images are not those here.
        OriginError: its code or settings are not those here, and `other_code` is not given.
        ConfigError: there is no such corruption, a view changes the class, or the law knows no
            neighbours or has no gates.
        DataError: the folder holds no corrupted images, or others than the network was trained on.
        CheckpointError: the parameters are gone.
    """
    if corrupted_dir is None:
        _check_names(corruptions, CORRUPTIONS)
    if isinstance(permuted_rings, bool) or not 0 <= permuted_rings <= MOST_RINGS:
        raise ConfigError(
            f"the ring is to be permuted {permuted_rings} times; it must be 0 to {MOST_RINGS}"
        )
    with opened(
        path,
        dataset=dataset,
        data_dir=data_dir,
        plugins=plugins,
        other_code=other_code,
        log=log,
    ) as run:
        dataset, setup, trained = run.dataset, run.setup, run.variables
        rings = _other_orders(setup.config, permuted_rings)
        if gates and setup.law.gate is None:
            raise ConfigError(f"the force law {setup.law.name!r} has no gates to look at")
        published = None if corrupted_dir is None else find_corrupted(corrupted_dir, dataset.info)
        if published is not None:
            _check_names(corruptions, published.severities)
            corruptions = corruptions or tuple(published.severities)
        network = TrainedNetwork(setup, trained)
        test = dataset.test

        def measure(
            title: str,
            images: Iterable[Images],
            labels: Labels = test.labels,
            by: TrainedNetwork = network,
        ) -> ClassificationMetrics:
            metrics = classification_metrics(
                np.concatenate([by.log_probabilities(part, tta) for part in images]),
                labels,
                dataset.info.num_classes,
            )
            log(
                f"{title}: accuracy {metrics.accuracy:.2%}, calibration error "
                f"{metrics.calibration_error:.2%}"
            )
            return metrics

        clean = measure("clean", [test.images])
        corrupted: dict[str, list[CorruptionMetrics]] = {name: [] for name in corruptions}
        for name, severity, strength, parts, labels in _corrupted(
            test, published, corruptions, severities, setup.config.run.eval_batch_size
        ):
            metrics = measure(f"{name} {severity}", parts, labels)
            corrupted[name].append(
                CorruptionMetrics(
                    severity, strength, metrics.accuracy, metrics.loss, metrics.calibration_error
                )
            )
        permuted: list[RingMetrics] = []
        for order in rings:
            other = replace(setup, config=setup.config.replace(law={"permute": order}))
            other_network = TrainedNetwork(other, trained)
            metrics = measure(f"ring {order}", [test.images], by=other_network)
            permuted.append(
                RingMetrics(order, metrics.accuracy, metrics.loss, metrics.calibration_error)
            )
        outcome = RobustnessRecord(
            tta=tta,
            folded=network.folded,
            examples=len(test),
            class_names=list(dataset.info.class_names),
            clean=clean,
            quantities={}
            if published is not None
            else {name: CORRUPTIONS[name].quantity for name in corrupted},
            corruptions=corrupted,
            corrupted_source=None
            if published is None
            else CorruptedSource(published.title, published.examples),
            permuted_rings=permuted,
            gates=gates_by_class(setup, trained, test.images, test.labels) if gates else {},
        )
        write_robustness(path, outcome)
        return outcome


def _check_names(corruptions: Sequence[str], there: Iterable[str]) -> None:
    for name in corruptions:
        if name not in there:
            raise ConfigError(f"there is no corruption {name!r}; they are {', '.join(there)}")


def _corrupted(
    test: data.Split,
    published: CorruptedImages | None,
    corruptions: Sequence[str],
    severities: Sequence[int],
    at_once: int,
) -> Iterator[tuple[str, int, float | None, Iterable[Images], Labels]]:
    """(corruption, severity, strength, images in parts, labels), one after the other."""
    for name in corruptions:
        if published is not None:
            for severity in published.severities[name]:
                if severity in severities:
                    split = published.read(name, severity)
                    yield name, severity, None, [split.images], split.labels
            continue
        for severity in severities:
            strength = CORRUPTIONS[name].strengths[severity - 1]
            parts = corrupt_parts(test.images, name, severity, at_once)
            yield name, severity, strength, parts, test.labels


def _other_orders(config: Config, count: int) -> list[int]:
    """The first `count` orders of the ring that the run was not trained in, by number."""
    if not count:
        return []
    law = chosen_law(config)
    if not law.ordered:
        raise ConfigError(
            f"the force law {law.name!r} knows no neighbours: there is no ring to permute"
        )
    return [n for n in range(1, count + 2) if n != law.permutation][:count]
