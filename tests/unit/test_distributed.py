"""Ranks from launcher variables, without a launcher."""

import pytest

from hpc_gw.distributed import SerialWorld, detect_launch, mpi_world, torch_world
from hpc_gw.errors import LaunchError

VARIABLES = (
    "WORLD_SIZE", "RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_SIZE", "PMI_RANK",
    "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK",
    "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_a_launcher_a_process_is_alone():
    assert detect_launch().size == 1
    assert isinstance(mpi_world(), SerialWorld)
    with torch_world() as (world, device):
        assert (world.rank, world.size) == (0, 1)
        assert device.type in ("cpu", "cuda")
        assert world.sum(3.5) == 3.5


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WORLD_SIZE": 8, "RANK": 5, "LOCAL_RANK": 1}, ("torchrun", 8, 5, 1)),
        ({"PMI_SIZE": 4, "PMI_RANK": 2}, ("mpiexec", 4, 2, 2)),
        ({"PMI_SIZE": 4, "PMI_RANK": 2, "MPI_LOCALRANKID": 0}, ("mpiexec", 4, 2, 0)),
        ({"JSM_NAMESPACE_SIZE": 6, "JSM_NAMESPACE_RANK": 3}, ("jsrun", 6, 3, 3)),
        (
            {"SLURM_STEP_NUM_TASKS": 16, "SLURM_PROCID": 9, "SLURM_LOCALID": 1},
            ("srun", 16, 9, 1),
        ),
        # a leftover of another launcher does not hide the ranks that were started
        ({"WORLD_SIZE": 1, "RANK": 0, "PMI_SIZE": 4, "PMI_RANK": 3}, ("mpiexec", 4, 3, 3)),
        # torchrun inside a Slurm job: the inner launcher is the one that counts
        (
            {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1, "SLURM_STEP_NUM_TASKS": 1,
             "SLURM_PROCID": 0},
            ("torchrun", 2, 1, 1),
        ),
    ],
)  # fmt: skip
def test_launchers_are_told_by_their_variables(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    launch = detect_launch()
    assert (launch.launcher, launch.size, launch.rank, launch.local_rank) == expected


def test_variables_that_are_no_numbers_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(LaunchError, match="WORLD_SIZE=two"):
        detect_launch()


def test_ranks_on_several_nodes_need_an_address_to_meet_at(monkeypatch):
    monkeypatch.setenv("JSM_NAMESPACE_SIZE", "12")
    monkeypatch.setenv("JSM_NAMESPACE_RANK", "0")
    with pytest.raises(LaunchError, match="MASTER_ADDR"), torch_world():
        pass
