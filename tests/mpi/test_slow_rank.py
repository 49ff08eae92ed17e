"""A rank that is slower than the others is named, with the time that the others wait for it."""

import sys

import pytest

from tests.faults.trainings import ALIKE, Training, make_sets, new_run, records

# ``hpc-gw train`` in which one rank takes 250 ms more for each step.
SLOW = """
import os, sys, time
from hpc_gw.cli import main
from hpc_gw.distributed import leave
from hpc_gw.training.loop import Trainer
quick = Trainer._input
def slow(self, waveforms):
    if self.world.rank == int(sys.argv[1]):
        time.sleep(0.25)
    return quick(self, waveforms)
Trainer._input = slow
leave(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("slow", [0, 1])
def test_the_slow_rank_is_named_and_the_other_one_waits(tmp_path, slow):
    run = new_run(make_sets(tmp_path))
    words = (sys.executable, "-c", SLOW, str(slow))
    with Training(run, *ALIKE, "train.epochs=1", "model.norm=layer", ranks=2, words=words) as ranks:
        assert ranks.end() == [0, 0], ranks.said()
    steps = [r for r in records(run) if "loss" in r][1:]  # the first one waits for the start
    assert len(steps) == 15
    assert sum(r["slowest_rank"] == slow for r in steps) >= 9  # a busy machine has its say, too
    mean = {k: sum(r[k] for r in steps) / 15 for k in ("compute_s", "communication_s", "slowest_s")}
    assert mean["slowest_s"] > 0.25
    # Means over the two ranks: of one that works 250 ms longer, and one that waits for it.
    assert mean["compute_s"] > 0.125 and mean["communication_s"] > 0.06
