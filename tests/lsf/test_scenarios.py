"""Whole lives of LSF jobs, played by stand-ins of LSF's commands; real LSF was not available."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError, UncompletedJobError

from hpc_gw.errors import LaunchError
from hpc_gw.launch.lsf import LsfExecutor, after
from tests.lsf import functions

WARNED = {"time": 4, "warning_min": 2}  # the warning comes after 8 s, the end after 16 s


@pytest.fixture(scope="module", autouse=True)
def warned(lsf):
    """Jobs longer than their time, started first as they take longest."""
    folder = lsf.folder / "warned"
    long = functions.Steps(folder / "long", total=40, last=2)
    endless = functions.Steps(folder / "endless", total=10_000)
    deaf = functions.wait_for
    return {
        "long": lsf.executor("long", **WARNED).submit(long),
        "endless": lsf.executor("endless", requeues=1, **WARNED).submit(endless),
        "deaf": lsf.executor("deaf", **WARNED).submit(deaf, folder / "never", 60),
        "folder": folder,
    }


def runs(folder):
    """First step of each run."""
    return [int(line) for line in (folder / "log").read_text().split()]


def told(folder):
    """Steps at which checkpoints were asked for."""
    return [int(line) for line in (folder / "told").read_text().split()]


def test_auto_executor_finds_lsf_by_its_entry_point(lsf):
    auto = submitit.AutoExecutor(lsf.folder / "auto", cluster="lsf")
    auto.update_parameters(timeout_min=400, name="sum", lsf_project="astro")
    job = auto.submit(functions.add, 2, b=3)
    assert job.result() == 5
    lsf.await_state(job, "DONE")
    assert job.get_info()["State"] == "COMPLETED"
    assert lsf.history(job) == ["PEND", "RUN", "DONE"]
    assert '#BSUB -J "sum"' in job.paths.submission_file.read_text()


def test_a_remote_exception_comes_back_with_its_trace(lsf):
    job = lsf.executor("fails").submit(functions.fail, "waveform")
    with pytest.raises(FailedJobError, match=r"(?s)Traceback.*ValueError: no such waveform"):
        job.result()
    assert "about to fail" in job.stderr()
    lsf.await_state(job, "EXIT")


def test_a_job_that_dies_shows_its_errors_and_lsfs_report(lsf):
    job = lsf.executor("dies").submit(functions.die)
    with pytest.raises(UncompletedJobError) as caught:
        job.result()
    assert "the library said: bad magic" in str(caught.value)
    assert "Exited with exit code 3." in str(caught.value)
    assert "state: FAILED" in str(caught.value)


def test_a_script_that_fails_before_python_shows_why(lsf):
    executor = lsf.executor("typo", setup=["set -e", "modul load cuda"])
    with pytest.raises(UncompletedJobError, match="modul: command not found"):
        executor.submit(functions.add, 1, 1).result()


def test_an_array_knows_its_elements(lsf):
    executor = lsf.executor("array", array_parallelism=2)
    jobs = executor.map_array(functions.add, [1, 2, 3], [10, 20, 30])
    assert [job.result() for job in jobs] == [11, 22, 33]
    assert [job.job_id.split("_")[1] for job in jobs] == ["0", "1", "2"]
    text = jobs[0].paths.submission_file.read_text()
    assert '#BSUB -J "hpc-gw[1-3]%2"' in text
    for job in jobs:
        lsf.await_state(job, "DONE")
        assert job.get_info()["State"] == "COMPLETED"


def test_one_element_of_an_array_is_cancelled(lsf):
    gate = lsf.folder / "gate"
    executor = lsf.executor("cancels")
    jobs = executor.submit_array([lambda: functions.wait_for(gate)] * 2)
    lsf.await_state(jobs[1], "RUN")
    jobs[1].cancel()
    lsf.await_state(jobs[1], "EXIT")
    assert lsf.history(jobs[0])[-1] == "RUN"
    gate.touch()
    assert jobs[0].result()
    with pytest.raises(UncompletedJobError, match="TERM_OWNER"):
        jobs[1].result()
    with pytest.raises(LaunchError, match="already finished"):
        jobs[1].cancel()
    jobs[1].cancel(check=False)


def test_ranks_of_jsrun_meet(lsf):
    executor = lsf.executor("gloo", tasks_per_node=2)
    job = executor.submit(functions.all_reduce, [1.0, 41.0])
    found = job.results()
    assert [rank[:3] for rank in found] == [(0, 2, 42.0), (1, 2, 42.0)]
    assert all(int(rank[4]) == 20_000 + int(job.job_id) for rank in found)
    lsf.await_state(job, "DONE")


def test_each_rank_knows_its_place_and_has_its_log(lsf):
    job = lsf.executor("ranks", tasks_per_node=2).submit(functions.environment)
    first, second = job.results()
    assert (first["global_rank"], second["global_rank"]) == (0, 1)
    assert second["local_rank"] == 1 and second["num_tasks"] == 2
    assert second["num_nodes"] == 1 and second["hostnames"] == ["localhost"]
    assert first["cluster"] == "lsf" and first["lsf_id"] == job.lsf_id == job.job_id
    assert "global_rank=1(2)" in job.task(1).stdout()
    assert "global_rank=1(2)" not in job.task(0).stdout()


def test_a_dependency_waits_for_success(lsf):
    gate = lsf.folder / "first_gate"
    first = lsf.executor("first").submit(functions.wait_for, gate)
    second = lsf.executor("second", dependency=after([first])).submit(functions.add, 1, 1)
    third = lsf.executor("third", dependency=after([first, second])).submit(functions.add, 2, 2)
    lsf.await_state(first, "RUN")
    time.sleep(0.3)
    assert lsf.history(second) == ["PEND"]
    gate.touch()
    assert third.result() == 4
    assert second.done(force_check=True)


def test_what_depends_on_a_failure_never_runs(lsf):
    first = lsf.executor("bad").submit(functions.fail, "shard")
    second = lsf.executor("orphan", dependency=after([first])).submit(functions.add, 1, 1)
    lsf.await_state(second, "EXIT")
    assert lsf.history(second) == ["PEND", "EXIT"]
    with pytest.raises(UncompletedJobError, match="FAILED"):
        second.result()


def test_an_external_requeue_resumes_from_the_periodic_checkpoint(lsf):
    folder = lsf.folder / "periodic"
    job = lsf.executor("outside").submit(functions.Steps(folder, total=20, periodic=True, last=2))
    lsf.until(lambda: int((folder / "step").read_text()) >= 10)
    subprocess.run(["brequeue", job.lsf_id], check=True, stdout=subprocess.DEVNULL)
    assert job.result() == 20
    assert len(runs(folder)) == 2 and runs(folder)[0] == 0
    assert 10 <= runs(folder)[1] < 20
    assert not (folder / "told").exists()
    assert lsf.history(job)[:4] == ["PEND", "RUN", "PEND", "RUN"]


def test_a_lost_host_starts_a_rerunnable_job_again(lsf):
    folder = lsf.folder / "lost"
    job = lsf.executor("host").submit(functions.Steps(folder, total=20, periodic=True, last=2))
    lsf.until(lambda: int((folder / "step").read_text()) >= 5)
    requests = lsf.state / "jobs" / job.job_id / "requests"
    (requests / "0.ready").write_text('{"index": "0", "what": "lose host"}')
    assert job.result() == 20
    assert len(runs(folder)) == 2 and 5 <= runs(folder)[1] < 20


def test_an_interrupted_job_is_requeued_by_its_script_where_nodes_lack_lsf(lsf):
    folder = lsf.folder / "bare"
    # The ranks see no commands of LSF; the shell that started them does.
    executor = LsfExecutor(
        lsf.folder / "bare_node", python=f"env PATH= {shlex.quote(sys.executable)}"
    )
    executor.update_parameters(time=400)
    job = executor.submit(functions.Steps(folder, total=20, last=2))
    lsf.until(lambda: (folder / "log").exists())
    time.sleep(0.3)
    job._interrupt()
    assert job.result() == 20
    assert runs(folder) == [0, *told(folder)]
    assert len(told(folder)) == 1
    assert not list((lsf.folder / "bare_node").glob("*_requeue"))


def test_a_warning_that_comes_while_the_job_is_being_loaded_is_kept(lsf, tmp_path):
    """Without LSF, and without brequeue: the rank's part alone."""
    variables = {"LSB_JOBID": "77", "SUBMITIT_EXECUTOR": "lsf", "PATH": ""}
    command = [sys.executable, "-m", "hpc_gw.launch.lsf.rank", str(tmp_path)]
    rank = subprocess.Popen(command, env=os.environ | variables)
    lsf.until(lambda: "Loading pickle" in (tmp_path / "77_0_log.out").read_text())
    rank.send_signal(signal.SIGUSR2)
    (tmp_path / "steps").mkdir()
    job = DelayedSubmission(functions.Steps(tmp_path / "steps", total=10_000))
    job.set_timeout(4, 1)
    job.dump(tmp_path / "new")
    (tmp_path / "new").rename(tmp_path / "77_submitted.pkl")
    assert rank.wait() == 255
    assert (tmp_path / "77_requeue").exists()
    assert told(tmp_path / "steps") == [0]


def test_before_its_time_is_over_a_job_saves_and_goes_on_where_it_was(lsf, warned):
    folder = warned["folder"] / "long"
    assert warned["long"].result() == 40
    steps = told(folder)
    assert len(steps) >= 1 and all(0 < step < 40 for step in steps)
    assert runs(folder) == [0, *steps]
    assert lsf.history(warned["long"])[:4] == ["PEND", "RUN", "PEND", "RUN"]


def test_a_job_is_requeued_so_many_times_and_no_more(lsf, warned):
    with pytest.raises(FailedJobError, match="timed-out too many times"):
        warned["endless"].result()
    folder = warned["folder"] / "endless"
    assert len(runs(folder)) == 2 and len(told(folder)) == 2
    lsf.await_state(warned["endless"], "EXIT")


def test_a_function_without_checkpoint_is_not_requeued(lsf, warned):
    with pytest.raises(FailedJobError, match="not checkpointable"):
        warned["deaf"].result()
    lsf.await_state(warned["deaf"], "EXIT")
    assert lsf.history(warned["deaf"]) == ["PEND", "RUN", "EXIT"]
