"""Who the hosts of a run are, as the environment or the job manager tells."""

from __future__ import annotations

import os
import re

from physjax.train.peers import HostError, describe

_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_COUNTS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def find_cluster(seconds: int) -> tuple[str, int, int, list[int] | None]:
    """Address of host 0, number of hosts, this one's number, and its devices where not all.

    Args:
      seconds: that a service may take to answer.

    Raises:
      HostError: only a part of the variables is set, or nobody tells.
    """
    given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    if given and len(given) < len(_VARIABLES):
        missing = ", ".join(name for name in _VARIABLES if name not in given)
        raise HostError(f"{', '.join(given)} is set, and {missing} is not; set all or none of them")
    if given:
        address, *numbers = given.values()
        for name, number in zip(_VARIABLES[1:], numbers, strict=True):
            if not number.isdecimal():
                raise HostError(f"{name} is {number!r}; give a whole number")
        return address, int(numbers[0]), int(numbers[1]), None
    # What jax.distributed.initialize asks itself; it can be told a way around, but not asked.
    from jax._src.clusters import ClusterEnv

    try:
        cluster = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, seconds
        )
    # Each kind of cluster looks into variables, files and services of its own.
    except Exception as error:
        raise HostError(f"the other hosts are not known ({describe(error)}); {_ADVICE}") from error
    where, size, own, devices = cluster
    if where is None or size is None or own is None:
        raise HostError(f"the other hosts are not known; {_ADVICE}")
    return where, size, own, None if devices is None or _has_all_devices() else list(devices)


_ADVICE = f"set {', '.join(_VARIABLES)}, or leave --distributed out"


def _has_all_devices() -> bool:
    """Whether this process may use all devices that it sees, whatever JAX takes for granted.

    JAX gives a task of SLURM or Open MPI the one device of its number on the node. That is right
    where a node has a task for each of its devices. Where it has one task, the others would idle;
    and a task that sees one device alone has no other, whatever its number.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", os.environ.get("ROCR_VISIBLE_DEVICES", ""))
    return _tasks_on_node() == 1 or (seen != "" and "," not in seen)


def _tasks_on_node() -> int | None:
    """Processes of this job on this machine; None where the job manager does not tell."""
    local = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "")
    if local.isdecimal():
        return int(local)
    node = os.environ.get("SLURM_NODEID", "")
    counts: list[int] = []
    # 8(x2),4: eight tasks on each of the first two nodes, four on the third.
    for tasks, nodes in _COUNTS.findall(os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [int(tasks)] * int(nodes or 1)
    return counts[int(node)] if node.isdecimal() and int(node) < len(counts) else None
