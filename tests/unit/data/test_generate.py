"""Generation: what is written, what a second start does, and what is refused."""

import dataclasses
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
import xxhash

from hpc_gw.data.generate import generate
from hpc_gw.data.manifest import DatasetSpec, Manifest, StorageConfig, shard_name
from hpc_gw.data.sources import EngineSource, ShardSource
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import DataError, ParameterError, StorageError
from hpc_gw.files import sha256
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.timegrid import TimeGrid

GRID = TimeGrid(kind="chirp", samples=64)


def spec_of(engine, **changes):
    row_bytes = 64 * 4
    spec = DatasetSpec(
        name="test",
        population=DrawsConfig(count=36),
        time_grid=GRID,
        samples=64,
        storage=StorageConfig(shard_bytes=10 * row_bytes),  # shards of 10, 10, 10, 6 rows
        engine=engine.name,
        engine_checksum=engine.checksum,
    )
    return dataclasses.replace(spec, **changes)


@pytest.fixture
def dataset(tmp_path, chirp_engine):
    spec = spec_of(chirp_engine)
    generate(tmp_path / "set", spec, chirp_engine, SerialWorld(), progress=False)
    return tmp_path / "set", spec


def fingerprint(folder):
    return {p.name: (p.stat().st_mtime_ns, sha256(p)) for p in folder.glob("shard-*.h5")}


def test_shards_hold_every_row_once_with_its_waveform(dataset, chirp_engine):
    folder, spec = dataset
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) == [
        "manifest.json",
        *(shard_name(i) for i in range(4)),
    ]
    rows, values = [], []
    for path in sorted(folder.glob("shard-*.h5")):
        with h5py.File(path) as file:  # as any reader of HDF5 sees it
            rows.append(file["row"][:])
            values.append(file["h22"][:])
    assert [len(r) for r in rows] == [10, 10, 10, 6]
    assert np.array_equal(np.concatenate(rows), np.arange(36))
    truth = chirp_engine.h22(spec.population.parameters(np.arange(36))).real
    assert np.array_equal(np.concatenate(values), truth.numpy())


def test_the_manifest_says_how_it_was_made_and_how_to_check_it(dataset):
    folder, spec = dataset
    manifest = Manifest.read(folder)
    assert manifest.complete and manifest.spec == spec
    for i, record in enumerate(manifest.shards):
        content = (folder / shard_name(i)).read_bytes()
        assert record.xxh128 == xxhash.xxh3_128(content).hexdigest()
        assert record.bytes == len(content)
    assert manifest.recipe["versions"]["torch"] == torch.__version__


def test_a_second_start_leaves_whole_shards_alone(dataset, chirp_engine):
    folder, spec = dataset
    before = fingerprint(folder)
    generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
    assert fingerprint(folder) == before


@pytest.mark.parametrize("damage", ["missing", "flipped", "truncated"])
def test_a_second_start_makes_just_the_damaged_shard_anew(dataset, chirp_engine, damage):
    folder, spec = dataset
    before = fingerprint(folder)
    hurt(folder / shard_name(2), damage)
    with pytest.raises(DataError, match=shard_name(2)):
        ShardSource(folder, progress=False)
    generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
    after = fingerprint(folder)
    assert {n: sha for n, (_, sha) in after.items()} == {n: sha for n, (_, sha) in before.items()}
    touched = [name for name in after if after[name][0] != before[name][0]]
    assert touched == [shard_name(2)]


def hurt(path, damage):
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        content = bytearray(path.read_bytes())
        content[-7] ^= 1
        path.write_bytes(content)


def test_a_crash_leaves_no_half_written_shard(tmp_path, chirp_engine):
    class Failing:
        name, checksum, times = chirp_engine.name, chirp_engine.checksum, chirp_engine.times
        calls = 0

        def h22(self, parameters):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return chirp_engine.h22(parameters)

    spec = spec_of(chirp_engine)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, spec, Failing(), SerialWorld(), progress=False)
    assert sorted(p.name for p in tmp_path.glob("*.h5")) == [shard_name(0), shard_name(1)]
    assert not list(tmp_path.glob(".*.tmp"))
    with pytest.raises(DataError, match="shards are not made yet"):
        ShardSource(tmp_path, progress=False)
    before = fingerprint(tmp_path)
    generate(tmp_path, spec, chirp_engine, SerialWorld(), progress=False)
    assert {n: before[n] for n in before} == {n: fingerprint(tmp_path)[n] for n in before}
    assert Manifest.read(tmp_path).complete


