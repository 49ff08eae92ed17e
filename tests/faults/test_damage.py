"""Damaged shards: each is found, and made anew alone."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpc_gw.data.generate import generate, record_path
from hpc_gw.data.manifest import Manifest, shard_name
from hpc_gw.data.sources import ShardSource
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import DataError, StorageError
from tests.faults.generators import assert_finished, checksums, spec_of, vouched

VICTIM = shard_name(1)


@pytest.fixture(params=["none", "gzip"])
def damaged(request, scratch, chirp_engine):
    """Puts a whole set there, damages it as told, and has it found and mended."""
    spec, pristine = spec_of(chirp_engine, compression=request.param), scratch / "pristine"
    generate(pristine, spec, chirp_engine, SerialWorld(), progress=False)
    wanted, folder = checksums(pristine), scratch / "set"

    def check(damage, reason):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pristine, folder)
        damage(folder / VICTIM)
        with pytest.raises(DataError, match=reason) as caught:
            ShardSource(folder, progress=False)
        assert str(caught.value).startswith(f"{folder / VICTIM}: ")
        before = vouched(folder)
        assert sorted(before) == sorted({*wanted} - {VICTIM})
        generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
        assert before.items() <= vouched(folder).items()
        assert_finished(folder, wanted)
        ShardSource(folder, progress=False).load(np.arange(36))

    return check


def swap(path):
    other = path.with_name(shard_name(2))
    path.write_bytes(other.read_bytes())


DAMAGES = {
    "emptied": (lambda path: path.write_bytes(b""), "has 0 bytes"),
    "removed": (lambda path: path.unlink(), "is missing"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, .* were"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "bytes, .* were"),
    "another of the set": (swap, "XXH128 differs|bytes, .* were"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_shard_that_is_not_what_was_published_is_made_anew(damaged, damage):
    damaged(*DAMAGES[damage])


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(part=st.integers(0, 2), place=st.integers(0, 2**16), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_wherever_it_is(damaged, part, place, bit):
    """In HDF5's header, in the middle, where waveforms are, or at the end."""

    def flip(path):
        content = bytearray(path.read_bytes())
        third = len(content) // 3
        content[part * third + place % third] ^= 1 << bit
        path.write_bytes(content)

    damaged(flip, "XXH128 differs")


@pytest.fixture
def unfinished(scratch, chirp_engine):
    """A folder of shards with their records beside them, as before they are gathered."""
    spec, folder = spec_of(chirp_engine), scratch / "set"
    whole = generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
    content = json.loads((folder / "manifest.json").read_text())
    for index in range(spec.shards):
        record_path(folder, index).write_text(json.dumps(content["shards"][shard_name(index)]))
    Manifest(spec, (None,) * spec.shards, whole.recipe).write(folder)
    return folder, spec


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"xxh128": 1}', b'"x"', b"\xff\xfe", b"[1, 2]", b"7"],
)
def test_a_shard_whose_record_is_damaged_is_made_anew(unfinished, chirp_engine, content):
    folder, spec = unfinished
    wanted, before = checksums(folder), vouched(folder)
    record_path(folder, 1).write_bytes(content)
    del before[VICTIM]
    generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
    assert before.items() <= vouched(folder).items()
    assert_finished(folder, wanted)


def test_a_changed_record_promises_another_shard(unfinished, chirp_engine):
    folder, spec = unfinished
    wanted, before = checksums(folder), vouched(folder)
    path = record_path(folder, 1)
    path.write_text(path.read_text().replace('"xxh128": "', '"xxh128": "0'))
    generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
    del before[VICTIM]
    assert before.items() <= vouched(folder).items()
    assert_finished(folder, wanted)


def test_a_folder_in_the_place_of_a_shard_is_one_clear_line(unfinished, chirp_engine):
    folder, spec = unfinished
    (folder / VICTIM).unlink()
    (folder / VICTIM).mkdir()
    with pytest.raises(StorageError, match=VICTIM):
        generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
    (folder / VICTIM).rmdir()
    generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
    ShardSource(folder, progress=False)
