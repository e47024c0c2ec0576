"""Who the hosts are, by the variables that SLURM and Open MPI give each of their processes."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from physjax.train import multihost
from physjax.train.cluster import find_cluster
from physjax.train.peers import HostError

SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
"""As `srun` sets them for the second of two tasks on two nodes."""
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ("SLURM_", "OMPI_", "KUBERNETES_", "JAX_COORDINATOR", "TPU_", "CUDA_VIS", "ROCR_VIS")
    for name in list(os.environ):
        if name.startswith(told):
            monkeypatch.delenv(name)


def found(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]
) -> tuple[str, int, int, list[int] | None]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return find_cluster(1)


def test_a_slurm_task_that_is_alone_on_its_node_has_all_its_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert found(monkeypatch, SLURM) == ("node07:61441", 2, 1, None)


@pytest.mark.parametrize(
    ("tasks", "node", "devices"),
    [
        ("1", "0", None),
        ("8(x2)", "1", [3]),
        ("8(x2),1", "2", None),
        ("1,8", "1", [3]),
        # Nothing is known, as with another version of SLURM: what JAX does.
        ("", "1", [3]),
        ("8", "1", [3]),
    ],
)
def test_one_device_a_task_where_a_node_has_several_tasks(
    monkeypatch: pytest.MonkeyPatch, tasks: str, node: str, devices: list[int] | None
) -> None:
    variables = {"SLURM_LOCALID": "3", "SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_NODEID": node}
    assert found(monkeypatch, SLURM | variables)[-1] == devices


def test_a_task_that_is_shown_one_gpu_takes_it_whatever_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--gpus-per-task=1`: the one GPU of task 3 is number 0 for it."""
    eight = SLURM | {"SLURM_LOCALID": "3", "SLURM_STEP_TASKS_PER_NODE": "8(x2)"}
    assert found(monkeypatch, eight | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"})[-1] == [3]
    assert found(monkeypatch, eight | {"CUDA_VISIBLE_DEVICES": "3"})[-1] is None


def test_open_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, OPEN_MPI)[1:] == (4, 3, [1])
    one = OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
    assert found(monkeypatch, one)[1:] == (4, 3, None)


def test_variables_of_ones_own_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {
        "JAX_COORDINATOR_ADDRESS": "first:1",
        "JAX_NUM_PROCESSES": "8",
        "JAX_PROCESS_ID": "5",
    }
    assert found(monkeypatch, SLURM | own) == ("first:1", 8, 5, None)


def test_a_cluster_that_tells_nonsense_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match="the other hosts are not known"):
        found(monkeypatch, SLURM | {"SLURM_NTASKS": "two"})
    found(monkeypatch, SLURM | {"SLURM_PROCID": "2"})
    with pytest.raises(HostError, match="hosts are numbered from 0"):
        multihost.initialize_distributed()
