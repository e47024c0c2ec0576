"""A look into a trained network: what it is surest of and wrong, its filters, and its forces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from physjax.evaluate.network import TrainedNetwork
from physjax.evaluate.trained import Opening, TrainedRun, opened
from physjax.forces import ForceLaw
from physjax.models import first_layer
from physjax.nn.fold import fold, foldable
from physjax.records import RunFolder
from physjax.records.inspection import Inspection, read_inspection, write_inspection

MISTAKES = 24
"""So many at most are kept."""


def inspect(path: Path, **how: Unpack[Opening]) -> Inspection:
    """Look into the finished run in `path`, and write inspection.npz into it.

    Arguments and errors are those of :func:`physjax.evaluate.trained.opened`.
    """
    with opened(path, **how) as run:
        found = _look(run)
        write_inspection(path, found)
        return found


def ensure_inspected(path: Path, **how: Unpack[Opening]) -> None:
    """Look into the run in `path`, as :func:`inspect` does, unless it was done at its last step."""
    result, found = RunFolder(path).read().result, read_inspection(path)
    if result is None or found is None or found.step != result.steps:
        inspect(path, **how)


def _look(run: TrainedRun) -> Inspection:
    test = run.dataset.test
    found = TrainedNetwork(run.setup, run.variables).log_probabilities(test.images)
    predicted, surest = found.argmax(1), found.max(1)
    wrong = np.flatnonzero(predicted != test.labels)
    wrong = wrong[np.argsort(-surest[wrong], kind="stable")][:MISTAKES]
    law, connection = run.setup.law, run.setup.rule.connection
    params = run.variables["params"]
    folded = fold(run.variables, law, connection)["params"] if foldable(law) else params
    return Inspection(
        step=run.result.steps,
        law="none" if law.name == "none" else law.form,
        mistakes=np.asarray(test.images[wrong]),
        index=wrong.astype(np.int64),
        label=np.asarray(test.labels[wrong], np.int64),
        predicted=predicted[wrong].astype(np.int64),
        probability=np.exp(surest[wrong]),
        filters=_first_kernel(run, params),
        folded_filters=_first_kernel(run, folded),
        offsets=dict(_offsets(params, law)) if law.form == "constant" else {},
    )


def _first_kernel(run: TrainedRun, params: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    node: Any = params
    for name in first_layer(run.setup.model(), run.setup.image_size):
        node = node[name]
    return np.asarray(node["kernel"], np.float32)


def _offsets(
    params: Mapping[str, Any], law: ForceLaw, at: tuple[str, ...] = ()
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """The force of each layer that has the law's parameters, by the way to it."""
    own = law.init(1)
    for name, value in params.items():
        if not isinstance(value, Mapping):
            continue
        if own and own.keys() <= value.keys():
            channels = value["kernel"].shape[-1]
            force = law(value, jnp.zeros((1, channels)))
            yield "/".join((*at, name)), np.broadcast_to(np.asarray(force), (1, channels))[0]
        else:
            yield from _offsets(value, law, (*at, name))
