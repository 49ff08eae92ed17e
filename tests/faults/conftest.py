"""Folders to break things in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from hpc_gw.cli import main
from tests.faults.generators import LAUNCHER, train_folder, write_job

LONG = os.environ.get("HPC_GW_LONG") == "1"
needs_mpi = pytest.mark.skipif(LAUNCHER is None, reason="no mpiexec")


class Disk:
    """A small file system of its own in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, *options: str) -> None:
        """Mount it, or mount it anew with other options; ``size=`` of the least, ``ro``."""
        words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.path)]
        subprocess.run(words, check=True, capture_output=True)

    def remount(self, *options: str) -> None:
        """Change its size, or whether it can be written."""
        self.mount("remount", *options)


@pytest.fixture
def disk(tmp_path):
    """An unmounted ``Disk``; skips where this user may not mount."""
    made = Disk(tmp_path / "disk")
    made.path.mkdir()
    try:
        made.mount("size=1m", "mode=700")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk needs the right to mount a tmpfs")
    yield made
    subprocess.run(["umount", "-l", str(made.path)], check=True)


def _in_memory():
    """A folder in memory where there is room: flushing to disk does not matter to a kill."""
    shared = Path("/dev/shm")
    room = os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 5e8
    return tempfile.TemporaryDirectory(dir=shared if room else None)


@pytest.fixture
def scratch():
    """An empty folder, in memory if possible."""
    with _in_memory() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def reference():
    """Folder of a set of 100 shards that one process made without a stop."""
    with _in_memory() as folder:
        yield _made_without_a_stop(Path(folder))


def _made_without_a_stop(folder):
    job = write_job(folder, rows=12_000, shards=100)
    assert main(["generate", str(job), "--sets", "train"]) == 0
    return train_folder(job)
