"""How answers of LSF's commands, and variables in a job, are read; as IBM documents them."""

import logging
import os
import shutil

import pytest
from submitit.core.utils import FailedSubmissionError, UncompletedJobError

from hpc_gw.launch.lsf import LsfExecutor, LsfInfoWatcher, LsfJob, LsfJobEnvironment
from tests.lsf import functions

VARIABLES = [
    f"{name}_{what}"
    for name in ("JSM_NAMESPACE", "OMPI_COMM_WORLD", "PMIX")
    for what in ("RANK", "SIZE", "LOCAL_RANK")
] + ["LSB_JOBINDEX", "LSB_DJOB_HOSTFILE", "LSB_MCPU_HOSTS", "MASTER_ADDR", "MASTER_PORT"]


@pytest.fixture
def variables(monkeypatch):
    """Set these, and no others of LSF's."""
    monkeypatch.setenv("LSB_JOBID", "12")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def put(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))
        return LsfJobEnvironment()

    return put


def test_states_are_submitits():
    expected = {
        "PEND": "PENDING", "PROV": "PENDING", "WAIT": "PENDING", "PSUSP": "PENDING",
        "RUN": "RUNNING", "ZOMBI": "RUNNING", "USUSP": "PREEMPTED", "SSUSP": "PREEMPTED",
        "DONE": "COMPLETED", "EXIT": "FAILED", "UNKWN": "UNKNOWN",
    }  # fmt: skip
    answer = "".join(f"{i}|0|{word}\n" for i, word in enumerate(expected))
    found = LsfInfoWatcher().read_info(answer.encode())
    assert [found[str(i)]["State"] for i in range(len(expected))] == list(expected.values())


def test_elements_count_from_zero_and_noise_is_left_out():
    watcher = LsfInfoWatcher()
    found = watcher.read_info("12|1|RUN\n 12 | 4 | DONE \nwarning: a|b\n13|-|EXIT\n\n")
    assert {k: v["State"] for k, v in found.items()} == {
        "12_0": "RUNNING", "12_3": "COMPLETED", "13": "FAILED",
    }  # fmt: skip


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "PREEMPTED", "UNKNOWN"])
def test_a_job_is_not_done_as_long_as_it_may_run(state, monkeypatch):
    watcher = LsfInfoWatcher()
    monkeypatch.setattr(watcher, "get_state", lambda *_, **__: state)
    assert not watcher.is_done("12")


def test_bsubs_answer():
    read = LsfExecutor._get_job_id_from_submission_command
    assert read(b"Job <4711> is submitted to default queue <normal>.\n") == "4711"
    with pytest.raises(FailedSubmissionError, match="'Queue is closed' instead of"):
        read("Queue is closed")


@pytest.fixture
def watcher(lsf, monkeypatch):
    """One that asks whenever it is asked, and does not wait long between attempts."""
    fresh = LsfInfoWatcher(delay_s=0)
    monkeypatch.setattr("hpc_gw.launch.lsf.jobs._PAUSES_S", (0.01, 0.01))
    monkeypatch.setattr(LsfJob, "watcher", fresh)
    return fresh


def test_an_unknown_job_beside_a_known_one_disturbs_nothing(lsf, watcher):
    job = lsf.executor("known").submit(functions.add, 1, 2)
    LsfJob(lsf.folder / "known", "999")
    assert job.result() == 3
    lsf.await_state(job, "DONE")
    watcher.update()
    assert watcher.get_state(job.job_id, "cache") == "COMPLETED"
    watcher.update()
    assert watcher.get_state("999", "cache") == "VANISHED"


@pytest.mark.parametrize(("failures", "known"), [(2, True), (3, False)])
def test_bjobs_is_asked_again_when_lsf_is_away(lsf, watcher, caplog, failures, known):
    job = lsf.executor(f"away{failures}").submit(functions.add, 1, 2)
    lsf.await_state(job, "DONE")
    (lsf.state / "bjobs_fails").write_text(str(failures))
    logger = logging.getLogger("submitit")
    logger.addHandler(caplog.handler)
    watcher.update()
    logger.removeHandler(caplog.handler)
    assert (watcher.get_state(job.job_id, "cache") == "COMPLETED") == known
    assert ("LSF is down" in caplog.text) == (not known)
    assert int((lsf.state / "bjobs_fails").read_text()) == 0
    watcher.update()
    assert watcher.get_state(job.job_id, "cache") == "COMPLETED"


def test_a_job_that_lsf_has_forgotten_is_judged_by_its_result(lsf, watcher):
    job = lsf.executor("forgotten").submit(functions.add, 1, 2)
    lsf.await_state(job, "DONE")
    shutil.rmtree(lsf.state / "jobs" / job.job_id)  # CLEAN_PERIOD is over
    assert job.result() == 3
    job.paths.result_pickle.unlink()
    with pytest.raises(UncompletedJobError, match="state: VANISHED"):
        job.result()


@pytest.mark.parametrize("name", ["JSM_NAMESPACE", "OMPI_COMM_WORLD", "PMIX"])
def test_the_rank_is_the_launchers(variables, name):
    assert variables(**{f"{name}_RANK": 3}).global_rank == 3
    assert variables(JSM_NAMESPACE_RANK=5).global_rank == 5  # it goes first


def test_a_job_that_is_no_array_has_index_zero(variables):
    single = variables(LSB_JOBINDEX=0)
    assert (single.job_id, single.lsf_id, single.array_job_id) == ("12", "12", None)
    fourth = variables(LSB_JOBINDEX=4)
    assert (fourth.job_id, fourth.lsf_id, fourth.array_task_id) == ("12_3", "12[4]", "3")


@pytest.mark.parametrize(
    ("hosts", "compute"),
    [
        ("batch5 1 h36n01 42 h36n02 42", ["h36n01", "h36n02"]),
        ("lassen710 1 lassen33 40", ["lassen33"]),
        ("node1 4 node2 4", ["node1", "node2"]),
        ("node1 1 node2 1", ["node1", "node2"]),
        ("node1 1", ["node1"]),
    ],
)
def test_hosts_are_those_of_the_ranks(variables, tmp_path, hosts, compute):
    words = hosts.split()
    assert variables(LSB_MCPU_HOSTS=hosts).hostnames == compute
    file = tmp_path / "hosts"
    pairs = zip(words[::2], words[1::2], strict=True)
    file.write_text("".join(f"{host}\n" * int(count) for host, count in pairs))
    job = variables(LSB_DJOB_HOSTFILE=file, LSB_MCPU_HOSTS="elsewhere 3")
    assert job.hostnames == compute and job.num_nodes == len(compute)


def test_without_lists_of_hosts_there_is_this_one(variables):
    job = variables(LSB_DJOB_HOSTFILE="/nowhere")
    assert job.hostnames == [job.hostname] and job.num_nodes == 1 and job.node == 0


def test_ranks_on_several_hosts_meet_at_the_first(variables, monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # to be removed at the end, whoever sets it
        monkeypatch.delenv(name)
    job = variables(JSM_NAMESPACE_SIZE=12, LSB_MCPU_HOSTS="batch5 1 h36n01 42 h36n02 42")
    job._set_meeting_point()
    assert os.environ["MASTER_ADDR"] == "h36n01" and os.environ["MASTER_PORT"] == "20012"
    job = variables(MASTER_ADDR="mine", LSB_JOBINDEX=2)
    job._set_meeting_point()
    assert os.environ["MASTER_ADDR"] == "mine"
