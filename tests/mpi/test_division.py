"""How ranks share the shards of a set: each made once, by whoever is free, the same at any size."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from hpc_gw.cli import main
from tests.faults.generators import (
    LAUNCHER,
    checksums,
    command,
    finish,
    launched,
    train_folder,
    vouched,
    write_job,
)

pytestmark = [
    pytest.mark.skipif(LAUNCHER is None, reason="no mpiexec"),
    pytest.mark.usefixtures("mpi4py"),
]


@pytest.fixture(scope="module")
def mpi4py():
    pytest.importorskip("mpi4py")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Checksums of the twelve shards that a single process makes."""
    job = write_job(tmp_path_factory.mktemp("alone"), rows=360, shards=12, samples=64)
    assert main(["generate", str(job), "--sets", "train"]) == 0
    made = checksums(train_folder(job))
    assert len(made) == 12
    return made


@pytest.mark.parametrize(
    ("ranks", "division"), [(1, "dynamic"), (2, "dynamic"), (4, "dynamic"), (4, "static")]
)
def test_any_division_over_any_ranks_makes_the_same_shards(tmp_path, alone, ranks, division):
    job = write_job(tmp_path, rows=360, shards=12, samples=64)
    words = command(job, "--set", f"generate.division={division}", ranks=ranks)
    code, printed = finish(words)
    assert code == 0, printed
    folder = train_folder(job)
    assert checksums(folder) == alone and len(vouched(folder)) == 12
    assert {p.name for p in folder.iterdir()} == {*alone, "manifest.json", ".generating"}


# Prints which rank was dealt which numbers, for each way to deal that it is told.
DEAL = """
import json, sys
from hpc_gw.distributed import mpi_world
from mpi4py import MPI
world = mpi_world()
for count in json.loads(sys.argv[1]):
    mine = list(world.deal(count))
    everyone = MPI.COMM_WORLD.gather(mine)
    if world.rank == 0:
        print("DEALT", json.dumps([count, everyone]), flush=True)
assert world.sum(1) == world.size
"""


@pytest.mark.parametrize("ranks", [2, 4])
def test_each_number_is_dealt_to_one_rank_once(ranks):
    counts = [0, 1, ranks - 1, ranks, 7, 200, 0, 3]
    words = [sys.executable, "-c", DEAL, json.dumps(counts)]
    code, printed = finish(launched(ranks, words))
    assert code == 0, printed
    dealt = [json.loads(line[6:]) for line in printed.splitlines() if line.startswith("DEALT")]
    assert [count for count, _ in dealt] == counts
    for count, everyone in dealt:
        assert len(everyone) == ranks
        assert sorted(number for mine in everyone for number in mine) == list(range(count))
        assert all(mine == sorted(mine) for mine in everyone)


# A generator in which one rank's engine is slow (``harm`` tells by how many seconds a shard), or
# fails; writes down who made which shard.
SICK = """
import os, sys, time
from pathlib import Path
import hpc_gw.data.generate as module
from hpc_gw.distributed import mpi_world
from hpc_gw.waveforms.surrogate import SurrogateEngine
rank, sick, harm = mpi_world().rank, int(sys.argv[1]), sys.argv[2]
publish = module.publish_shard
def published(folder, spec, index, *rest):
    publish(folder, spec, index, *rest)
    with open(folder.parent / f"made-by-{rank}", "a") as file:
        file.write(f"{index}\\n")
module.publish_shard = published
stored = module.stored_waveforms
slow = harm.isdigit()
def harmed(*arguments):
    if rank == sick and slow:
        time.sleep(int(harm))
    elif rank == sick:
        time.sleep(0.2)
        raise (RuntimeError if harm == "defect" else module.DataError)("the engine is broken")
    else:
        time.sleep(0.1 if slow else 0.5)
    return stored(*arguments)
module.stored_waveforms = harmed
from hpc_gw.cli import main
sys.exit(main(["generate", *sys.argv[3:], "--sets", "train"]))
"""


def made_by(job, ranks):
    found = {}
    for rank in range(ranks):
        path = train_folder(job).parent / f"made-by-{rank}"
        found[rank] = [int(n) for n in path.read_text().split()] if path.exists() else []
    return found


@pytest.mark.parametrize("slow", [0, 1])
def test_a_slow_rank_gets_fewer_shards(tmp_path, alone, slow):
    job = write_job(tmp_path, rows=360, shards=12, samples=64)
    words = [sys.executable, "-c", SICK, str(slow), "3", str(job)]
    code, printed = finish(launched(2, words))
    assert code == 0, printed
    made = made_by(job, 2)
    assert Counter(made[0] + made[1]) == Counter(range(12))  # each was made once
    # Thirty times slower: one, or one or two more that it takes ahead of what it has finished.
    assert 1 <= len(made[slow]) < len(made[1 - slow])
    assert checksums(train_folder(job)) == alone


def test_a_static_division_gives_each_rank_its_own_whatever_they_take(tmp_path, alone):
    job = write_job(tmp_path, rows=360, shards=12, samples=64)
    more = ["--set", "generate.division=static"]
    words = [sys.executable, "-c", SICK, "1", "1", str(job), *more]
    code, printed = finish(launched(2, words))
    assert code == 0, printed
    assert made_by(job, 2) == {0: [0, 2, 4, 6, 8, 10], 1: [1, 3, 5, 7, 9, 11]}
    assert checksums(train_folder(job)) == alone


@pytest.mark.parametrize(("sick", "harm", "code"), [(0, "refusal", 2), (1, "defect", 1)])
def test_an_exception_on_one_rank_ends_all_at_once_and_a_new_start_goes_on(
    tmp_path, alone, sick, harm, code
):
    job = write_job(tmp_path, rows=360, shards=12, samples=64)
    words = [sys.executable, "-c", SICK, str(sick), harm, str(job)]
    found, printed = finish(launched(2, words))
    assert found == code and "the engine is broken" in printed
    assert ("Traceback" in printed) == (harm == "defect")
    folder = train_folder(job)
    assert checksums(folder).items() <= alone.items() and not (folder / "shard-00011.h5").exists()
    before = vouched(folder)
    assert main(["generate", str(job), "--sets", "train"]) == 0
    assert checksums(folder) == alone and before.items() <= vouched(folder).items()


def test_a_set_of_fewer_shards_than_ranks_is_made(tmp_path):
    job, twin = (write_job(tmp_path / n, rows=30, shards=1, samples=64) for n in ("job", "twin"))
    assert finish(command(job, ranks=4))[0] == 0
    assert main(["generate", str(twin), "--sets", "train"]) == 0
    made = checksums(train_folder(job))
    assert len(made) == 1 and made == checksums(train_folder(twin))
    assert not list(Path(tmp_path).rglob("*.tmp"))
