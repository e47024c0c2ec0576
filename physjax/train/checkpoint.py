"""Orbax checkpoints of a TrainState: saved in the background, restored from the newest whole one.

    checkpoints/<step>/state      the arrays, as Orbax and TensorStore keep them
                       contents   JSON: a SHA-256 of every array, and what the run wants to know

Both are one checkpoint: Orbax renames it to its place when all of it is written. TensorStore reads
some damaged files without a word, so that nothing counts as whole until its digests agree.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PreservationContext, PreservationPolicy

from physjax.train import multihost
from physjax.train.checkpoint_errors import (
    CheckpointError,
    check_path,
    explained,
    ignore_late_answers,
    reason,
)

T = TypeVar("T")
_log = logging.getLogger(__name__)

_UNREADABLE = "unreadable-{}"


class _Damaged(Exception):
    """A checkpoint that was read, and is not what was saved."""


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

    Args:
      folder: is made where it is missing, unless `read_only`.
      best_step: tells at each save which step, if any, is the best so far and must be kept.
      read_only: change nothing on the disk.
    """

    def __init__(
        self,
        folder: Path,
        best_step: Callable[[], int | None] = lambda: None,
        *,
        read_only: bool = False,
    ) -> None:
        check_path(folder)
        self._folder = folder.absolute()
        self._read_only = read_only
        self._proven = False
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_LastAndBest(best_step),
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        with explained(f"checkpoints cannot be kept in {self._folder}"):
            self._manager = ocp.CheckpointManager(
                self._folder,
                options=options,
                # Else Orbax guesses from the newest folder, and an empty one hides all the others.
                item_handlers={
                    "state": ocp.StandardCheckpointHandler(),
                    "contents": ocp.JsonCheckpointHandler(),
                },
            )

    def save(self, state: Any, step: int, about: Mapping[str, Any] | None = None) -> bool:
        """Start to save `state`; the files are written while training goes on.

        Nothing happens where that step is saved already. The first one is waited for and read
        back, before hours are spent on what could not be used.

        Args:
          state: arrays in a pytree.
          step: names the checkpoint.
          about: what `accept` of :meth:`restore` will be given; JSON.

        Returns:
          Whether that step was not saved already.

        Raises:
          CheckpointError: this save or an earlier one failed in the background, or the first one
            does not come back as it was.
        """
        self.check()
        if step in self._manager.all_steps():
            return False
        # A host copy: the step is about to be given these very buffers. Whole arrays, wherever
        # they lie: a run may go on with other devices.
        host = multihost.fetch(state)
        contents: dict[str, Any] = {"leaves": digests(host), "about": dict(about or {})}
        contents["sha256"] = _digest_of_json(contents)
        with explained(f"the checkpoint of step {step} cannot be written in {self._folder}"):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(host), contents=ocp.args.JsonSave(contents)
                ),
            )
            if not self._proven:
                self._manager.wait_until_finished()
        if not self._proven:
            with explained(f"the checkpoint of step {step} in {self._folder} was written, and"):
                self._read(host, step)
            self._proven = True
        return True

    def check(self) -> None:
        """Raise CheckpointError where a save failed in the background."""
        with explained(f"a checkpoint cannot be written in {self._folder}"):
            self._manager.check_for_errors()

    def restore(
        self,
        like: T,
        step: int | None = None,
        accept: Callable[[Mapping[str, Any]], str] = lambda about: "",
    ) -> T | None:
        """The state saved at `step`, or the newest that is whole; None where none was saved.

        Newer ones that are not are renamed to unreadable-<step>, and a warning is logged.

        Args:
          like: has the structure, shapes and shardings wanted.
          step: this one and no other.
          accept: says why the run cannot go on from a checkpoint, given its `about`; "": it can.

        Raises:
          CheckpointError: there are checkpoints, but none that can be used.
        """
        ignore_late_answers()
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        failures, unusable = [], []
        for candidate in [s for s in self._steps() if step in (None, s)]:
            problem, state = "", None
            try:
                state, about = self._read(abstract, candidate)
                problem = accept(about)
            # Whatever a damaged folder makes Orbax or TensorStore raise, an older one may be whole.
            except Exception as error:
                problem = reason(error)
            if multihost.allmax(bool(problem)):
                problem = problem or "another host cannot use it"
                failures.append(f"step {candidate}: {problem}")
                _log.warning("checkpoint of step %d cannot be used: %s", candidate, problem)
                unusable.append(candidate)
                continue
            self._set_aside(unusable)
            self._proven = True
            return state
        if failures:
            raise CheckpointError(
                f"no checkpoint in {self._folder} can be used ({'; '.join(failures)}); put back a "
                "copy of it, or remove that folder to start the run afresh"
            )
        return None

    def seal(self, step: int) -> str:
        """A SHA-256 that stands for all that was saved at `step`: that of its arrays' digests.

        Raises CheckpointError where there is no such checkpoint, or what says it is damaged.
        """
        with explained(f"the checkpoint of step {step} in {self._folder} cannot be read"):
            args = ocp.args.Composite(contents=ocp.args.JsonRestore())
            return str(self._manager.restore(step, args=args)["contents"]["sha256"])

    def _steps(self) -> list[int]:
        """From the newest on; also those that Orbax passes over, for a file that is missing."""
        if not self._folder.is_dir():
            return []
        self._manager.reload()
        return sorted(
            (
                int(p.name)
                for p in self._folder.iterdir()
                if p.is_dir() and p.name.isascii() and p.name.isdecimal()
            ),
            reverse=True,
        )

    def _read(self, abstract: T, step: int) -> tuple[T, dict[str, Any]]:
        """State and `about` of one checkpoint. Raises whatever the damage in it leads to."""
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), contents=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=args)
        contents = dict(restored["contents"])
        if contents.pop("sha256", None) != _digest_of_json(contents):
            raise _Damaged("its digests are damaged")
        leaves, state = contents["leaves"], restored["state"]
        for name, digest in digests(state).items():
            if leaves.pop(name, None) != digest:
                raise _Damaged(f"{name} is not what was saved")
        if leaves:
            raise _Damaged(f"{', '.join(leaves)} is missing")
        return state, contents["about"]

    def _set_aside(self, steps: list[int]) -> None:
        """Out of the way, or the run could not save these steps when it gets there again."""
        if self._read_only or not steps:
            return
        if multihost.is_lead_host():
            for step in steps:
                aside = self._folder / _UNREADABLE.format(step)
                with explained(f"{self._folder / str(step)} cannot be renamed"):
                    if aside.exists():
                        shutil.rmtree(aside)
                    (self._folder / str(step)).rename(aside)
        multihost.barrier()
        self._manager.reload()

    def wait(self) -> None:
        """Wait for what is being written. Raises CheckpointError where that fails."""
        with explained(f"a checkpoint cannot be written in {self._folder}"):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for what is being written, and end. Raises CheckpointError as :meth:`wait` does."""
        with explained(f"a checkpoint cannot be written in {self._folder}"):
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.close()


def has_checkpoint(folder: Path) -> bool:
    """Whether something was saved in a run's folder of checkpoints, whole or not."""
    return folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir())


def digests(tree: Any) -> dict[str, str]:
    """SHA-256 of every array's type, shape and values, by its place in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): _digest(multihost.fetch(leaf)) for path, leaf in leaves}


def _digest(array: np.ndarray[Any, Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _digest_of_json(contents: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
