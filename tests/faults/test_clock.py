"""Clocks that jump: neither the set nor what a second start does depends on the time of day."""

import os
import sys
import time

from hpc_gw.cli import main
from tests.faults.generators import (
    assert_finished,
    checksums,
    finish,
    train_folder,
    vouched,
    write_job,
)

JUMPING = """
import datetime, itertools, runpy, sys, time
days = itertools.cycle([0, 3, -40, 400, -1, 0.001, -2000])
clock = time.time
time.time = lambda: clock() + 86400 * next(days)
time.time_ns = lambda: int(1e9 * time.time())
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls.fromtimestamp(time.time(), zone)
datetime.datetime = Jumping
runpy.run_module("hpc_gw", run_name="__main__", alter_sys=True)
"""


def test_a_clock_that_jumps_by_days_changes_nothing(scratch):
    steady, jumping = (
        write_job(scratch / name, rows=600, shards=6) for name in ("steady", "jumping")
    )
    assert main(["generate", str(steady), "--sets", "train"]) == 0
    words = ["generate", str(jumping), "--sets", "train"]
    code, printed = finish([sys.executable, "-c", JUMPING, *words])
    assert code == 0 and "Traceback" not in printed, printed
    assert "generate train" in printed  # its progress bar was shown
    assert_finished(train_folder(jumping), checksums(train_folder(steady)))


def test_files_from_the_future_and_the_past_are_left_alone(scratch):
    job = write_job(scratch, rows=60, shards=6)
    words = ["generate", str(job), "--sets", "train"]
    assert main(words) == 0
    folder = train_folder(job)
    for number, path in enumerate(sorted(folder.iterdir())):
        when = time.time() + 86400 * 365 * (20 if number % 2 else -20)
        os.utime(path, (when, when))
    before = vouched(folder)
    assert len(before) == 6
    assert main(words) == 0
    assert vouched(folder) == before
