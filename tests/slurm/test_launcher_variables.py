"""What srun tells a rank; needs no Slurm."""

import pytest

from hpc_gw.distributed import Launch, detect_launch


@pytest.fixture
def variables(monkeypatch):
    """Set variables, where no launcher's are set."""
    for name in ("WORLD_SIZE", "HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE",
                 "MPI_LOCALRANKID", "JSM_NAMESPACE_SIZE", "SLURM_STEP_NUM_TASKS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)

    def put(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return put


def test_a_rank_of_srun_with_pmi2_knows_its_place_on_the_second_node(variables):
    """Six ranks on two nodes: PMI2's variables number them over both."""
    variables(PMI_SIZE=6, PMI_RANK=4)
    variables(SLURM_STEP_NUM_TASKS=6, SLURM_PROCID=4, SLURM_LOCALID=1)
    assert detect_launch() == Launch("srun", 6, 4, 1)


def test_a_rank_of_mpiexec_inside_a_job_is_not_taken_for_one_of_srun(variables):
    """mpiexec has srun start a proxy on each of two nodes, whose variables its ranks inherit."""
    variables(SLURM_STEP_NUM_TASKS=2, SLURM_PROCID=0, SLURM_LOCALID=0)
    variables(PMI_SIZE=2, PMI_RANK=1, MPI_LOCALRANKID=1)
    assert detect_launch() == Launch("mpiexec", 2, 1, 1)
