"""Trainings that are killed, stopped, doubled or fed damaged data, through the command."""

import json
import os
import signal
import time

import numpy as np
import pytest
import torch

from hpc_gw.cli import main
from hpc_gw.data.manifest import shard_name
from hpc_gw.training.checkpoints import BEST, newest
from tests.faults.conftest import LONG
from tests.faults.trainings import (
    ALIKE,
    Training,
    copied_run,
    losses,
    make_sets,
    new_run,
    newest_step,
    records,
    trained,
)

LAYER = ("model.norm=layer", *ALIKE)
long = [
    pytest.mark.slow,
    pytest.mark.skipif(not LONG, reason="takes minutes: HPC_GW_LONG=1 runs it"),
]
ENDLESS = ("train.epochs=4000",)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_sets(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def tell(capsys):
    """Print a measured number though the test passes."""

    def say(text):
        with capsys.disabled():
            print(f" {text}", end=" ")

    return say


def one_line(lines, *words):
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]


def weights(folder):
    return newest(folder)[1]["weights"]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def test_a_rank_that_is_killed_ends_the_other_and_the_same_command_goes_on(data, tell):
    settings = (*LAYER, "train.epochs=20", "train.checkpoint_steps=7", "train.keep=100")
    whole = trained(new_run(data, "two-whole"), *settings, ranks=2)
    run = new_run(data, "two-killed")
    with Training(run, *settings, ranks=2) as training:
        assert training.wait_for_step(20)
        began = time.monotonic()
        training.processes[1].kill()
        assert training.processes[0].wait(300) == 75
        tell(f"the other rank ended after {time.monotonic() - began:.1f} s")
    one_line(training.lines(), "another training rank is gone", "the same command goes on")
    step = newest_step(run)
    assert 0 < step < 320
    trained(run, *settings, ranks=2)
    assert newest_step(run) == 320
    for key in ("loss", "val_loss"):
        ours, theirs = losses(run, key), losses(whole, key)
        assert ours.keys() == theirs.keys()
        assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=1e-5)


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=long), pytest.param(20, marks=long)])
def test_killed_at_random_moments_it_ends_with_the_weights_of_a_run_never_killed(
    data, kills, capsys, tell
):
    rng = np.random.default_rng(kills)
    settings = ("train.epochs=30", "train.checkpoint_steps=5", "train.keep=2")
    whole = trained(new_run(data, f"whole-{kills}"), *settings)
    run = new_run(data, f"killed-{kills}")
    reached, leftovers = [], 0
    for target in sorted(rng.choice(160, kills, replace=False)):  # of 480 steps
        with Training(run, *settings) as training:
            training.wait_for_step(target)
            time.sleep(rng.uniform(0, 0.05))
            training.processes[0].kill()
            assert training.end() == [-signal.SIGKILL]
        reached.append(newest_step(run))
        leftovers += len(list(run.rglob("*.tmp")))
    assert reached == sorted(reached)
    trained(run, *settings)
    assert state_of(capsys, run) == "finished"
    assert equal(weights(run), weights(whole))
    ours, theirs = (torch.load(f / BEST, weights_only=True) for f in (run, whole))
    assert ours["step"] == theirs["step"] and equal(ours["weights"], theirs["weights"])
    assert losses(run, "val_loss") == losses(whole, "val_loss")
    assert not list(run.rglob("*.tmp"))
    tell(f"{kills} kills, {leftovers} half-written files met")


@pytest.mark.parametrize(
    ("number", "ranks"),
    [
        (signal.SIGUSR1, 1),
        (signal.SIGTERM, 2),
        pytest.param(signal.SIGTERM, 1, marks=long),
        pytest.param(signal.SIGUSR2, 1, marks=long),
        pytest.param(signal.SIGUSR2, 2, marks=long),
    ],
)
def test_a_signal_to_stop_leaves_a_checkpoint_of_the_step(data, number, ranks, tell):
    run = new_run(data, f"stopped-{number}-{ranks}")
    with Training(run, *ENDLESS, ranks=ranks) as training:
        assert training.wait_for_step(20)
        training.processes[-1].send_signal(number)  # to one rank only
        began = time.monotonic()
        assert training.end(300) == [75] * ranks
    tell(f"{number.name} on {ranks}: {time.monotonic() - began:.2f} s")
    step = newest(run)[1]["step"]
    assert records(run)[-1]["step"] in (step, step - 1)  # every second one is logged
    for rank in range(ranks):
        one_line(training.lines(rank), f"training stopped at step {step} of", "goes on")


