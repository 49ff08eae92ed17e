"""The cluster of slurm/test_cluster itself: started twice, seen from outside, stopped."""

import re
import shutil
import subprocess

import pytest

from tests.slurm.cluster import OURS, SCRIPTS, down, name_of, up
from tests.slurm.conftest import needs_own

pytestmark = needs_own


def test_started_twice_it_is_the_same_cluster_and_stopped_it_leaves_nothing(tmp_path):
    folder = tmp_path / "cluster"
    conf = up(folder)
    before = conf.read_text()
    processes = sorted(int(path.read_text()) for path in folder.glob("*.pid"))
    assert len(processes) == 3
    assert up(folder) == conf and conf.read_text() == before and name_of(conf) == OURS
    down(folder)
    assert not folder.exists()
    down(folder)
    running = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True)
    alive = {int(line.split()[0]) for line in running.stdout.splitlines() if "Z" not in line}
    assert not alive & set(processes)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "slurm.conf").write_text("ClusterName=somebody\n")
    done = subprocess.run([SCRIPTS / "up", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1 and "give another folder" in done.stderr
    down(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["slurm.conf"]


@pytest.mark.skipif(shutil.which("ss") is None, reason="needs ss (iproute2)")
def test_slurm_listens_on_loopback_only(slurm):
    job = slurm.start("srun", "--mpi=pmi2", "-n2", "sleep", "30")
    try:
        slurm.wait_until(lambda: "RUNNING" in slurm.ask("squeue", "--format=%T"))
        text = slurm.ask("ss", "-ltnpH")
    finally:
        job.terminate()
        job.wait(30)
    found = [line.split()[3] for line in text.splitlines() if re.search("slurm|srun|munge", line)]
    assert len(found) >= 3  # slurmctld, slurmd, srun
    assert all(address.startswith("127.0.0.1:") for address in found), text
