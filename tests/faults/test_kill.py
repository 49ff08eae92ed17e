"""Generators killed at any moment: the next start goes on, and nothing is lost or made twice."""

import contextlib
import os
import shutil
import signal
import time

import numpy as np
import pytest

from hpc_gw.data.generate import GenerateConfig, generate
from hpc_gw.data.manifest import Manifest, shard_name
from hpc_gw.distributed import SerialWorld
from tests.faults.conftest import LONG, needs_mpi
from tests.faults.generators import (
    Nursery,
    assert_finished,
    begin,
    checksums,
    command,
    finish,
    holder,
    ranks_of,
    spec_of,
    train_folder,
    vouched,
    wait_for,
    write_job,
)

long = [
    pytest.mark.slow,
    pytest.mark.skipif(not LONG, reason="takes minutes: HPC_GW_LONG=1 runs it"),
]


def starts_until_killed(words, folder, rng, shards, ranks):
    """Kill a generator once it has published so many shards, at a random moment soon after.

    False where it was finished before.
    """
    before = holder(folder)
    with begin(words) as process:
        wait_for(lambda: holder(folder) not in (0, before) or process.poll() is not None)
        wait_for(
            lambda: len(list(folder.glob("shard-*.h5"))) >= shards or process.poll() is not None
        )
        time.sleep(rng.uniform(0, 0.03))
        victims = [process.pid]
        if ranks:
            found = ranks_of(process.pid)
            one = rng.integers(-1, ranks)  # -1: all of them, and mpiexec itself
            victims = [process.pid, *found] if one < 0 else found[one : one + 1]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=300)
        wait_for(lambda: not ranks_of(process.pid))
    return process.returncode != 0


@pytest.mark.parametrize(
    ("kills", "ranks"),
    [
        (2, 0),
        pytest.param(2, 2, marks=needs_mpi),
        pytest.param(30, 0, marks=long),
        pytest.param(15, 2, marks=[needs_mpi, *long]),
    ],
)
def test_killed_at_random_moments_a_set_is_finished_without_loss(
    scratch, reference, kills, ranks, capsys
):
    rng = np.random.default_rng([kills, ranks])
    job = write_job(scratch, rows=12_000, shards=100)
    folder, words = train_folder(job), command(job, ranks=ranks)
    wanted = checksums(reference)
    began, killed, kept = time.monotonic(), 0, 0
    for shards in sorted(rng.choice(60, kills, replace=False)):
        whole = vouched(folder)
        killed += starts_until_killed(words, folder, rng, shards, ranks)
        assert checksums(folder).items() <= wanted.items()  # no half-written one
        assert whole.items() <= vouched(folder).items()  # none was made anew
        kept += len(whole)
    assert killed >= kills - 1  # the last one may come too late
    code, printed = finish(words)
    assert code == 0, printed
    assert_finished(folder, wanted)
    with capsys.disabled():
        took = time.monotonic() - began
        print(f" {killed} kills, {kept} whole shards met again, none lost, {took:.0f} s", end=" ")


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def make(scratch, chirp_engine):
    """Generates without a stop: a folder of this test's, storage options -> its checksums."""

    def make(name, storage, **config):
        spec = spec_of(chirp_engine, **storage)
        folder = scratch / name
        generate(
            folder, spec, chirp_engine, SerialWorld(), GenerateConfig(**config), progress=False
        )
        return checksums(folder)

    return make


CASES = {  # storage, and how many moments there are at least
    "fresh": ({"rows": 18}, 30),
    "compressed": ({"rows": 8, "compression": "gzip"}, 18),
    "repair": ({"rows": 26}, 20),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_before_any_change_of_the_folder_nothing_is_lost(scratch, make, nursery, case):
    storage, least = CASES[case]
    wanted = make("wanted", storage)
    folder = scratch / "set"
    for number in range(200):
        shutil.rmtree(folder, ignore_errors=True)
        if case == "repair":
            shutil.copytree(scratch / "wanted", folder)
            flip(folder / shard_name(1), -7)
            (folder / shard_name(2)).unlink()
        code = nursery.generate(folder, storage, kill_before=number)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        whole = vouched(folder)
        made = checksums(folder)
        if case == "repair":
            made.pop(shard_name(1), None)
        assert made.items() <= wanted.items()
        assert make("set", storage) == wanted
        assert whole.items() <= vouched(folder).items()
        assert_finished(folder, wanted)
    assert number >= least  # so many moments there were


def test_killed_while_it_retries_the_old_shard_is_never_taken_for_the_new_one(
    scratch, make, nursery, chirp_engine
):
    """Trusting names and sizes: the record of a healed shard stands before the shard itself."""
    storage = {"rows": 18}
    wanted = make("wanted", storage)
    folder, old = scratch / "set", scratch / "old"
    generate(old, spec_of(chirp_engine, **storage), Sick(chirp_engine), SerialWorld())
    for number in range(200):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        code = nursery.generate(folder, storage, {"retry": True}, kill_before=number)
        make("set", storage, check=False)
        manifest = Manifest.read(folder)
        if not manifest.quarantine:
            assert checksums(folder) == wanted
        else:
            assert checksums(folder) == checksums(old)
        if code == 0:
            break
    assert number >= 20


class Sick:
    """An engine that fails on row 3 of the set."""

    def __init__(self, engine):
        self.name, self.checksum, self.times = engine.name, engine.checksum, engine.times
        self._engine = engine
        self._bad = spec_of(engine).population.parameters(np.array([3]))

    def h22(self, parameters):
        h22 = self._engine.h22(parameters)
        h22[np.flatnonzero((parameters == self._bad).all(1))] = float("nan")
        return h22
