"""The lock of a folder: one generator, freed with its holder, and no matter where it cannot be."""

import errno
import fcntl
import os

import pytest

from hpc_gw import locks
from hpc_gw.data.generate import generate
from hpc_gw.data.lock import LOCK, generating, is_generating
from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import DataError, StorageError
from hpc_gw.files import read_json
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.timegrid import TimeGrid

SERIAL = SerialWorld()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(locks, "_PAUSE_S", 0.0)


def test_a_folder_is_held_while_it_is_worked_in_and_not_longer(tmp_path):
    assert not is_generating(tmp_path)
    with generating(tmp_path / "set", SERIAL) as protected:
        assert protected and is_generating(tmp_path / "set")
        assert read_json(tmp_path / "set" / LOCK)["pid"] == os.getpid()
    assert not is_generating(tmp_path / "set")
    with pytest.raises(ZeroDivisionError), generating(tmp_path / "set", SERIAL):
        raise ZeroDivisionError
    assert not is_generating(tmp_path / "set")


def test_a_second_generator_is_told_who_is_at_work(tmp_path):
    with generating(tmp_path, SERIAL):
        with pytest.raises(DataError, match=f"another generator is at work here .*{os.getpid()}"):
            generating(tmp_path, SERIAL).__enter__()
        assert is_generating(tmp_path)  # the refused one took nothing away
    with generating(tmp_path, SERIAL) as protected:
        assert protected


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 3}', "7"])
def test_a_holder_that_is_not_named_is_refused_in_words_all_the_same(tmp_path, content):
    with generating(tmp_path, SERIAL):
        (tmp_path / LOCK).write_text(content)
        with pytest.raises(DataError, match=r"at work here \(it just began\)"):
            generating(tmp_path, SERIAL).__enter__()


class OtherRank:
    """Rank 1 of 2; ``barrier`` does what rank 0 does meanwhile."""

    rank, size = 1, 2

    def __init__(self, meanwhile):
        self._meanwhile = meanwhile

    def barrier(self):
        self._meanwhile()

    def sum(self, value):
        return value


def test_every_rank_holds_the_folder(tmp_path):
    first = generating(tmp_path, SERIAL)
    first.__enter__()
    second = generating(tmp_path, OtherRank(lambda: None))
    second.__enter__()
    first.__exit__(None, None, None)
    assert is_generating(tmp_path)  # rank 0 is gone, rank 1 is not
    with pytest.raises(DataError, match="another generator"):
        generating(tmp_path, SERIAL).__enter__()
    second.__exit__(None, None, None)
    assert not is_generating(tmp_path)


def fail(monkeypatch, number):
    def flock(handle, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_used_unprotected(
    tmp_path, monkeypatch, chirp_engine, number
):
    fail(monkeypatch, number)
    with generating(tmp_path, SERIAL) as protected:
        assert protected is False
        assert not is_generating(tmp_path)
        with generating(tmp_path, SERIAL) as again:
            assert again is False
    spec = DatasetSpec(
        "test", DrawsConfig(count=8), TimeGrid(kind="chirp", samples=64), 64, StorageConfig(),
        chirp_engine.name, chirp_engine.checksum,
    )  # fmt: skip
    leftover = tmp_path / ".shard-00000.h5.x.tmp"
    leftover.write_text("somebody else may be writing this")
    assert generate(tmp_path, spec, chirp_engine, SERIAL, progress=False).complete
    assert leftover.exists()


def test_on_nfs_who_may_only_read_cannot_tell(tmp_path, monkeypatch):
    """NFS locks alone only what was opened for writing: EBADF otherwise."""
    (tmp_path / LOCK).touch()
    fail(monkeypatch, errno.EBADF)
    assert not is_generating(tmp_path)


def test_an_unknown_failure_of_locking_is_not_hidden(tmp_path, monkeypatch):
    fail(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        generating(tmp_path, SERIAL).__enter__()


def test_a_generator_is_patient_with_who_looks_for_a_moment(tmp_path, monkeypatch):
    refusals, original = iter([True, True, False]), fcntl.flock

    def flock(handle, kind):
        if kind & fcntl.LOCK_EX and next(refusals):
            raise BlockingIOError(errno.EWOULDBLOCK, "held")
        original(handle, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    with generating(tmp_path, SERIAL) as protected:
        assert protected


def test_a_folder_that_cannot_be_locked_for_it_cannot_be_written_is_refused(tmp_path):
    (tmp_path / LOCK).mkdir()
    with pytest.raises(StorageError, match=str(tmp_path)):
        generating(tmp_path, SERIAL).__enter__()
