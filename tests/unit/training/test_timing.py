"""Where a step's time goes: nothing is counted twice, nothing of a step is left out."""

import json

import pytest
import torch

from hpc_gw.training import timing
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


class Clock:
    """In place of ``time``; it stands still but in ``sleep``."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """What the timer looks at."""
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def one_step(clock, timer, data=0.0, work=0.0, waited=0.0, after=0.0):
    clock.sleep(data)
    timer.data_arrived()
    clock.sleep(work + waited)
    timer.step_done(waited)
    clock.sleep(after)


LOSS = {"loss": torch.tensor(2.0)}


def test_the_parts_add_up_to_the_steps_wall_time(clock):
    timer = StepTimer()
    for step in range(5):
        one_step(clock, timer, data=0.01 * step, work=0.03, waited=0.01)
    found = timer.report(Alone(), LOSS)
    assert found["loss"] == 2.0
    assert [found[name] for name in PARTS] == pytest.approx([0.02, 0.03, 0.01])
    assert sum(found[name] for name in PARTS) == pytest.approx(clock.now / 5)
    assert "slowest_rank" not in found


def test_what_is_done_between_steps_belongs_to_none(clock):
    """Checkpoints, and agreements in which a fast rank waits for a slow one."""
    timer = StepTimer()
    for _ in range(3):
        one_step(clock, timer, data=0.001, after=0.1)
        timer.begin()
    assert sum(timer.report(Alone(), LOSS)[name] for name in PARTS) == pytest.approx(0.001)


def test_a_report_begins_anew(clock):
    timer = StepTimer()
    one_step(clock, timer, data=0.1)
    timer.report(Alone(), LOSS)
    one_step(clock, timer, data=0.02)
    assert timer.report(Alone(), LOSS)["data_s"] == pytest.approx(0.02)


def test_communication_is_no_more_than_the_step(clock):
    timer = StepTimer()
    timer.data_arrived()
    clock.sleep(0.5)
    timer.step_done(1000.0)
    found = timer.report(Alone(), LOSS)
    assert found["compute_s"] == 0 and found["communication_s"] == 0.5


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("others", "other_is_slow"), [((0.2, 0.3, 0.0), True), ((0, 0, 9), False)])
def test_the_slowest_rank_is_the_busiest_not_the_one_that_waits(clock, rank, others, other_is_slow):
    timer = StepTimer()
    one_step(clock, timer, work=0.02)
    found = timer.report(Ranks(rank, others), LOSS)
    assert found["slowest_rank"] == (1 - rank if other_is_slow else rank)
    assert found["loss"] == 2.0
    assert found["slowest_s"] == pytest.approx(0.5 if other_is_slow else 0.02)


def test_a_run_logs_where_its_time_goes(make_run):
    trainer = fit(make_run(epochs=1))
    records = [json.loads(x) for x in (trainer.run.folder / "train.jsonl").read_text().splitlines()]
    steps = [r for r in records if "loss" in r]
    assert all(r[name] >= 0 for r in steps for name in PARTS)
    assert 2 * sum(r[name] for r in steps for name in PARTS) <= records[-1]["seconds"]