def shown(capsys, *words):
    capsys.readouterr()
    assert main(["runs", *map(str, words)]) == 0
    return capsys.readouterr().out


def state_of(capsys, run):
    """As all three ways to ask say, and whether run.json is whole."""
    json.loads((run / "run.json").read_text())
    (listed,) = json.loads(shown(capsys, "ls", "--json", run))
    (alone,) = json.loads(shown(capsys, "show", "--json", run))
    assert {k: listed[k] for k in ("state", "total")} == {k: alone[k] for k in ("state", "total")}
    row = shown(capsys, "ls", run).splitlines()[1]
    assert listed["state"] in row.split()
    assert shown(capsys, "show", run).startswith(f"{run}: {listed['state']}")
    return listed["state"]


def test_a_second_training_is_refused_and_runs_are_shown_as_they_are(data, capsys):
    run = new_run(data, "shown")
    with Training(run, *ENDLESS) as training:
        assert training.wait_for_step(20)
        assert state_of(capsys, run) == "running"
        began = [line for line in (run / "train.jsonl").read_text().splitlines()[:5]]
        inode = (run / "train.jsonl").stat().st_ino
        with Training(run, *ENDLESS) as second:
            assert second.end(300) == [2]
        one_line(second.lines(), "another training is at work here", "process")
        with Training(run, *ENDLESS, ranks=2) as third:
            assert third.end(300) == [2, 2]
        assert any("another training is at work here" in line for line in third.lines(0))
        assert training.alive
        assert (run / "train.jsonl").stat().st_ino == inode
        assert (run / "train.jsonl").read_text().splitlines()[:5] == began
        training.processes[0].send_signal(signal.SIGTERM)
        assert training.end(300) == [75]
        assert state_of(capsys, run) == "stopped"
    logged = [record["step"] for record in records(run)]
    assert logged == sorted(logged)
    with Training(run, *ENDLESS) as training:
        assert training.wait_for_step(logged[-1] + 10)
        training.processes[0].kill()
        training.end()
    assert state_of(capsys, run) == "dead"


@pytest.mark.parametrize("weight", [0.2, pytest.param(0, marks=long)])
def test_a_training_that_diverges_is_one_clear_line_and_shown_as_failed(data, capsys, weight):
    """With the mismatch, which asks the surrogate, and without."""
    run = new_run(data, f"diverged-{weight}")
    words = ("train.optimizer.kind=adam", "train.optimizer.lr=1e38")  # float32 ends at 3e38
    with Training(run, *words, f"train.loss.mismatch_weight={weight}") as training:
        assert training.end(300) == [2]
    one_line(training.lines(), "the gradient is not finite", "nonfinite.jsonl")
    assert state_of(capsys, run) == "failed"
    assert (run / "nonfinite.jsonl").exists()


def test_a_shard_damaged_before_the_start_is_named(data):
    run = copied_run(data, "damaged")
    path = run / "data" / "train" / shard_name(2)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with Training(run) as training:
        assert training.end(300) == [2]
    one_line(training.lines(), shard_name(2))
    assert not (run / "train.jsonl").exists()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_shard_that_breaks_while_it_is_read_ends_the_training_with_its_name(data, ranks, tell):
    run = copied_run(data, f"breaking-{ranks}")
    with Training(run, *ENDLESS, "train.verify=false", ranks=ranks) as training:
        assert training.wait_for_step(20)
        path = run / "data" / "train" / shard_name(1)
        began = time.monotonic()
        os.truncate(path, path.stat().st_size // 3)
        codes = training.end(300)
        tell(f"{ranks} ranks, exit codes {codes} after {time.monotonic() - began:.1f} s")
    assert 2 in codes and set(codes) <= {2, 75}
    for rank, code in enumerate(codes):
        if code == 2:
            one_line(training.lines(rank), shard_name(1))
    assert newest_step(run) > 0 or records(run)[-1]["step"] < 16
