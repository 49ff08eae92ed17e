"""What schedulers answer, and what is made of it when they do not."""

import subprocess
from dataclasses import replace

import pytest

from hpc_gw.errors import DataError
from hpc_gw.launch import states
from hpc_gw.launch.control import JobsFailedError, JobsUnfinishedError, cancel, messages, tail, wait
from hpc_gw.launch.outcome import Outcome
from hpc_gw.launch.registry import Record, dependents, find, publish, records
from hpc_gw.launch.states import Status, parse_bjobs, parse_sacct, parse_scontrol, statuses


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    """A registry of this test's own."""
    monkeypatch.setenv("HPC_GW_JOBS", str(tmp_path / "registry"))


def record(tmp_path, **changes):
    (tmp_path / "f").mkdir(exist_ok=True)
    made = Record(
        id="12", step="train", site="test", scheduler="slurm", name="n",
        commands=(("train", "a.yaml"),), script="s", folder=str(tmp_path / "f"), output="o",
        nodes=1, tasks_per_node=2, walltime_min=5, requeues=5, dependencies=(),
        submitted="2026-01-02T03:04:05.678+00:00",
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
def answers(monkeypatch):
    """What the commands of a scheduler print, by their name; others fail."""
    told = {}
    monkeypatch.setattr(states, "_ask", lambda command: told.get(command[0]))
    return told


def test_sacct_tells_the_last_start_of_each_job_and_element():
    text = (
        "12|REQUEUED|0:0|vm\n12|RUNNING|0:0|vm\n13|FAILED|2:0|vm\n14|CANCELLED by 0|0:15|vm\n"
        "15_[2-3,7%2]|PENDING|0:0|None assigned\n15_0|OUT_OF_MEMORY|0:125|a\n16|TIMEOUT|0:0|a\n"
    )
    found = parse_sacct(text)
    assert found["12"] == Status("RUNNING", None, nodes="vm")
    assert found["13"] == Status("FAILED", 2, nodes="vm")
    assert found["14"].state == "CANCELLED" and found["14"].code == 143
    assert {i: found[f"15_{i}"].state for i in (0, 2, 3, 7)} == {
        0: "OUT_OF_MEMORY", 2: "PENDING", 3: "PENDING", 7: "PENDING",
    }  # fmt: skip
    assert found["15_2"].nodes == "" and found["16"].state == "TIMEOUT"


def test_scontrol_tells_jobs_and_elements_of_arrays():
    text = (
        "JobId=12 JobName=x JobState=PENDING Reason=Dependency ExitCode=0:0 NodeList=(null)\n"
        "JobId=20 ArrayJobId=19 ArrayTaskId=1-2 JobState=RUNNING Reason=None NodeList=vm\n"
    )
    found = parse_scontrol(text)
    assert found["12"] == Status("PENDING", None, reason="Dependency")
    assert found["19_1"].state == found["19_2"].state == "RUNNING" and found["19_2"].nodes == "vm"


def test_bjobs_tells_jobs_and_elements_which_it_counts_from_one():
    found = parse_bjobs("7|0|EXIT|2|a01\n8|1|DONE|-|a02\n8|2|PEND|-|-\nJob <9> is not found\n")
    assert found["7"] == Status("FAILED", 2, nodes="a01")
    assert (found["8_0"].state, found["8_1"].state) == ("COMPLETED", "PENDING")


def test_without_accounting_scontrol_is_asked(tmp_path, answers):
    job = record(tmp_path)
    answers["scontrol"] = "JobId=12 JobState=RUNNING ExitCode=0:0 NodeList=vm Reason=None\n"
    assert statuses([job])[job].state == "RUNNING"


def test_what_the_scheduler_forgot_the_job_itself_tells(tmp_path, answers):
    job = record(tmp_path)
    assert statuses([job])[job].state == "UNKNOWN"
    Outcome(attempt=2, code=0).write(tmp_path / "f", "12")
    assert statuses([job])[job] == Status("COMPLETED", 0, attempt=2)
    Outcome(attempt=0, code=2).write(tmp_path / "f", "12")
    assert statuses([job])[job] == Status("FAILED", 2)


def test_a_failure_with_code_75_was_stopped_in_time(tmp_path, answers):
    job = record(tmp_path)
    answers["sacct"] = "12|FAILED|75:0|vm\n"
    assert statuses([job])[job].state == "STOPPED"
    with pytest.raises(JobsUnfinishedError, match="submit it again") as error:
        wait([job])
    assert error.value.exit_code == 75


def test_an_array_has_ended_when_all_of_it_has(tmp_path, answers):
    job = record(tmp_path, commands=(("a",), ("b",), ("c",)))
    answers["sacct"] = "12_0|COMPLETED|0:0|vm\n12_1|FAILED|2:0|vm\n12_2|RUNNING|0:0|vm\n"
    assert statuses([job])[job].state == "RUNNING"
    answers["sacct"] = "12_0|COMPLETED|0:0|vm\n12_1|FAILED|2:0|vm\n12_2|COMPLETED|0:0|vm\n"
    assert statuses([job])[job].state == "FAILED"


def test_waiting_names_what_failed_first_and_its_message(tmp_path, answers):
    job = record(tmp_path)
    (tmp_path / "f" / "12_0_log.err").write_text(
        "steps: 10%\rsteps: 20%\nhpc-gw (rank 0 of 2): model: unknown key\nsrun: error\n"
    )
    later = record(tmp_path, id="13", dependencies=("12",))
    answers["sacct"] = "12|FAILED|2:0|vm\n13|CANCELLED|0:0|\n"
    with pytest.raises(JobsFailedError, match=r"train 12: FAILED; .*unknown key"):
        wait([later, job])


def test_waiting_ends_in_time(tmp_path, answers):
    answers["sacct"] = "12|RUNNING|0:0|vm\n"
    with pytest.raises(JobsUnfinishedError, match="12: not ended after 0 s"):
        wait([record(tmp_path)], timeout_s=0, poll_s=0)


def test_a_job_that_nobody_ever_knows_is_not_waited_for_for_ever(tmp_path, answers):
    with pytest.raises(JobsFailedError, match="UNKNOWN"):
        wait([record(tmp_path)], poll_s=0)


def test_records_are_found_by_id_site_and_element(tmp_path):
    publish(job := record(tmp_path))
    publish(other := record(tmp_path, site="hal"))
    assert find(["test:12_3", "hal:12"]) == [job, other]
    with pytest.raises(DataError, match="say which: hal:12, test:12"):
        find(["12"])
    with pytest.raises(DataError, match="no such job"):
        find(["99"])


def test_a_damaged_record_is_reported_and_hides_no_other(tmp_path):
    publish(job := record(tmp_path))
    (tmp_path / "registry" / "x-1.json").write_text("{}")
    (tmp_path / "registry" / "x-2.json").write_text('{"format": "hpc_gw job 1", "commands": []}')
    found, broken = records()
    assert found == [job] and len(broken) == 2


def test_whoever_waits_for_a_job_is_cancelled_with_it(tmp_path, answers, monkeypatch):
    jobs = [
        record(tmp_path, id=str(i), dependencies=(str(i - 1),), submitted=f"2026-01-0{i}")
        for i in (1, 2, 3)
    ]
    for job in (*jobs, record(tmp_path, id="9"), record(tmp_path, id="2", site="hal")):
        publish(job)
    assert dependents(jobs[0]) == jobs[1:]
    answers["sacct"] = "1|COMPLETED|0:0|\n2|RUNNING|0:0|\n3|PENDING|0:0|\n"
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    assert [job.id for job in cancel([jobs[0]])] == ["3", "2"]
    assert commands == [["scancel", "3"], ["scancel", "2"]]
    answers["sacct"] = "2|FAILED|75:0|\n"
    assert statuses(find(["test:2"])).popitem()[1].state == "CANCELLED"


def test_a_local_job_is_its_process(tmp_path):
    folder = str(tmp_path / "f")
    process = subprocess.Popen(["sh", "-c", "sleep 60; true", folder], start_new_session=True)
    job = record(tmp_path, id=str(process.pid), scheduler="local", site="local")
    publish(job)
    assert statuses([job])[job].state == "RUNNING"
    foreign = replace(job, folder="/elsewhere")  # its number went to another process
    assert statuses([foreign])[foreign].state == "FAILED"
    assert [j.id for j in cancel([job])] == [job.id]
    process.wait(20)
    assert statuses(find([job.id])).popitem()[1].state == "CANCELLED"


def test_the_end_of_a_log_shows_the_last_state_of_a_progress_bar(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"a\nb: 1%\rb: 2%\r\nc\xff\n")
    assert tail(path, 2) == ["b: 2%", "c\ufffd"]
    assert tail(path, 9, block=3) == ["c\ufffd"]
    assert tail(tmp_path / "none", 5) == []


def test_messages_of_ranks_with_files_of_their_own_are_found(tmp_path):
    job = record(tmp_path)
    for rank in (0, 1):
        (tmp_path / "f" / f"12_{rank}_log.err").write_text(f"hpc-gw (rank {rank} of 2): no\n")
    assert messages(job) == ["hpc-gw (rank 0 of 2): no", "hpc-gw (rank 1 of 2): no"]


def test_this_test_leaves_the_users_registry_alone(tmp_path):
    publish(record(tmp_path))
    assert [p.name for p in (tmp_path / "registry").iterdir()] == ["test-12.json"]
