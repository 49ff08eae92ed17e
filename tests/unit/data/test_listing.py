"""Listing: what is told of a dataset comes from its manifest and records alone."""

import dataclasses
import json

import numpy as np
import pytest

from hpc_gw.data.generate import generate, record_path
from hpc_gw.data.listing import describe, find_datasets
from hpc_gw.data.lock import LOCK, generating
from hpc_gw.data.manifest import (
    DatasetSpec,
    Manifest,
    Quarantined,
    ShardRecord,
    StorageConfig,
    shard_name,
)
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.files import parse_bytes, readable_bytes, write_json
from hpc_gw.manifold.populations import DrawsConfig, GridConfig
from hpc_gw.waveforms.timegrid import TimeGrid

GRID = TimeGrid(kind="chirp", samples=64)


@pytest.fixture
def dataset(tmp_path, chirp_engine):
    """36 rows of 64 float32 samples, in shards of 10, 10, 10 and 6."""
    spec = DatasetSpec(
        name="validation",
        population=DrawsConfig(count=36),
        time_grid=GRID,
        samples=64,
        storage=StorageConfig(shard_bytes=10 * 64 * 4),
        engine=chirp_engine.name,
        engine_checksum=chirp_engine.checksum,
    )
    folder = tmp_path / "runs" / "job" / "data" / "validation"
    generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
    return folder


def test_a_complete_set_is_described(dataset, chirp_engine):
    found = describe(dataset).as_dict()
    files = sorted(dataset.glob("shard-*.h5"))
    precision = found.pop("precision")
    assert found == {
        "name": "validation",
        "folder": str(dataset),
        "state": "complete",
        "rows": 36,
        "rows_total": 36,
        "shards": 4,
        "shards_total": 4,
        "bytes": sum(path.stat().st_size for path in files),
        "bytes_uncompressed": 36 * 64 * 4,
        "values": "real",
        "dtype": "float32",
        "compression": "none",
        "time_grid": "chirp",
        "samples": 64,
        "samples_total": 64,
        "span": [-10000.0, 130.0],
        "engine": chirp_engine.name,
        "engine_checksum": chirp_engine.checksum[:12],
        "quarantined": 0,
    }
    assert precision["rows"] == 36 and 0 < precision["median"] <= precision["largest"] < 1e-12
    text = describe(dataset).as_text()
    for words in (str(dataset), "complete", "36 of 36 rows", "real float32", "64 of 64 samples"):
        assert words in text


def test_shards_that_are_not_in_the_manifest_yet_are_counted_by_their_records(dataset):
    manifest = Manifest.read(dataset)
    for index in (1, 3):  # 10 and 6 rows; shard 2 has a record but no file yet
        write_json(record_path(dataset, index), dataclasses.asdict(manifest.shards[index]))
    write_json(record_path(dataset, 2), dataclasses.asdict(manifest.shards[2]))
    (dataset / shard_name(2)).unlink()
    dataclasses.replace(manifest, shards=(None,) * 4).write(dataset)
    found = describe(dataset)
    assert (found.state, found.shards, found.rows) == ("incomplete", 2, 16)
    assert found.bytes == sum(manifest.shards[i].bytes for i in (1, 3))
    assert "2 of 4 shards, 16 of 36 rows" in found.as_text()


def test_a_set_that_is_being_generated_says_so(dataset):
    with generating(dataset, SerialWorld()):
        assert describe(dataset).state == "generating"
        assert "being generated now" in describe(dataset).as_text()
    assert (dataset / LOCK).exists() and describe(dataset).state == "complete"


def test_the_rows_without_a_waveform_are_told_with_their_reasons(dataset):
    manifest = Manifest.read(dataset)
    failed = Quarantined(row=12, parameters=(3.0, 0.5, -0.5), reason="ValueError: no root")
    bad = dataclasses.replace(manifest.shards[1], quarantine=(failed,))
    shards = (manifest.shards[0], bad, *manifest.shards[2:])
    dataclasses.replace(manifest, shards=shards).write(dataset)
    found = describe(dataset)
    assert found.as_dict()["quarantined"] == 1 and "quarantine" not in found.as_dict()
    assert "no root" not in found.as_text()
    line = "row 12 at (q, s1, s2) = (3, 0.5, -0.5): ValueError: no root"
    assert line in found.as_text(quarantine=True)
    (told,) = json.loads(json.dumps(found.as_dict(quarantine=True)))["quarantine"]
    assert told == {"row": 12, "parameters": [3.0, 0.5, -0.5], "reason": "ValueError: no root"}


@pytest.mark.parametrize("made", [10_000, 1234])
def test_ten_thousand_shards_are_described_though_none_is_there(tmp_path, made):
    """No shard exists, so none can be opened: all is in the manifest."""
    row_bytes = TimeGrid().size * 8
    spec = DatasetSpec(
        name="train",
        population=GridConfig(split="train"),
        time_grid=TimeGrid(),
        samples=TimeGrid().size,
        storage=StorageConfig(dtype="float64", shard_bytes=158 * row_bytes),
        engine="NRHybSur3dq8",
        engine_checksum="ab" * 32,
    )
    assert spec.shards == 10_001
    records = [ShardRecord("0" * 32, 1000, ()) for _ in range(made)]
    records += [None] * (10_001 - made)
    Manifest(spec, tuple(records), {}).write(tmp_path)
    found = describe(tmp_path)
    assert (found.shards, found.bytes, found.rows) == (made, 1000 * made, 158 * made)


def test_datasets_are_found_in_and_below_folders_but_not_behind_links(dataset, tmp_path):
    other = tmp_path / "runs" / "job" / "data" / "copy"
    other.mkdir()
    Manifest.read(dataset).write(other)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(dataset)
    assert find_datasets([tmp_path / "runs"]) == sorted([dataset, other])
    assert find_datasets([dataset, tmp_path]) == sorted([dataset, other])
    with pytest.raises(DataError, match="no dataset here or below"):
        find_datasets([tmp_path / "elsewhere"])


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere: cannot be read"):
        find_datasets([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("200GB", 200 * 10**9),
        ("1.5 TB", 1_500_000_000_000),
        ("64MiB", 64 * 2**20),
        ("2k", 2000),
        ("7 B", 7),
    ],
)
def test_sizes_are_read_as_they_are_written(text, size):
    assert parse_bytes(text, what="--limit") == size


@pytest.mark.parametrize("text", ["", "many", "-3GB", "3 parsecs", "1e9", "0", "0.2B", "inf"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match=r"--limit .*: no size; write"):
        parse_bytes(text, what="--limit")


def test_readable_sizes_can_be_read_back_to_three_digits():
    for size in np.geomspace(1, 1e15, 40).astype(int).tolist():
        back = parse_bytes(readable_bytes(size), what="--limit")
        assert abs(back - size) <= 0.006 * size