def test_what_a_killed_rank_left_behind_is_removed(tmp_path, chirp_engine):
    leftover = tmp_path / f".{shard_name(1)}.x7qk2.tmp"
    leftover.write_bytes(b"half a shard")
    generate(tmp_path, spec_of(chirp_engine), chirp_engine, SerialWorld(), progress=False)
    assert not leftover.exists()


def test_a_set_out_of_the_engines_domain_is_refused_before_anything_is_written(
    tmp_path, chirp_engine
):
    spec = spec_of(chirp_engine, population=DrawsConfig(count=36, q=(1, 20)))
    with pytest.raises(ParameterError, match="covers q"):
        generate(tmp_path / "set", spec, chirp_engine, SerialWorld(), progress=False)
    assert not (tmp_path / "set").exists()


def test_another_datasets_folder_is_refused_and_left_alone(dataset, chirp_engine):
    folder, spec = dataset
    before = fingerprint(folder)
    other = dataclasses.replace(spec, population=DrawsConfig(count=36, seed=1))
    with pytest.raises(DataError, match="holds another dataset") as caught:
        generate(folder, other, chirp_engine, SerialWorld(), progress=False)
    assert "population" in str(caught.value) and "\n" not in str(caught.value)
    assert fingerprint(folder) == before


@pytest.mark.parametrize("values", ["real", "complex"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shards_and_engine_give_the_same_samples(tmp_path, chirp_engine, values, dtype):
    storage = StorageConfig(values=values, dtype=dtype, shard_bytes=7 * 64 * 4)
    spec = spec_of(chirp_engine, storage=storage)
    generate(tmp_path, spec, chirp_engine, SerialWorld(), progress=False)
    shards, direct = ShardSource(tmp_path, progress=False), EngineSource(spec, chirp_engine)
    rows = np.array([35, 0, 17, 17, 8])
    assert torch.equal(shards.load(rows), direct.load(rows))
    assert shards.load(rows).is_complex() == (values == "complex")


def test_only_the_last_samples_are_read_when_asked(dataset):
    folder, _ = dataset
    rows = np.array([3, 30])
    whole = ShardSource(folder, progress=False).load(rows)
    assert torch.equal(ShardSource(folder, samples=10, progress=False).load(rows), whole[:, -10:])


def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path, chirp_engine):
    script = f"""
import sys, numpy as np
from pathlib import Path
sys.path.insert(0, {str(tmp_path)!r})
from hpc_gw.data import generate as g
from hpc_gw.data.manifest import *
from hpc_gw.distributed import SerialWorld
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.timegrid import TimeGrid
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)   # a write past the limit then fails with EFBIG
grid = TimeGrid(kind="chirp", samples=64)
engine = load_engine(EngineConfig(file="embedded"), grid.times())
spec = DatasetSpec("test", DrawsConfig(count=4000), grid, grid.size,
                   StorageConfig(shard_bytes=2**20), engine.name, engine.checksum)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, 2**19))
from hpc_gw.errors import StorageError
try:
    g.generate(Path({str(tmp_path / "set")!r}), spec, engine, SerialWorld(), progress=False)
except StorageError as error:
    print("STORAGE", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "STORAGE" in done.stdout and "disk is full" in done.stdout, done.stderr
    assert [p.name for p in (tmp_path / "set").glob("[!.]*")] == ["manifest.json"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, chirp_engine):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        generate(tmp_path / "file" / "set", spec_of(chirp_engine), chirp_engine, SerialWorld())


def test_a_foreign_or_missing_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match="generate it first"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(DataError, match="not a manifest"):
        Manifest.read(tmp_path)
    shutil.rmtree(tmp_path)
