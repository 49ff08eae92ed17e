"""Staging: who copies what, what a crash leaves, and what is refused."""

import collections
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_gw.data.generate import generate
from hpc_gw.data.manifest import DatasetSpec, Manifest, StorageConfig, shard_name
from hpc_gw.data.sources import ShardSource
from hpc_gw.data.stage import _Copy, local_folder, stage
from hpc_gw.data.verify import verify
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import DataError, StorageError
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.timegrid import TimeGrid

SHARDS = 12
SIZE = 10 * 64 * 4


def make(folder, engine, seed=0):
    """120 rows of 64 float32 samples in 12 shards."""
    spec = DatasetSpec(
        name="train",
        population=DrawsConfig(count=10 * SHARDS, seed=seed),
        time_grid=TimeGrid(kind="chirp", samples=64),
        samples=64,
        storage=StorageConfig(shard_bytes=SIZE),
        engine=engine.name,
        engine_checksum=engine.checksum,
    )
    generate(folder, spec, engine, SerialWorld(), progress=False)
    return folder


@pytest.fixture
def dataset(tmp_path, chirp_engine):
    return make(tmp_path / "data" / "train", chirp_engine)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


WHOLE = ["manifest.json", *(shard_name(i) for i in range(SHARDS))]

PROCESS = """
import sys, time
from pathlib import Path
from hpc_gw.data import stage as room

folder, target, work, rank, size, hang, wait = sys.argv[1:8]
work = Path(work)
copy, blocks = room._Copy._copy, room._Copy._blocks

def logged(self):
    with (work / "log").open("a") as log:
        log.write(f"{rank} {self.target.name}\\n")
    time.sleep(float(wait))  # as a large shard would
    copy(self)

def hanging(self):
    if self.target.name != hang:
        yield from blocks(self)
        return
    yield memoryview(b"half a shard" * 500)
    (work / "hanging").touch()
    time.sleep(900)

room._Copy._copy, room._Copy._blocks = logged, hanging
(work / f"ready-{rank}").touch()
while not (work / "go").exists():
    time.sleep(0.002)
print(room.stage(Path(folder), Path(target), part=(int(rank), int(size)), progress=False))
"""


def start(dataset, target, work, rank=0, size=1, hang="", wait=0.1):
    words = [sys.executable, "-c", PROCESS, dataset, target, work, rank, size, hang, wait]
    return subprocess.Popen(
        [str(word) for word in words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(*paths):
    deadline = time.monotonic() + 600
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, paths
        time.sleep(0.01)


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return Path(out.strip())


def test_the_copy_is_the_dataset(dataset, tmp_path):
    local = stage(dataset, tmp_path / "node", progress=False)
    assert local.parent == tmp_path / "node" and local.name.startswith("train-")
    assert names(local) == WHOLE
    for name in WHOLE:
        assert (local / name).read_bytes() == (dataset / name).read_bytes()


def test_four_processes_at_once_copy_each_shard_once_and_share_the_work(dataset, tmp_path):
    work, target = tmp_path / "work", tmp_path / "node"
    work.mkdir()
    processes = [start(dataset, target, work, rank, 4, wait=0.5) for rank in range(4)]
    wait_for(*(work / f"ready-{rank}" for rank in range(4)))
    (work / "go").touch()
    local, *others = {finish(process) for process in processes}
    assert not others and names(local) == WHOLE
    assert not list(verify(local, Manifest.read(local), progress=False))
    log = [line.split() for line in (work / "log").read_text().splitlines()]
    assert sorted(name for _, name in log) == WHOLE[1:]
    shares = collections.Counter(rank for rank, _ in log)
    assert len(shares) >= 3 and max(shares.values()) <= 6, shares  # 3 each, but for the noise


def test_each_process_begins_in_its_own_part_and_goes_round(dataset, tmp_path, monkeypatch):
    copied, copy = [], _Copy._copy

    def logged(self):
        copied.append(self.target.name)
        copy(self)

    monkeypatch.setattr(_Copy, "_copy", logged)
    stage(dataset, tmp_path / "node", part=(2, 4), progress=False)
    assert copied == WHOLE[7:] + WHOLE[1:7]


def test_a_killed_stager_leaves_nothing_that_a_waiting_one_does_not_mend(dataset, tmp_path):
    work, target = tmp_path / "work", tmp_path / "node"
    work.mkdir()
    (work / "go").touch()
    victim = start(dataset, target, work, hang=shard_name(2))
    wait_for(work / "hanging")
    local = local_folder(Manifest.read(dataset), target)
    done = {name: (local / name).stat().st_ino for name in WHOLE[1:3]}
    assert len(list(local.glob(f".{shard_name(2)}.*.tmp"))) == 1
    second = start(dataset, target, work, rank=1, size=2)
    wait_for(*(local / name for name in WHOLE[1:3] + WHOLE[4:]))
    time.sleep(0.2)
    assert second.poll() is None  # it waits for the one that hangs
    assert not (local / shard_name(2)).exists() and not (local / WHOLE[0]).exists()
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=300)
    assert finish(second) == local
    assert names(local) == WHOLE  # no temporary file and no lock is left
    assert not list(verify(local, Manifest.read(local), progress=False))
    assert {name: (local / name).stat().st_ino for name in WHOLE[1:3]} == done


def test_a_second_start_goes_on_where_a_killed_one_stopped(dataset, tmp_path):
    work, target = tmp_path / "work", tmp_path / "node"
    work.mkdir()
    (work / "go").touch()
    victim = start(dataset, target, work, hang=shard_name(5))
    wait_for(work / "hanging")
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=300)
    local = local_folder(Manifest.read(dataset), target)
    before = {name: (local / name).stat().st_ino for name in WHOLE[1:6]}
    assert stage(dataset, target, progress=False) == local
    assert names(local) == WHOLE
    assert {name: (local / name).stat().st_ino for name in WHOLE[1:6]} == before


