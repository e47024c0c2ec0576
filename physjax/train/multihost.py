"""A run over several hosts: who writes its files, and what all of them agree on.

Every host runs one process with the same command, and all compute the same steps. What a host
would decide by its own clock, signals or disk is decided by all alike; else they would wait for
each other forever. With one host nothing here costs anything.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
import numpy.typing as npt

from physjax.errors import UserError


class HostError(UserError):
    """Hosts that cannot work together; the message says what is missing."""


_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def initialize_distributed() -> None:
    """Join the other hosts of this job; call it before anything is computed.

    SLURM, TPU pods, Kubernetes and Open MPI tell JAX who the others are. Elsewhere the environment
    says it: JAX_COORDINATOR_ADDRESS (host:port of the first one), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID (from 0). Raises HostError where only a part of these is set, or nobody tells.
    """
    given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    try:
        if len(given) == len(_VARIABLES):
            address, count, number = given.values()
            jax.distributed.initialize(address, int(count), int(number))
            return
        if not given:
            jax.distributed.initialize()
            return
    except ValueError as error:
        raise HostError(
            f"the other hosts are not known ({error}); set {', '.join(_VARIABLES)}, or leave "
            "--distributed out"
        ) from error
    missing = ", ".join(name for name in _VARIABLES if name not in given)
    raise HostError(f"{', '.join(given)} is set, and {missing} is not; set all or none of them")


def is_lead_host() -> bool:
    """Whether this is the host that writes files and talks."""
    return jax.process_index() == 0


def is_multihost() -> bool:
    """Whether there are others."""
    return jax.process_count() > 1


def _gather(value: int) -> npt.NDArray[np.int32]:
    """int32 [hosts]: every host's value."""
    if not is_multihost():
        return np.array([value], np.int32)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.array(value, np.int32)))


def allmax(value: int) -> int:
    """The largest value, below 2^31, of all hosts, which must all ask at this place."""
    return int(_gather(value).max())


def assert_equal(value: str, message: str) -> None:
    """Check that all hosts, which must all ask at this place, have the same `value`.

    Args:
        value: any text; a digest of it is compared.
        message: what is said on every host where the values differ.

    Raises:
        HostError: the values differ.
    """
    digest = int.from_bytes(hashlib.sha256(value.encode()).digest()[:3], "big")
    if len(set(_gather(digest).tolist())) > 1:
        raise HostError(message)


def barrier() -> None:
    """Go on when all hosts have come to this place."""
    allmax(0)


@contextmanager
def all_or_none(what: str) -> Iterator[None]:
    """Do something that may fail on one host alone, and fail on all if it does.

    Raises its UserError where it failed, and on the other hosts a HostError that names `what`.
    """
    try:
        yield
    except UserError:
        allmax(1)
        raise
    if allmax(0):
        raise HostError(f"another host could not {what}; its own output says why")
