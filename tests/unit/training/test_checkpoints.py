"""Checkpoints: kept, passed over, refused, published whole."""

import dataclasses
import errno
import json
import os
import time
from pathlib import Path

import pytest
import torch

from hpc_gw.distributed.parallel import SerialParallel
from hpc_gw.errors import CheckpointError, DataError, StorageError
from hpc_gw.training import checkpoint
from hpc_gw.training.checkpoints import BEST, FOLDER, Checkpoints, newest, paths
from hpc_gw.training.lamb import OptimizerConfig
from hpc_gw.training.log import LOG
from hpc_gw.training.loop import Trainer
from hpc_gw.training.run import Interrupted
from hpc_gw.training.runs import read_run
from tests.unit.training.conftest import (
    CPU,
    MODEL,
    fit,
    same_weights,
    stop_after,
)


def test_a_checkpoint_of_another_architecture_is_refused(make_run):
    fit(make_run())
    other = dataclasses.replace(MODEL, leaf_width=8)
    with pytest.raises(CheckpointError, match=r"model\.leaf_width: 16, configured: 8"):
        fit(make_run(model=other))


def test_a_folder_with_a_run_on_other_data_is_refused(make_run):
    fit(make_run())
    with pytest.raises(CheckpointError, match=r"training set\.population"):
        fit(make_run(rows=128))


def test_a_folder_with_another_run_is_refused(make_run):
    fit(make_run())
    with pytest.raises(CheckpointError, match=r"train\.batch: 8, configured: 4"):
        fit(make_run(batch=4))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_one_clear_line(make_run, content):
    trainer = fit(make_run(epochs=1))
    path = paths(trainer.run.folder)[0]
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    with pytest.raises(CheckpointError, match="not readable as a checkpoint") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch " + str(tmp_path / "owned"),))

    torch.save({"format": checkpoint.FORMAT, "weights": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


def test_the_newest_checkpoints_are_kept_and_a_damaged_one_is_passed_over(make_run, capsys):
    whole = fit(make_run("whole"))
    trainer = Trainer(make_run("kept", keep=2, checkpoint_steps=3), SerialParallel(CPU))
    stop_after(trainer, 14)
    with pytest.raises(Interrupted):
        trainer.fit()
    kept = paths(trainer.run.folder)
    assert [path.name for path in kept] == ["step-000000014.pt", "step-000000012.pt"]
    kept[0].write_bytes(kept[0].read_bytes()[:-1000])
    again = fit(make_run("kept", keep=2, checkpoint_steps=3))
    assert again.samples == 8 * (24 - 12)
    said = capsys.readouterr().err
    assert "step-000000014.pt" in said and "going back to the checkpoint before" in said
    assert same_weights(whole, again)


def test_a_damaged_newer_checkpoint_does_not_push_out_a_good_one(make_run):
    trainer = Trainer(make_run("kept", checkpoint_steps=3), SerialParallel(CPU))
    stop_after(trainer, 14)
    with pytest.raises(Interrupted):
        trainer.fit()
    for path in paths(trainer.run.folder)[:1]:
        path.write_bytes(b"")
    again = Trainer(make_run("kept", keep=1, checkpoint_steps=1), SerialParallel(CPU))
    stop_after(again, 13)
    with pytest.raises(Interrupted):
        again.fit()
    assert [path.name for path in paths(trainer.run.folder)] == ["step-000000013.pt"]
    assert newest(trainer.run.folder)[1]["step"] == 13


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(make_run):
    trainer = fit(make_run())
    for path in paths(trainer.run.folder):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint of it can be read"):
        fit(make_run())


def test_a_checkpoint_says_where_it_stands_and_what_it_was_trained_on(make_run):
    trainer = Trainer(make_run(), SerialParallel(CPU))
    stop_after(trainer, 13)
    with pytest.raises(Interrupted):
        trainer.fit()
    _, content = newest(trainer.run.folder)
    assert content["sampler"] == {"epoch": 1, "seed": 0, "step": 5}
    assert content["recipe"]["inputs"]["train"] == trainer.run.train.checksum


def test_what_is_saved_is_of_the_step_though_training_goes_on(make_run):
    trainer = Trainer(make_run(), SerialParallel(CPU))
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer._save()
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(1)
    trainer.checkpoints.wait()
    _, content = newest(trainer.run.folder)
    assert all(torch.equal(content["weights"][k], v) for k, v in before.items())


def fill_the_disk(monkeypatch):
    """From now on nothing can be written."""

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)


def test_an_error_of_the_thread_comes_with_the_next_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(1, {}, best=False)
    checkpoints.wait()
    fill_the_disk(monkeypatch)
    checkpoints.save(2, {}, best=False)
    with pytest.raises(StorageError, match=r"step-000000002\.pt: the disk is full"):
        checkpoints.save(3, {}, best=False)
    checkpoints.wait()  # it is told once
    assert [path.name for path in paths(tmp_path)] == ["step-000000001.pt"]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("step", [10, 24])  # in the middle; the last one of all
def test_a_run_on_a_full_disk_ends_with_one_clear_line(make_run, monkeypatch, step):
    trainer = Trainer(make_run(), SerialParallel(CPU))
    save = trainer._save

    def saved(**words):
        if trainer.step == step:
            fill_the_disk(monkeypatch)
        save(**words)

    monkeypatch.setattr(trainer, "_save", saved)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        trainer.fit()
    assert caught.value.exit_code == 2
    monkeypatch.undo()
    assert read_run(trainer.run.folder).state == "failed"
    assert newest(trainer.run.folder)[1]["step"] < step
    assert same_weights(fit(make_run()), fit(make_run("whole")))


def test_what_is_being_written_gets_to_disk_though_the_run_fails(make_run, monkeypatch):
    publish = checkpoint.publish

    def slow(path, image):
        time.sleep(0.3)
        publish(path, image)

    monkeypatch.setattr(checkpoint, "publish", slow)
    trainer = Trainer(make_run(), SerialParallel(CPU))
    optimise = trainer._optimise

    def failing(batch):
        if trainer.step == 5:
            raise DataError("the next batch is damaged")
        return optimise(batch)

    trainer._optimise = failing
    with pytest.raises(DataError):
        trainer.fit()
    assert newest(trainer.run.folder)[1]["step"] == 5


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_so_many_checkpoints_are_kept(make_run, keep):
    run = make_run(keep=keep, checkpoint_steps=3)
    fit(run)
    steps = [3, 6, 8, 9, 12, 15, 16, 18, 21, 24]
    assert [int(path.stem[5:]) for path in paths(run.folder)] == steps[: -keep - 1 : -1]


def test_the_best_is_the_checkpoint_of_the_epoch_with_the_lowest_validation_loss(make_run):
    run = make_run(keep=100, epochs=6, optimizer=OptimizerConfig(lr=3e-2))
    fit(run)
    records = map(json.loads, (run.folder / LOG).read_text().splitlines())
    by_step = {r["step"]: r["val_loss"] for r in records if "val_loss" in r}
    lowest = min(by_step, key=by_step.get)
    twin = run.folder / FOLDER / f"step-{lowest:09d}.pt"
    assert (run.folder / BEST).read_bytes() == twin.read_bytes()