def test_copies_are_trusted_by_size_and_read_again_when_asked(dataset, tmp_path):
    target = tmp_path / "node"
    local = stage(dataset, target, progress=False)
    flipped, short = local / shard_name(3), local / shard_name(7)
    content = bytearray(flipped.read_bytes())
    content[-7] ^= 1
    flipped.write_bytes(content)
    short.write_bytes(short.read_bytes()[:-1])
    before = {name: (local / name).stat().st_ino for name in WHOLE}
    stage(dataset, target, progress=False)
    changed = [n for n in WHOLE if (local / n).stat().st_ino != before[n]]
    assert changed == [shard_name(7)] and flipped.read_bytes() == content
    stage(dataset, target, check=True, progress=False)
    assert flipped.read_bytes() == (dataset / shard_name(3)).read_bytes()
    assert not list(verify(local, Manifest.read(local), progress=False))


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_source_is_refused_and_named(dataset, tmp_path, damage):
    source = dataset / shard_name(4)
    content = bytearray(source.read_bytes())
    if damage == "missing":
        source.unlink()
    else:
        content[len(content) // 2] ^= 1
        source.write_bytes(content if damage == "flipped" else content[:-5])
    with pytest.raises(DataError) as caught:
        stage(dataset, tmp_path / "node", progress=False)
    line = str(caught.value)
    assert str(source) in line and f"hpc-gw data repair {dataset}" in line and "\n" not in line
    local = local_folder(Manifest.read(dataset), tmp_path / "node")
    there = [name for name in names(local) if not name.endswith(".lock")]
    assert there == WHOLE[1:5]  # neither a bad copy nor a temporary one, nor the manifest


def test_a_limit_takes_the_first_shards_and_readers_the_others_from_the_dataset(dataset, tmp_path):
    manifest = Manifest.read(dataset)
    limit = manifest.shards[0].bytes * 3 - 1
    local = stage(dataset, tmp_path / "node", limit=limit, progress=False)
    assert names(local) == WHOLE[:3]
    rows = np.array([119, 0, 15, 60])
    before = ShardSource(dataset, progress=False).load(rows)
    for name in WHOLE[1:3]:
        (dataset / name).unlink()  # must be read from the copy
    assert torch.equal(ShardSource(dataset, verify=False, local=local).load(rows), before)
    with pytest.raises(StorageError, match=r"its first shard has .* may be used"):
        stage(dataset, tmp_path / "node", limit=10, progress=False)


def test_a_target_that_is_too_small_is_refused_before_anything_is_copied(
    dataset, tmp_path, monkeypatch
):
    total = sum(shard.bytes for shard in Manifest.read(dataset).shards)
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(total - 1))
    with pytest.raises(StorageError, match=r"are still to be copied, .* are free; .* --limit"):
        stage(dataset, tmp_path / "node", progress=False)
    local = local_folder(Manifest.read(dataset), tmp_path / "node")
    assert names(local) == []
    # What others have begun to write is space that is used already, and will not be needed again.
    (local / f".{shard_name(0)}.abc.tmp").write_bytes(b"x" * 100)
    stage(dataset, tmp_path / "node", progress=False)
    assert names(local) == WHOLE


def test_datasets_of_one_name_do_not_meet(dataset, tmp_path, chirp_engine):
    other = make(tmp_path / "other" / "train", chirp_engine, seed=1)
    first, second = (stage(d, tmp_path / "node", progress=False) for d in (dataset, other))
    assert first != second and first.name.split("-")[0] == second.name.split("-")[0] == "train"
    a, b = shard_name(0), shard_name(0)
    assert (first / a).read_bytes() != (second / b).read_bytes()
    copied = shutil.copytree(dataset, tmp_path / "elsewhere")
    assert stage(copied, tmp_path / "node", progress=False) == first


def test_a_set_that_is_not_complete_is_refused(dataset, tmp_path):
    manifest = Manifest.read(dataset)
    dataclasses.replace(manifest, shards=(*manifest.shards[:-1], None)).write(dataset)
    with pytest.raises(DataError, match=r"shard-00011.h5 is not made yet; generate"):
        stage(dataset, tmp_path / "node", progress=False)


def test_a_target_that_cannot_be_written_is_refused(dataset, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        stage(dataset, tmp_path / "file" / "node", progress=False)
