"""A run on several hosts: who writes its files, and what all of them agree on.

Every host runs one process with the same command, and all compute the same steps. What a host
would decide by its own clock, signals or disk is decided by all alike; else they would wait for
each other forever. With one host nothing here costs anything.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from physjax.errors import Interrupted, NotFinite
from physjax.train.cluster import find_cluster
from physjax.train.peers import HostError, Peers, describe

# JAX's own time-outs end a process with SIGABRT and a stack; Peers comes long before them.
_NEVER = 10 * 24 * 3600
_MESSAGE = 512

_peers: Peers | None = None


@contextmanager
def distributed(peer_timeout: float = 120) -> Iterator[None]:
    """Be one host of several while inside; enter it before anything is computed.

    Whatever ends one host with an error ends this process too, with exit code 2 and a message that
    names the host, also while it waits for the others: at their death at once, and `peer_timeout`
    seconds after a sign of life where they hang.

    Args:
        peer_timeout: seconds from 1 to 86,400.

    Raises:
        HostError: the time-out is out of range, or see :func:`initialize_distributed`.
    """
    with fail_together():
        initialize_distributed(peer_timeout)
        try:
            yield
        except (Interrupted, NotFinite):
            _leave()
            raise
        _leave()


def initialize_distributed(peer_timeout: float = 120) -> None:
    """Join the other hosts of this job; call it before anything is computed.

    SLURM, TPU pods, Kubernetes and Open MPI tell JAX who the others are. Elsewhere the environment
    says it: JAX_COORDINATOR_ADDRESS (host:port of the first one), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID (from 0).

    Raises:
        HostError: only a part of these is set, nobody tells, or a host did not come in time.
    """
    global _peers
    if not (math.isfinite(peer_timeout) and 1 <= peer_timeout <= 86_400):
        raise HostError(f"peer_timeout is {peer_timeout}; give seconds from 1 to 86400")
    address, count, number, local_devices = find_cluster(math.ceil(peer_timeout))
    peers = Peers(address, count, number, peer_timeout)
    service = peers.connect()
    _peers = peers
    jax.distributed.initialize(
        service,
        count,
        number,
        local_devices,
        cluster_detection_method="deactivate",
        coordinator_bind_address=service,
        initialization_timeout=_NEVER,
        heartbeat_timeout_seconds=_NEVER,
        shutdown_timeout_seconds=_NEVER,
    )


@contextmanager
def fail_together() -> Iterator[None]:
    """End all hosts where this one fails inside, before anything else here waits for them.

    Interrupted and NotFinite are raised by all hosts at the same step, and go their way.
    """
    try:
        yield
    except (Interrupted, NotFinite):
        raise
    except BaseException as error:
        if _peers is not None:
            if isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error):
                _peers.wait_for_verdict()
            _peers.fail(error)
        raise


def _leave() -> None:
    global _peers
    if _peers is not None:
        _peers.leave(jax.distributed.shutdown)
        _peers = None


def is_lead_host() -> bool:
    """Whether this is the host that writes files and talks."""
    return jax.process_index() == 0


def is_multihost() -> bool:
    """Whether there are others."""
    return jax.process_count() > 1


def _gather(value: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """int32 [hosts, ...]: every host's value."""
    if not is_multihost():
        return np.asarray(value, np.int32)[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(value, np.int32)))


def _gather_text(text: str) -> list[str]:
    """Every host's text, cut to 512 bytes."""
    data = text.encode()[:_MESSAGE]
    rows = _gather(np.frombuffer(data.ljust(_MESSAGE, b"\0"), np.uint8))
    return [bytes(row.astype(np.uint8)).rstrip(b"\0").decode(errors="replace") for row in rows]


def fetch(tree: Any) -> Any:
    """`tree` with copies of its arrays on the host, whole, also of those that lie on several.

    Where there are such arrays all hosts must ask at this place.
    """
    return jax.tree.map(_fetch, tree)


def _fetch(array: Any) -> np.ndarray[Any, Any]:
    if isinstance(array, jax.Array) and not (
        array.is_fully_addressable or array.is_fully_replicated
    ):
        from jax.experimental import multihost_utils

        array = multihost_utils.process_allgather(array, tiled=True)
    return np.array(array)


def allmax(value: int) -> int:
    """The largest value, below 2^31, of all hosts, which must all ask at this place."""
    return int(_gather(value).max())


def assert_equal(value: str, message: str) -> None:
    """Check that all hosts, which must all ask at this place, have the same `value`.

    Args:
        value: any text; its hash is compared.
        message: what is said on every host where the values differ.

    Raises:
        HostError: the values differ.
    """
    if len(set(_gather_text(hashlib.sha256(value.encode()).hexdigest()))) > 1:
        raise HostError(message)


def barrier() -> None:
    """Go on when all hosts have come to this place."""
    allmax(0)


@contextmanager
def all_or_none(what: str) -> Iterator[None]:
    """Do something that may fail on one host alone, and fail on all if it does.

    Raises its error where it failed, and on the other hosts a HostError that names the host,
    `what` and the error.
    """
    try:
        yield
    except BaseException as error:
        _gather_text(f"{_name()} could not {what}: {describe(error)}")
        raise
    told = [text for text in _gather_text("") if text]
    if told:
        if _peers is not None:
            _peers.settle()
        raise HostError(told[0])


def _name() -> str:
    number = jax.process_index()
    return f"host {number}" if _peers is None else _peers.names[number]
