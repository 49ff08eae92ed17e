"""``hpc-gw submit`` and ``hpc-gw jobs`` on a real Slurm: what becomes of a job."""

import contextlib
import json
import os
import signal
import time

import h5py
import numpy as np
import pytest

from tests.faults.trainings import ALIKE, losses, new_run, newest_step, records, trained, write_job
from tests.slurm.cluster import ENDED, equal, hpc_gw, weights

LONG = (*ALIKE, "train.epochs=100", "train.checkpoint_steps=5")
"""1600 steps: seconds, enough to be met in the middle."""


@pytest.fixture(scope="module")
def whole(data):
    """A training of 1600 steps that nobody disturbed, on two ranks without Slurm."""
    return trained(new_run(data, "whole"), *LONG, ranks=2)


def submit(slurm, step, job, *options, settings=()):
    """Submit; the jobs' records."""
    words = ("submit", step, "--site", "test", "--config", job, "--json", *options)
    return slurm.json(*words, *(w for setting in settings for w in ("--set", setting)))


def train(slurm, data, name, *options, settings=LONG):
    """Submit a training of ``data`` on two ranks; its output folder and the job's id."""
    run = new_run(data, name)
    job = data.parents[1] / "job.yaml"
    (record,) = submit(slurm, "train", job, "--output", run, *options, settings=settings)
    return run, record["id"]


def stand(slurm, job):
    """What ``hpc-gw jobs ls`` says of a job."""
    return next(one for one in slurm.json("jobs", "ls", "--json") if one["id"] == job)


def wait_for_step(slurm, job, run, step):
    """Until a training that must not end before has a checkpoint of so many steps."""
    deadline = time.monotonic() + 600
    while newest_step(run) < step:
        running = slurm.show(job)["JobState"] not in ENDED and time.monotonic() < deadline
        assert running, slurm.hpc_gw("jobs", "show", job)
        time.sleep(0.1)


def samples(run):
    """That the last process used, to the rounding of the log."""
    last = records(run)[-1]
    return last["samples_per_s"] * last["seconds"]


def assert_resumed_to_the_same_end(run, whole, step):
    assert losses(run) == losses(whole)
    assert equal(weights(run), weights(whole))
    again = samples(whole) - samples(run)
    assert again > (step - 1) * 16, "it began anew"


def contents(path):
    with h5py.File(path) as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item}))
        return {k: np.asarray(v) for k, v in found.items() if isinstance(v, h5py.Dataset)}


def test_a_pipeline_of_dependent_jobs_has_the_results_of_a_run_without_slurm(slurm, tmp_path):
    job = write_job(tmp_path)
    jobs = submit(slurm, "pipeline", job)
    assert [one["step"] for one in jobs] == ["generate", "train", "evaluate", "report"]
    assert [one["dependencies"] for one in jobs[1:]] == [[one["id"]] for one in jobs[:-1]]
    slurm.ask(*hpc_gw("run", job, "--output", tmp_path / "here"), timeout=300)
    slurm.hpc_gw("jobs", "wait", *(one["id"] for one in jobs))
    assert {stand(slurm, one["id"])["state"] for one in jobs} == {"COMPLETED"}
    run, here = tmp_path / "run", tmp_path / "here"
    assert equal(weights(run), weights(here))
    results = [path.relative_to(here) for path in sorted(here.glob("**/*.h5"))]
    assert any("predictions" in path.name for path in results)
    for path in results:
        ours, theirs = contents(run / path), contents(here / path)
        assert ours.keys() == theirs.keys() and ours, path
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=f"{path} {name}")
    assert (run / "report" / "report.html").exists()
    logs = "".join(path.read_text() for path in run.glob("jobs/*/*_log.*"))
    assert "validation" in logs and "Traceback" not in logs, logs


def test_a_job_that_scontrol_requeues_goes_on_from_its_last_checkpoint(slurm, data, whole):
    run, job = train(slurm, data, "requeued")
    wait_for_step(slurm, job, run, 20)
    slurm.ask("scontrol", "requeue", job)
    assert slurm.end_of(job, 600)["JobState"] == "COMPLETED"
    assert slurm.show(job)["Restarts"] == "1"
    assert_resumed_to_the_same_end(run, whole, 20)


