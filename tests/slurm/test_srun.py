"""The command under srun and sbatch, as a user writes them by hand."""

import pytest

from tests.faults.generators import LAUNCHER, checksums
from tests.faults.trainings import ALIKE, losses, new_run, trained, write_job
from tests.slurm.cluster import equal, hpc_gw, weights

SETTINGS = (*ALIKE, "train.epochs=2")


def shards(folder):
    """Checksums of all shards of a job's data."""
    return {p.name: checksums(p) for p in sorted(folder.iterdir()) if p.is_dir()}


def test_generation_on_ranks_of_srun_gives_the_same_bytes(slurm, data, tmp_path):
    job = write_job(tmp_path)
    slurm.ask("srun", "--mpi=pmi2", "-n2", *hpc_gw("generate", job))
    made = shards(tmp_path / "run" / "data")
    assert made == shards(data) and len(made) == 3 and all(made.values())


def test_generation_under_srun_without_pmi2_is_one_line_with_the_remedy(slurm, tmp_path):
    done = slurm.call("srun", "-n2", *hpc_gw("generate", write_job(tmp_path)))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("hpc-gw")]
    assert len(lines) == 2 and all("srun --mpi=pmi2" in line for line in lines), done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.skipif(LAUNCHER is None, reason="no mpiexec")
def test_generation_by_mpiexec_inside_a_job(slurm, data, tmp_path):
    line = " ".join([LAUNCHER, "-n 2", *hpc_gw("generate", write_job(tmp_path))])
    job = slurm.sbatch(tmp_path, line, options=["-n2"])
    fields = slurm.end_of(job)
    assert fields["JobState"] == "COMPLETED", (tmp_path / f"job-{job}.txt").read_text()
    assert shards(tmp_path / "run" / "data") == shards(data)


def test_ranks_of_srun_train_the_weights_that_ranks_without_slurm_do(slurm, data):
    """Bit for bit: the same program on the same two ranks."""
    without = trained(new_run(data, "without"), *SETTINGS, ranks=2)
    run = new_run(data, "srun")
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    job = data.parents[1] / "job.yaml"
    slurm.ask("srun", "-n2", *hpc_gw("train", job, "--output", run, *words))
    assert equal(weights(run), weights(without))
    assert losses(run) == losses(without)
