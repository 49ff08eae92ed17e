"""Reading rows: any order, any storage, few files open, few calls, and from any process."""

import contextlib
import multiprocessing
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hpc_gw.data import reader, shards
from hpc_gw.data.generate import generate
from hpc_gw.data.manifest import DatasetSpec, StorageConfig, shard_name
from hpc_gw.data.reader import ShardReader
from hpc_gw.data.sampler import Sampler, ShuffleConfig
from hpc_gw.data.sources import ShardSource, truths
from hpc_gw.data.streams import WaveformDataset
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import DataError
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.timegrid import TimeGrid

GRID = TimeGrid(kind="chirp", samples=64)
STORAGE = {
    "real": {},
    "complex": {"values": "complex"},
    "double": {"dtype": "float64", "values": "complex"},
    "float16": {"dtype": "float16"},
    "float16 pairs": {"dtype": "float16", "values": "complex"},
    "gzip": {"compression": "gzip"},
    "zstd": {"compression": "zstd", "values": "complex"},
}


@pytest.fixture(scope="module")
def make(tmp_path_factory, chirp_engine):
    """Storage options -> folder of a set of 103 rows, ten a shard, and its spec; made once."""
    made = {}

    def make(name):
        if name not in made:
            if name == "zstd":
                pytest.importorskip("hdf5plugin")
            row = 64 * StorageConfig(**STORAGE[name]).numpy_dtype.itemsize
            row *= 2 if name == "float16 pairs" else 1
            storage = StorageConfig(shard_bytes=10 * row, **STORAGE[name])
            spec = DatasetSpec(
                "test", DrawsConfig(count=103), GRID, 64, storage, chirp_engine.name,
                chirp_engine.checksum,
            )  # fmt: skip
            folder = tmp_path_factory.mktemp("set")
            generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
            made[name] = folder, spec
        return made[name]

    return make


@pytest.fixture
def dataset(make):
    return make("real")


def by_h5py(folder):
    """Everything that is stored, read with h5py alone."""
    stored = []
    for path in sorted(folder.glob("shard-*.h5")):
        with h5py.File(path) as file:
            stored.append(file["h22"][:])
    return np.concatenate(stored)


