"""Evaluate a trained run: its test set, clean and corrupted, with or without several views.

A force that can be merged into the convolution is merged first: it costs nothing then, and changes
the logits by rounding alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from physjax import data
from physjax.config import Config, ConfigError
from physjax.data.lazy import Images
from physjax.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt_parts
from physjax.evaluate.gates import gates_by_class
from physjax.evaluate.network import TrainedNetwork
from physjax.evaluate.record import (
    CorruptionMetrics,
    RingMetrics,
    RobustnessRecord,
    write_robustness,
)
from physjax.evaluate.trained import opened
from physjax.train.choices import chosen_law
from physjax.train.metrics import ClassificationMetrics, classification_metrics
from physjax.train.predict import Views


def evaluate(
    path: Path,
    *,
    tta: Views = "none",
    dataset: data.Dataset | None = None,
    data_dir: str | None = None,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
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
        corruptions: names in `CORRUPTIONS`; with none of them it is a single
            pass over the images as they are.
        severities: of each corruption, 1 to 5.
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
        CheckpointError: the parameters are gone.
    """
    for name in corruptions:
        if name not in CORRUPTIONS:
            raise ConfigError(f"there is no corruption {name!r}; they are {', '.join(CORRUPTIONS)}")
    with opened(
        path,
        dataset=dataset,
        data_dir=data_dir,
        plugins=plugins,
        other_code=other_code,
        log=log,
    ) as run:
        dataset, setup, trained, config = run.dataset, run.setup, run.variables, run.setup.config
        rings = _other_orders(setup.config, permuted_rings)
        if gates and setup.law.gate is None:
            raise ConfigError(f"the force law {setup.law.name!r} has no gates to look at")
        network = TrainedNetwork(setup, trained)
        test = dataset.test

        def measure(
            title: str, images: Iterable[Images], by: TrainedNetwork = network
        ) -> ClassificationMetrics:
            metrics = classification_metrics(
                np.concatenate([by.log_probabilities(part, tta) for part in images]),
                test.labels,
                dataset.info.num_classes,
            )
            log(
                f"{title}: accuracy {metrics.accuracy:.2%}, calibration error "
                f"{metrics.calibration_error:.2%}"
            )
            return metrics

        clean = measure("clean", [test.images])
        corrupted: dict[str, list[CorruptionMetrics]] = {name: [] for name in corruptions}
        for name, severity in itertools.product(corrupted, severities):
            parts = corrupt_parts(test.images, name, severity, config.run.eval_batch_size)
            metrics = measure(f"{name} {severity}", parts)
            strength = CORRUPTIONS[name].strengths[severity - 1]
            corrupted[name].append(
                CorruptionMetrics(
                    severity, strength, metrics.accuracy, metrics.loss, metrics.calibration_error
                )
            )
        permuted: list[RingMetrics] = []
        for order in rings:
            other = replace(setup, config=setup.config.replace(law={"permute": order}))
            metrics = measure(f"ring {order}", [test.images], TrainedNetwork(other, trained))
            permuted.append(
                RingMetrics(order, metrics.accuracy, metrics.loss, metrics.calibration_error)
            )
        outcome = RobustnessRecord(
            tta=tta,
            folded=network.folded,
            examples=len(test),
            class_names=list(dataset.info.class_names),
            clean=clean,
            quantities={name: CORRUPTIONS[name].quantity for name in corrupted},
            corruptions=corrupted,
            permuted_rings=permuted,
            gates=gates_by_class(setup, trained, test.images, test.labels) if gates else {},
        )
        write_robustness(path, outcome)
        return outcome


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
