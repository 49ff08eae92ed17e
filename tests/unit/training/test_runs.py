"""What a folder says of its training: states, tables, JSON, and who may work there."""

import json

import pytest

from hpc_gw.distributed import SerialWorld
from hpc_gw.distributed.parallel import SerialParallel
from hpc_gw.errors import DataError, StorageError
from hpc_gw.locks import held
from hpc_gw.training.checkpoints import BEST, FOLDER, paths
from hpc_gw.training.log import LOG
from hpc_gw.training.loop import Trainer
from hpc_gw.training.run import Interrupted
from hpc_gw.training.runs import (
    FORMAT,
    LOCK,
    STATE,
    describe,
    find_runs,
    read_run,
    recorded,
    remove_leftovers,
    table,
    to_json,
)
from tests.unit.training.conftest import CPU, fit, stop_after

ABOUT = {"step": 3, "total": 24, "ranks": 1, "parallel": "serial", "device": "cpu"}


def record(folder, error=None):
    with recorded(folder, SerialWorld(), lambda: ABOUT, Interrupted):
        inside = json.loads((folder / STATE).read_text())["state"]
        if error:
            raise error
    return inside


def test_a_run_is_running_then_finished(tmp_path):
    assert record(tmp_path) == "running"
    assert read_run(tmp_path).state == "finished"


@pytest.mark.parametrize(
    ("error", "state"),
    [(Interrupted("asked"), "stopped"), (DataError("bad"), "failed"), (KeyError(), "failed"),
     (KeyboardInterrupt(), "failed")],
)  # fmt: skip
def test_how_a_run_ended_is_written_down_with_its_reason(tmp_path, error, state):
    with pytest.raises(type(error)):
        record(tmp_path, error)
    run = read_run(tmp_path)
    assert run.state == state
    assert run.about["reason"] == (str(error) or type(error).__name__)


def test_who_says_running_without_the_lock_is_dead(tmp_path):
    (tmp_path / STATE).write_text(json.dumps({"format": FORMAT, "state": "running", **ABOUT}))
    assert read_run(tmp_path).state == "dead"
    with held(tmp_path / LOCK, SerialWorld(), "training"):
        assert read_run(tmp_path).state == "running"


def test_a_full_disk_at_the_end_does_not_hide_the_first_error(tmp_path, monkeypatch):
    def full(*arguments):
        raise StorageError("the disk is full")

    with pytest.raises(DataError, match="the first"):  # noqa: SIM117
        with recorded(tmp_path, SerialWorld(), lambda: ABOUT, Interrupted):
            monkeypatch.setattr("hpc_gw.training.runs.write_json", full)
            raise DataError("the first")


def test_a_second_training_touches_nothing_of_the_first(make_run):
    first = Trainer(make_run(), SerialParallel(CPU))
    stop_after(first, 11)
    with pytest.raises(Interrupted):
        first.fit()
    folder = first.run.folder
    (folder / LOG).write_text((folder / LOG).read_text() + '{"step": 12}\n')
    with held(folder / LOCK, SerialWorld(), "training"):
        before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files(folder)}
        with pytest.raises(DataError, match="another training is at work here"):
            fit(make_run())
        assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files(folder)}
    assert fit(make_run()).step == 24


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != LOCK)


def test_a_run_that_is_refused_keeps_the_state_of_the_one_before(make_run):
    folder = fit(make_run()).run.folder
    before = (folder / STATE).read_bytes()
    with pytest.raises(Exception, match="batch"):
        fit(make_run(batch=4))
    assert (folder / STATE).read_bytes() == before


def test_half_written_files_of_a_killed_run_are_removed_and_nothing_else(make_run):
    folder = fit(make_run(epochs=1)).run.folder
    stale = [folder / f".{name}.x1_y.tmp" for name in (BEST, STATE, LOG)]
    stale.append(folder / FOLDER / ".step-000000007.pt.ab12.tmp")
    others = [folder / ".predictions.h5.ab12.tmp", folder / "notes.tmp"]
    for path in (*stale, *others):
        path.write_text("half")
    known = paths(folder)
    fit(make_run(epochs=1))
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in others)
    assert paths(folder) == known
    remove_leftovers(folder / "nowhere")


def test_a_run_is_summarised_from_its_files(make_run):
    run = make_run(epochs=2)
    trainer = fit(run)
    found = read_run(run.folder)
    losses = [json.loads(x).get("val_loss") for x in (run.folder / LOG).read_text().splitlines()]
    losses = [x for x in losses if x is not None]
    assert (found.state, found.step, found.total) == ("finished", 16, 16)
    assert found.val_loss == losses[-1] and found.best_val_loss == min(losses)
    assert found.checkpoints == len(paths(run.folder)) == 3
    assert found.nonfinite == 0 and found.samples_per_s > 0
    assert found.about["parameters"] == sum(p.numel() for p in trainer.model.parameters())
    text = describe(found)
    assert "step 16 of 16 (100.0 %)" in text and BEST in text and "serial" in text
    header, row = table([found]).splitlines()
    assert header.split() == ["run", "state", "step", "val_loss", "best", "1/s"]
    assert row.split()[1:3] == ["finished", "16/16"]
    (twin,) = json.loads(to_json([found]))
    assert twin["folder"] == str(run.folder) and twin["state"] == "finished"


def test_runs_are_found_at_any_depth_in_order(tmp_path):
    for name in ("b", "a/deep/one", "a"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        record(tmp_path / name)
    assert [str(p.relative_to(tmp_path)) for p in find_runs([tmp_path])] == ["a", "a/deep/one", "b"]


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": "another"}'])
def test_a_folder_without_a_readable_run_is_one_clear_line(tmp_path, content):
    if content is not None:
        (tmp_path / STATE).write_text(content)
    with pytest.raises(DataError, match=STATE) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)