def test_a_preempted_job_gives_way_and_goes_on(slurm, data, whole):
    run, job = train(slurm, data, "preempted", "--site-set", "partition=low")
    wait_for_step(slurm, job, run, 20)
    other = slurm.sbatch(run, "date", options=["--partition=main", "--ntasks=2"])
    assert slurm.end_of(other, 300)["JobState"] == "COMPLETED"
    assert newest_step(run) < 1600, "it did not give way"
    assert slurm.end_of(job, 600)["JobState"] == "COMPLETED"
    assert stand(slurm, job)["attempt"] == 1
    assert_resumed_to_the_same_end(run, whole, 20)


def test_a_job_that_its_time_limit_stops_is_requeued_and_finishes(slurm, data, whole):
    """The signal comes when half of its minute is left, or more: Slurm looks twice a minute."""
    run, job = train(slurm, data, "limited", "--time=1")
    wait_for_step(slurm, job, run, 20)
    start = slurm.show(job)
    rank = json.loads((run / "run.json").read_text())["pid"]
    os.kill(rank, signal.SIGSTOP)  # as if its steps took longer

    def signalled():
        now = slurm.show(job)
        same = all(now[key] == start[key] for key in ("JobState", "Restarts"))
        return not same or now["RunTime"] >= "00:00:35"

    try:
        slurm.wait_until(signalled)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rank, signal.SIGCONT)
    fields = slurm.end_of(job, 600)
    assert fields["JobState"] == "COMPLETED" and fields["TimeLimit"] == "00:01:00"
    assert int(fields["Restarts"]) >= 1
    shown = stand(slurm, job)
    assert (shown["state"], shown["attempt"]) == ("COMPLETED", int(fields["Restarts"]))
    assert "queued again" in slurm.hpc_gw("jobs", "logs", job)
    assert_resumed_to_the_same_end(run, whole, 20)


def test_a_cancelled_job_leaves_a_checkpoint_and_takes_along_what_waits_for_it(slurm, data):
    run, job = train(slurm, data, "cancelled", settings=("train.epochs=4000",))
    settings = data.parents[1] / "job.yaml"
    (waiting,) = submit(slurm, "evaluate", settings, "--output", run, "--after", job)
    wait_for_step(slurm, job, run, 16)
    slurm.hpc_gw("jobs", "cancel", job)
    assert slurm.end_of(job)["JobState"] == "CANCELLED"
    assert slurm.end_of(waiting["id"])["JobState"] == "CANCELLED"
    assert {stand(slurm, one)["state"] for one in (job, waiting["id"])} == {"CANCELLED"}
    slurm.hpc_gw("jobs", "wait", job, code=2)
    slurm.wait_until(lambda: not slurm.ask("squeue", "--noheader"), 30)


def test_a_failed_job_tells_its_error_with_one_command(slurm, tmp_path):
    job = write_job(tmp_path)
    (failing,) = submit(slurm, "train", job)  # nothing was generated
    (waiting,) = submit(slurm, "evaluate", job, "--after", failing["id"])
    assert slurm.end_of(failing["id"])["JobState"] == "FAILED"
    shown = slurm.hpc_gw("jobs", "show", failing["id"])
    assert "FAILED, exit code 2" in shown and "Traceback" not in shown
    errors = [line for line in shown.splitlines() if line.startswith("  error")]
    assert errors and all("hpc-gw" in line and str(tmp_path) in line for line in errors), shown
    assert slurm.end_of(waiting["id"])["JobState"] == "CANCELLED"
    assert str(tmp_path) in slurm.hpc_gw("jobs", "wait", failing["id"], waiting["id"], code=2)


def test_a_sweep_is_a_job_array_with_a_folder_for_each_value(slurm, data, tmp_path):
    run = new_run(data, "swept")
    (record,) = submit(
        slurm, "train", data.parents[1] / "job.yaml", "--output", run, "--tasks-per-node=1",
        "--sweep", "train.seed=1,2", settings=("train.epochs=1",),
    )  # fmt: skip
    slurm.hpc_gw("jobs", "wait", record["id"])
    one, other = (weights(run / "sweep" / f"seed={seed}") for seed in (1, 2))
    assert not equal(one, other)
