"""Atomic publication: a file is there whole, or not at all."""

import errno
import hashlib
import os

import pytest

from hpc_gw.errors import DataError, StorageError
from hpc_gw.files import published, read_json, sha256, write_json


def test_a_published_file_appears_whole_and_leaves_nothing_else(tmp_path):
    with published(tmp_path / "deep" / "file.txt") as temporary:
        assert not (tmp_path / "deep" / "file.txt").exists()
        temporary.write_text("whole")
    assert (tmp_path / "deep" / "file.txt").read_text() == "whole"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file_and_removes_the_new_one(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write():
        with published(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_full_disk_is_said_as_such(tmp_path):
    def write():
        with published(tmp_path / "file.txt"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match="disk is full; nothing was published"):
        write()
    assert not list(tmp_path.iterdir())


def test_json_survives_a_round_trip_and_nan_is_refused(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None, "é"]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None, "é"]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("content", [None, "{", "\xff"])
def test_unreadable_json_is_one_clear_line(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.json"):
        read_json(path)


def test_checksums_are_sha256(tmp_path):
    content = os.urandom(5_000_000)
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()
