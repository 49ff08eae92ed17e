"""Two generators on one folder: the second is refused, and no dead one keeps it."""

import os
import signal
import threading

import pytest

from hpc_gw.data.generate import generate
from hpc_gw.data.lock import is_generating
from hpc_gw.distributed import SerialWorld
from tests.faults.conftest import needs_mpi
from tests.faults.generators import (
    assert_finished,
    begin,
    checksums,
    command,
    descendants,
    finish,
    holder,
    ranks_of,
    spec_of,
    train_folder,
    wait_for,
    write_job,
)


def refused(words, folder):
    """Start a second generator, which must not start."""
    code, printed = finish(words)
    lines = [line for line in printed.splitlines() if line.startswith("hpc-gw")]
    assert code == 2 and len(lines) == 1 and "Traceback" not in printed, printed
    assert f"{folder}: another generator is at work here (process " in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, 0), pytest.param(2, 0, marks=needs_mpi), pytest.param(0, 2, marks=needs_mpi)],
)
def test_the_second_is_refused_and_the_first_finishes(scratch, reference, first, second):
    job = write_job(scratch, rows=12_000, shards=100)
    folder = train_folder(job)
    with begin(command(job, ranks=first)) as process:
        wait_for(lambda: holder(folder) and (folder / "manifest.json").exists())
        standing = ranks_of(process.pid) if first else [process.pid]
        for pid in standing:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert process.poll() is None, "it was too quick to be stopped"
            assert is_generating(folder)
            line = refused(command(job, ranks=second), folder)
            assert f"(process {holder(folder)} on " in line and holder(folder) in standing
        finally:
            for pid in standing:
                os.kill(pid, signal.SIGCONT)
        printed = process.communicate(timeout=600)[0]
    assert process.returncode == 0, printed
    assert not is_generating(folder)
    assert_finished(folder, checksums(reference))


def test_a_killed_holder_keeps_nobody_out(scratch, reference):
    job = write_job(scratch, rows=12_000, shards=100)
    folder = train_folder(job)
    with begin(command(job)) as process:
        wait_for(lambda: list(folder.glob("shard-*.h5")))
        process.kill()
        process.communicate()
        assert not is_generating(folder)  # at once
    code, printed = finish(command(job))
    assert code == 0, printed
    assert_finished(folder, checksums(reference))


@needs_mpi
def test_a_rank_that_outlives_rank_0_keeps_others_out(scratch):
    job = write_job(scratch, rows=48_000, shards=400)
    folder = train_folder(job)
    with begin(command(job, ranks=2)) as process:
        first = wait_for(lambda: list(folder.glob("shard-*.h5")) and holder(folder))
        # Who is stopped does not finish, nor do mpiexec and its helpers end the rank that is left.
        os.kill(first, signal.SIGSTOP)
        other = next(pid for pid in ranks_of(process.pid) if pid != first)
        launchers = {process.pid, *descendants(process.pid)} - {first, other}
        for pid in (other, *launchers):
            os.kill(pid, signal.SIGSTOP)
        for pid in (first, *launchers):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        kept = is_generating(folder)
        os.kill(other, signal.SIGKILL)
    assert kept
    wait_for(lambda: not is_generating(folder))


def test_who_looks_does_not_keep_a_generator_from_starting(scratch, chirp_engine):
    spec, looks, stop = spec_of(chirp_engine, rows=4), [0, 0], threading.Event()

    def look():
        while not stop.is_set():
            looks[is_generating(scratch / "set")] += 1

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in lookers:
        thread.start()
    try:
        for _ in range(20):
            generate(scratch / "set", spec, chirp_engine, SerialWorld(), progress=False)
    finally:
        stop.set()
        for thread in lookers:
            thread.join()
    assert min(looks) > 0  # both answers were given
