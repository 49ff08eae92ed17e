"""A disk that is full, or cannot be written: one line, nothing half-written, and it goes on."""

import os

import numpy as np
import pytest
import torch

from hpc_gw.cli import main
from hpc_gw.data.generate import generate
from hpc_gw.data.lock import is_generating
from hpc_gw.data.sources import ShardSource
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import StorageError
from tests.faults.generators import (
    assert_finished,
    checksums,
    spec_of,
    train_folder,
    vouched,
    write_job,
)

PAGE = os.sysconf("SC_PAGESIZE")


def one_line(printed):
    """What a command that failed had to say, after its progress bar."""
    lines = printed.strip().replace("\r", "\n").splitlines()
    lines = [line for line in lines if not line.startswith("generate train:")]
    assert len(lines) == 1 and lines[0].startswith("hpc-gw: "), printed
    return lines[0]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_full_disk_is_one_line_and_with_space_the_set_is_finished(
    disk, scratch, capsys, compression
):
    job = write_job(scratch, rows=500, shards=10, compression=compression)
    words = ["generate", str(job), "--sets", "train"]
    assert main(words) == 0
    wanted = checksums(train_folder(job))
    capsys.readouterr()
    disk.remount("size=400k")  # gzip leaves 0.95 MB of 1 MB
    words += ["--output", str(disk.path / "run")]
    folder = disk.path / "run" / "data" / "train"
    assert main(words) == 2
    line = one_line(capsys.readouterr().err)
    assert "the disk is full" in line and "free space" in line and str(folder) in line
    whole = checksums(folder)
    assert 1 <= len(whole) < 10 and whole.items() <= wanted.items()
    assert not list(folder.glob(".*.tmp"))
    before = vouched(folder)
    disk.remount("size=4m")
    assert main(words) == 0
    assert before.items() <= vouched(folder).items() and len(before) == len(whole)
    assert_finished(folder, wanted)


def fill(path, free):
    """Fill a disk with a file, but for so many pages."""
    space = os.statvfs(path.parent)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (space.f_bfree - free) * space.f_bsize)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_wherever_the_disk_becomes_full_nothing_is_half_written(disk, chirp_engine, compression):
    """The lock, the manifest, a record, a shard, the manifest again: each meets the end once."""
    spec = spec_of(chirp_engine, rows=26, compression=compression)
    wanted, ends = None, []
    for free in (40, *range(22)):
        folder = disk.path / f"set-{free}"
        ballast = disk.path / "ballast"
        fill(ballast, free)
        try:
            generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
        except StorageError as error:
            assert "the disk is full" in str(error)
            ends.append(str(error).split(":")[0].rpartition("/")[2])
        made, before = checksums(folder), vouched(folder)
        assert not list(folder.glob(".*.tmp"))
        ballast.unlink()
        generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
        wanted = wanted or made  # there was space enough for the first
        assert made.items() <= wanted.items() and before.items() <= vouched(folder).items()
        assert len(before) == len(made)
        assert_finished(folder, wanted)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert {"manifest.json", "shard-00000.json", "shard-00000.h5", "shard-00002.h5"} <= {*ends}
    assert len(ends) >= 12


def test_a_folder_that_cannot_be_written_is_one_line_and_can_be_read(
    disk, scratch, capsys, chirp_engine
):
    spec = spec_of(chirp_engine)
    generate(disk.path / "set", spec, chirp_engine, SerialWorld(), progress=False)
    disk.remount("ro")
    job = write_job(scratch, rows=20, shards=2)
    words = ["generate", str(job), "--sets", "train", "--output", str(disk.path / "run")]
    assert main(words) == 2
    assert "cannot be written (Read-only file system)" in one_line(capsys.readouterr().err)
    with pytest.raises(StorageError, match="cannot be written"):
        generate(disk.path / "set", spec, chirp_engine, SerialWorld(), progress=False)
    rows = np.array([35, 3])
    found = ShardSource(disk.path / "set", progress=False).load(rows)
    assert torch.equal(found, chirp_engine.h22_real(spec.population.parameters(rows)))
    assert not is_generating(disk.path / "set")
