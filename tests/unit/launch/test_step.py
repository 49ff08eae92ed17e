"""The end of a submitted step: done, failed, stopped in time, cancelled."""

import atexit
import os
import signal
import sys

import pytest

pytest.importorskip("submitit", reason="submission to batch systems needs submitit")

from submitit.core.utils import DelayedSubmission, JobPaths

from hpc_gw.launch.outcome import Outcome
from hpc_gw.launch.step import Step

REQUEUE = 144  # what submitit's local environment ends with to be started again


@pytest.fixture
def submitted(tmp_path, monkeypatch):
    """Submit a step to submitit's local environment; ``run`` plays ``hpc_gw.cli.main``."""
    for name, value in {
        "SUBMITIT_EXECUTOR": "local", "SUBMITIT_FOLDER": str(tmp_path),
        "SUBMITIT_LOCAL_JOB_ID": "12", "SUBMITIT_LOCAL_GLOBALID": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setattr(atexit, "register", lambda *_: None)
    numbers = (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    paths = JobPaths(tmp_path, "12", 0)

    def start(main, step=None):
        step = step or Step("train", (("train", "job.yaml"),), requeues=2)
        delayed = DelayedSubmission(step)
        delayed.set_timeout(60, step.requeues)
        delayed.dump(paths.submitted_pickle)
        monkeypatch.setattr("hpc_gw.cli.main", main)
        return step()

    start.paths = paths
    start.attempt = lambda: DelayedSubmission.load(paths.submitted_pickle).function.attempt
    start.outcome = lambda: Outcome.read(tmp_path, "12")
    yield start
    for number, handler in handlers.items():
        signal.signal(number, handler)


def training(number):
    """A training that is sent a signal, writes its checkpoint and ends with 75."""

    def main(words):
        signal.signal(number, lambda *_: None)
        os.kill(os.getpid(), number)
        return 75

    return main


def test_a_step_that_is_done_says_so(submitted):
    assert submitted(lambda words: 0) == 0
    assert submitted.outcome() == Outcome(attempt=0, code=0)


def test_it_gets_its_words(submitted):
    words = []
    submitted(lambda given: words.append(given) or 0)
    assert words == [("train", "job.yaml")]


def test_bad_input_ends_with_its_code_and_is_not_tried_again(submitted):
    with pytest.raises(SystemExit) as end:
        submitted(lambda words: 2)
    assert end.value.code == 2 and submitted.outcome() == Outcome(0, 2)
    assert submitted.attempt() == 0


def test_a_wrong_command_line_is_bad_input(submitted):
    with pytest.raises(SystemExit) as end:
        submitted(lambda words: sys.exit(2))
    assert end.value.code == 2 and submitted.outcome() == Outcome(0, 2)


def test_a_training_that_was_told_of_its_end_is_queued_again(submitted):
    with pytest.raises(SystemExit) as end:
        submitted(training(signal.SIGUSR2))
    assert end.value.code == REQUEUE and submitted.attempt() == 1
    assert submitted.outcome() == Outcome(attempt=1, code=None)


def test_a_training_that_lost_a_rank_is_queued_again(submitted):
    with pytest.raises(SystemExit) as end:
        submitted(lambda words: 75)
    assert end.value.code == REQUEUE and submitted.attempt() == 1


def test_a_training_that_was_cancelled_is_not_queued_again(submitted):
    with pytest.raises(SystemExit) as end:
        submitted(training(signal.SIGTERM))
    assert end.value.code == 75 and submitted.attempt() == 0
    assert submitted.outcome() == Outcome(attempt=0, code=75)


def test_a_preempted_training_is_queued_again(submitted, monkeypatch):
    monkeypatch.setattr("hpc_gw.launch.step._preempted", lambda environment: True)
    with pytest.raises(SystemExit) as end:
        submitted(training(signal.SIGTERM))
    assert end.value.code == REQUEUE and submitted.attempt() == 1


def test_after_so_many_times_it_is_enough(submitted, capsys):
    last = Step("train", (("train", "job.yaml"),), requeues=2, attempt=2)
    with pytest.raises(SystemExit) as end:
        submitted(training(signal.SIGUSR2), last)
    assert end.value.code == 75 and submitted.outcome() == Outcome(attempt=2, code=75)
    assert "--requeues 2 allows no more" in capsys.readouterr().err


def test_a_step_without_checkpoint_is_queued_again_at_once(submitted):
    def generating(words):
        os.kill(os.getpid(), signal.SIGUSR2)
        raise AssertionError("goes on")

    with pytest.raises(SystemExit) as end:
        submitted(generating)
    assert end.value.code == REQUEUE and submitted.attempt() == 1


def test_other_ranks_leave_it_to_the_first(submitted, monkeypatch):
    monkeypatch.setenv("SUBMITIT_LOCAL_GLOBALID", "1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(SystemExit) as end:
        submitted(training(signal.SIGUSR2))
    assert end.value.code == 75 and submitted.attempt() == 0 and submitted.outcome() is None


def test_ranks_learn_where_to_meet(submitted, monkeypatch):
    monkeypatch.delenv("MASTER_PORT", raising=False)
    found = {}
    step = Step("train", (("train", "a.yaml"),), ranks=4)
    submitted(lambda words: found.update(os.environ) or 0, step)
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.delenv("MASTER_PORT")
    assert found["MASTER_ADDR"] == "127.0.0.1" and 20_000 <= int(found["MASTER_PORT"]) < 40_000


def test_submitits_own_checkpoint_counts_too():
    assert Step("train", (("train", "a"),)).checkpoint().function.attempt == 1


def test_ranks_that_died_of_the_signal_count_as_stopped(submitted):
    """mpiexec does not hand USR2 on: it dies of it, and its ranks with it."""

    def main(words):
        signal.signal(signal.SIGUSR2, lambda *_: None)
        os.kill(os.getpid(), signal.SIGUSR2)
        return -signal.SIGUSR2

    last = Step("train", (("train", "job.yaml"),), requeues=0)
    with pytest.raises(SystemExit) as end:
        submitted(main, last)
    assert end.value.code == 75 and submitted.outcome() == Outcome(attempt=0, code=75)