ORDERS = {
    "one": [57],
    "none": [],
    "all": range(103),
    "backward": range(102, -1, -1),
    "twice": [3, 3, 102, 3, 4, 102, 0],
    "over a border": [8, 9, 10, 11, 99, 100, 101, 102],
    "mixed": np.random.default_rng(0).permutation(103)[:60],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("storage", STORAGE)
def test_any_rows_in_any_order_are_what_h5py_reads(make, storage, order):
    folder, spec = make(storage)
    rows, stored = np.array(ORDERS[order], dtype=np.int64), by_h5py(folder)
    for samples in (64, 63, 10, 1):
        found = ShardReader(folder, spec, samples).read(rows)
        assert found.dtype == stored.dtype
        assert np.array_equal(found, stored[rows][:, -samples:])


def open_files(folder):
    """Shards of a set that this process has open."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            targets.append(str(link.readlink()))
    return [target for target in targets if target.startswith(f"{folder}/shard-")]


@pytest.fixture
def most_open(monkeypatch):
    """The largest number of shards that were open when one was read, in a list."""
    found = [0]
    for kind in (shards._ContiguousShard, shards._CompressedShard):
        original = kind.read

        def read(self, first, lines, original=original):
            found[0] = max(found[0], len(open_files(self._path.parent)))
            return original(self, first, lines)

        monkeypatch.setattr(kind, "read", read)
    return found


@pytest.mark.parametrize("storage", ["real", "gzip"])
def test_never_more_files_are_open_than_allowed(make, monkeypatch, most_open, storage):
    monkeypatch.setattr(reader, "OPEN", 3)
    folder, spec = make(storage)
    stored, source = by_h5py(folder), ShardReader(folder, spec, 64)
    rng = np.random.default_rng(1)
    for size in (1, 5, 40, 103, 2, 60):
        rows = rng.permutation(103)[:size]
        assert np.array_equal(source.read(rows), stored[rows])
    assert most_open[0] == 3 == len(open_files(folder))
    source.close()
    assert open_files(folder) == []
    assert np.array_equal(source.read(np.arange(5)), stored[:5])


def test_files_are_opened_when_they_are_needed_and_once(dataset, monkeypatch):
    folder, spec = dataset
    source, opened = ShardSource(folder, verify=False), []
    assert open_files(folder) == []
    original = reader.open_shard
    monkeypatch.setattr(
        reader, "open_shard", lambda path, *rest: opened.append(path) or original(path, *rest)
    )
    real_open, calls = os.open, []
    monkeypatch.setattr(
        os, "open", lambda path, *rest, **more: calls.append(path) or real_open(path, *rest, **more)
    )
    source.load(np.array([35]))
    assert [path.name for path in opened] == [shard_name(3)]
    for _ in range(3):
        for row in range(103):
            source.load(np.array([row]))
    assert len(opened) == spec.shards == len(set(opened)) == 11
    assert sum(str(path).endswith(".h5") for path in calls) == 11


@pytest.fixture
def calls(monkeypatch):
    """Reads of contiguous shards: the number of buffers that each filled."""
    made, original = [], os.preadv

    def preadv(file, views, position):
        made.append(len(views))
        return original(file, views, position)

    monkeypatch.setattr(os, "preadv", preadv)
    return made


def test_consecutive_rows_are_read_in_one_call(dataset, calls):
    folder, _ = dataset
    source = ShardSource(folder, verify=False)
    rows = np.random.default_rng(0).permutation(np.arange(20, 30))
    source.load(rows)
    assert calls == [10]
    source.load(np.arange(5, 25))
    assert calls[1:] == [5, 10, 5]


def test_a_block_of_runs_takes_about_a_call_a_run(dataset, calls):
    folder, _ = dataset
    shuffle = ShuffleConfig("runs", run=5, lanes=4, window=3)
    sampler = Sampler(103, 12, 0, shuffle=shuffle)
    source, order = ShardSource(folder, verify=False), sampler.order(0)
    steps = next(sampler.blocks(0))
    rows = np.concatenate([sampler.part(order, step, 0, 1) for step in steps])
    source.load(rows)
    runs = shuffle.block // shuffle.run
    assert sum(calls) == rows.size == 60
    assert len(calls) <= 2 * runs  # a run of 5 rows may lie in two shards of 10
    mixed = np.random.default_rng(0).permutation(103)[:60]
    block_calls = len(calls)
    for row in mixed:
        source.load(np.array([row]))
    assert len(calls) - block_calls == 60


def read_in_child(source, rows, answers):
    answers.put(source.load(rows).numpy())


@pytest.mark.parametrize(
    ("method", "storage"), [("fork", "real"), ("fork", "gzip"), ("spawn", "real")]
)
def test_other_processes_read_the_same(make, monkeypatch, method, storage):
    monkeypatch.setattr(reader, "_PARALLEL_BYTES", 0)  # with threads, which no fork takes along
    folder, _ = make(storage)
    source, stored = ShardSource(folder, progress=False), by_h5py(folder)
    rows = np.random.default_rng(2).permutation(103)
    source.load(rows)  # the parent has its files open
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    children = [
        context.Process(target=read_in_child, args=(source, rows, answers))
        for _ in range(3 if method == "fork" else 1)
    ]
    for child in children:
        child.start()
    for _ in range(20):  # meanwhile the parent reads, too
        assert np.array_equal(source.load(rows), stored[rows])
    for _ in children:
        assert np.array_equal(answers.get(timeout=300), stored[rows])
    for child in children:
        child.join(300)
        assert child.exitcode == 0


def test_a_pickled_reader_takes_no_open_files_along(dataset):
    folder, spec = dataset
    source = ShardReader(folder, spec, 64)
    source.read(np.arange(103))
    assert len(open_files(folder)) == 11
    twin = pickle.loads(pickle.dumps(source))
    assert len(open_files(folder)) == 11
    assert np.array_equal(twin.read(np.arange(103)), source.read(np.arange(103)))
    del source, twin  # who is forgotten leaves no file open
    assert open_files(folder) == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pytorchs_loader_yields_the_waveforms_of_its_rows(dataset, method):
    folder, spec = dataset
    source = ShardSource(folder, progress=False)
    source.load(np.arange(103))
    loader = DataLoader(
        WaveformDataset(source), batch_size=8, num_workers=2, multiprocessing_context=method
    )
    inputs, truth = map(torch.cat, zip(*loader, strict=True))
    assert torch.equal(inputs, torch.from_numpy(by_h5py(folder)))
    assert torch.equal(truth, torch.from_numpy(truths(spec, np.arange(103))).float())


def test_a_shard_that_is_gone_when_it_is_opened_again_is_one_clear_line(
    make, tmp_path, chirp_engine, monkeypatch
):
    monkeypatch.setattr(reader, "OPEN", 1)
    for compression in ("none", "gzip"):
        _, spec = make("gzip" if compression == "gzip" else "real")
        folder = tmp_path / compression
        generate(folder, spec, chirp_engine, SerialWorld(), progress=False)
        source = ShardSource(folder, progress=False)
        source.load(np.array([0, 20]))
        (folder / shard_name(0)).unlink()
        with pytest.raises(DataError, match=f"{shard_name(0)}: the shard is missing"):
            source.load(np.array([3]))


def test_a_copy_of_a_shard_nearby_is_read_in_its_place(dataset, tmp_path):
    folder, spec = dataset
    content = bytearray((folder / shard_name(2)).read_bytes())
    stored = by_h5py(folder)
    place = content.index(stored[20].tobytes())
    content[place : place + 256] = np.ones(64, dtype=np.float32).tobytes()
    (tmp_path / shard_name(2)).write_bytes(content)
    found = ShardReader(folder, spec, 64, tmp_path).read(np.array([19, 20, 21]))
    assert np.array_equal(found[[0, 2]], stored[[19, 21]]) and (found[1] == 1).all()
