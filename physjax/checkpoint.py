"""Orbax checkpoints of a TrainState: save in the background, restore the newest that is whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PreservationContext, PreservationPolicy

from physjax import hosts
from physjax.errors import UserError

T = TypeVar("T")
_log = logging.getLogger(__name__)


class CheckpointError(UserError):
    """There is no checkpoint that can be read; the message names the folder and the way out."""


class _LastAndBest(PreservationPolicy):
    """Keeps the last two checkpoints, so that one is always whole, and the best one."""

    def __init__(self, best_step: Callable[[], int | None]) -> None:
        self._best_step = best_step

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: PreservationContext
    ) -> Sequence[bool]:
        del context
        best = self._best_step()
        last = len(checkpoints) - 2
        return [i >= last or info.step == best for i, info in enumerate(checkpoints)]


class Checkpoints:
    """The checkpoints of one run, a folder named by its step each.

    `best_step` tells at each save which step, if any, is the best so far and must be kept.
    """

    def __init__(self, folder: Path, best_step: Callable[[], int | None] = lambda: None) -> None:
        self._folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_LastAndBest(best_step), cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, state: Any, step: int) -> None:
        """Start to save `state`; the files are written while training goes on.

        Nothing happens where that step is saved already. Raises the error of an earlier save that
        failed in the background.
        """
        self._manager.check_for_errors()
        if step not in self._manager.all_steps():
            # A host copy: the step is about to be given these very buffers.
            host = jax.tree.map(lambda x: np.array(x), state)
            self._manager.save(step, args=ocp.args.StandardSave(host))

    def restore(self, like: T, step: int | None = None) -> T | None:
        """The state saved at `step`, or the newest that can be read; None where none was saved.

        `like` has the structure, shapes and shardings wanted. The disk is listed afresh, since a
        save that failed in the background leaves a step behind that is not there. A newer one that
        cannot be read is renamed to unreadable-<step>. Raises
        CheckpointError where there are checkpoints, but none that can be read.
        """
        self._manager.reload()
        steps = sorted(self._manager.all_steps(), reverse=True)
        if step is not None:
            steps = [s for s in steps if s == step]
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        failures, unreadable = [], []
        for candidate in steps:
            try:
                state = self._manager.restore(candidate, args=ocp.args.StandardRestore(abstract))
            # Whatever a damaged folder makes Orbax or TensorStore raise, an older one may be whole.
            except Exception as error:
                failures.append(f"step {candidate}: {str(error).splitlines()[0][:200]}")
                _log.warning("checkpoint of step %d cannot be read, trying an older", candidate)
                unreadable.append(candidate)
                continue
            # Out of the way, or the run could not save that step when it gets there again.
            if hosts.is_first():
                for damaged in unreadable:
                    (self._folder / str(damaged)).rename(self._folder / f"unreadable-{damaged}")
            hosts.wait()
            self._manager.reload()
            return state
        if failures:
            raise CheckpointError(
                f"no checkpoint in {self._folder} can be read ({'; '.join(failures)}); remove the "
                "run's folder to start afresh"
            )
        return None

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.wait_until_finished()
        self._manager.close()
