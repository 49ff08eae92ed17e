"""Where a step's time goes: nothing is counted twice, nothing of a step is left out."""

import json
import time

import pytest
import torch

from hpc_gw.training.timing import StepTimer
from tests.unit.training.conftest import fit

PARTS = ("data_s", "compute_s", "communication_s")


class Ranks:
    """Two ranks, of which the other one's times are given."""

    def __init__(self, rank, others):
        self.world, self.device = self, torch.device("cpu")
        self.rank, self.size, self._others = rank, 2, others

    def sum(self, message):
        message[1:].view(2, 3)[1 - self.rank] += torch.tensor(self._others, dtype=message.dtype)
        message[0] *= 2
        return message


class Alone:
    world, device, rank, size = None, torch.device("cpu"), 0, 1

    def __init__(self):
        self.world = self

    def sum(self, message):
        return message


def one_step(timer, data=0.0, work=0.0, waited=0.0, after=0.0):
    time.sleep(data)
    timer.data_arrived()
    time.sleep(work + waited)
    timer.step_done(waited)
    time.sleep(after)


LOSS = {"loss": torch.tensor(2.0)}


def test_the_parts_add_up_to_the_steps_wall_time():
    timer = StepTimer()
    start = time.perf_counter()
    for _ in range(5):
        one_step(timer, data=0.02, work=0.03, waited=0.01)
    wall = (time.perf_counter() - start) / 5
    found = timer.report(Alone(), LOSS)
    assert found["loss"] == 2.0
    assert sum(found[name] for name in PARTS) == pytest.approx(wall, rel=1e-2)
    assert found["communication_s"] == pytest.approx(0.01)
    assert 0.02 <= found["data_s"] < 0.02 + wall - 0.06 + 1e-3
    assert 0.03 <= found["compute_s"] < 0.03 + wall - 0.06 + 1e-3
    assert "slowest_rank" not in found


def test_what_is_done_between_steps_belongs_to_none():
    """Checkpoints, and agreements in which a fast rank waits for a slow one."""
    timer = StepTimer()
    for _ in range(3):
        one_step(timer, data=0.001, after=0.1)
        timer.begin()
    assert sum(timer.report(Alone(), LOSS)[name] for name in PARTS) < 0.05


def test_a_report_begins_anew():
    timer = StepTimer()
    one_step(timer, data=0.1)
    timer.report(Alone(), LOSS)
    one_step(timer)
    assert timer.report(Alone(), LOSS)["data_s"] < 0.05


def test_communication_is_no_more_than_the_step():
    timer = StepTimer()
    timer.data_arrived()
    timer.step_done(1000.0)
    found = timer.report(Alone(), LOSS)
    assert 0 <= found["compute_s"] <= found["communication_s"] < 1


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("others", "other_is_slow"), [((0.2, 0.3, 0.0), True), ((0, 0, 9), False)])
def test_the_slowest_rank_is_the_busiest_not_the_one_that_waits(rank, others, other_is_slow):
    timer = StepTimer()
    one_step(timer, work=0.02)
    found = timer.report(Ranks(rank, others), LOSS)
    assert found["slowest_rank"] == (1 - rank if other_is_slow else rank)
    assert found["loss"] == 2.0
    if other_is_slow:
        assert found["slowest_s"] == pytest.approx(0.5)


def test_a_run_logs_where_its_time_goes(make_run):
    trainer = fit(make_run(epochs=1))
    records = [json.loads(x) for x in (trainer.run.folder / "train.jsonl").read_text().splitlines()]
    steps = [r for r in records if "loss" in r]
    assert all(r[name] >= 0 for r in steps for name in PARTS)
    assert 2 * sum(r[name] for r in steps for name in PARTS) <= records[-1]["seconds"]
