"""One HDF5 file for a dataset, there and back, and files of somebody else."""

import dataclasses
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from hpc_gw.data import exchange
from hpc_gw.data.deduce import ImportOptions, grid_of
from hpc_gw.data.exchange import export_dataset, import_dataset
from hpc_gw.data.generate import generate
from hpc_gw.data.manifest import DatasetSpec, Manifest, StorageConfig, shard_name
from hpc_gw.data.sources import ShardSource
from hpc_gw.data.verify import verify
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import ConfigError, DataError, StorageError
from hpc_gw.manifold.populations import Axis, DrawsConfig, GridConfig
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid

GRID = TimeGrid(kind="chirp", samples=64)


def make(folder, engine, count=36, **storage):
    """A dataset of 64 samples in shards of 10 rows."""
    config = StorageConfig(**storage)
    row_bytes = np.prod(config.shape(1, 64)) * config.numpy_dtype.itemsize
    spec = DatasetSpec(
        name="test",
        population=DrawsConfig(count=count),
        time_grid=GRID,
        samples=64,
        storage=dataclasses.replace(config, shard_bytes=int(10 * row_bytes)),
        engine=engine.name,
        engine_checksum=engine.checksum,
    )
    generate(folder, spec, engine, SerialWorld(), progress=False)
    return folder


class Failing:
    """An engine that has no waveform for q > 6."""

    def __init__(self, engine):
        self._engine, self.times = engine, engine.times
        self.name, self.checksum = engine.name, engine.checksum

    def h22(self, parameters):
        values = self._engine.h22(parameters)
        values[np.asarray(parameters)[:, 0] > 6, 3] = np.nan
        return values


def h22(folder):
    """Bytes of the waveforms of each shard, as any reader of HDF5 sees them."""
    found = []
    for path in sorted(folder.glob("shard-*.h5")):
        with h5py.File(path) as file:
            found.append(file["h22"][:].tobytes())
    return found


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"dtype": "float64"},
        {"dtype": "float16"},
        {"compression": "gzip"},
    ],
    ids=str,
)
def test_there_and_back_gives_the_same_shards_and_spec(tmp_path, chirp_engine, storage):
    folder, file = make(tmp_path / "set", chirp_engine, **storage), tmp_path / "set.h5"
    assert export_dataset(folder, file, progress=False) == (36, 0)
    back = import_dataset(file, tmp_path / "back", progress=False)
    assert back.complete and back.spec == Manifest.read(folder).spec
    assert h22(tmp_path / "back") == h22(folder) and len(h22(folder)) == 4
    assert not list(verify(tmp_path / "back", back, progress=False))
    # The generator finds nothing to do in it: repair works on it.
    before = {p: p.stat().st_ino for p in (tmp_path / "back").glob("shard-*")}
    generate(tmp_path / "back", back.spec, chirp_engine, SerialWorld(), progress=False)
    assert {p: p.stat().st_ino for p in (tmp_path / "back").glob("shard-*")} == before


def test_the_file_has_the_published_layout(tmp_path, chirp_engine):
    folder, file = make(tmp_path / "set", chirp_engine, dtype="float64"), tmp_path / "set.h5"
    export_dataset(folder, file, progress=False)
    points = DrawsConfig(count=36).parameters(np.arange(36))
    with h5py.File(file) as found:
        assert found["data"].dtype == np.float64 and found["data"].chunks is None
        truth = chirp_engine.h22_double(points).real.numpy()
        # Measured: 2.3e-13, as phases of 400 rad are rounded in batches of another size.
        assert np.abs(found["data"][:] - truth).max() < 1e-11
        assert np.array_equal(found["labels"][:], points)
        assert np.array_equal(found["rows"][:], np.arange(36))
        assert np.array_equal(found["times"][:], GRID.times())
        recipe = json.loads(found.attrs["recipe"])
        assert recipe["inputs"]["engine"] == chirp_engine.checksum
        assert len(recipe["inputs"]["manifest.json"]) == 64


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("part", ["real", "imag"])
def test_of_a_complex_set_either_part_is_written(tmp_path, chirp_engine, dtype, part):
    folder = make(tmp_path / "set", chirp_engine, values="complex", dtype=dtype)
    export_dataset(folder, tmp_path / "set.h5", part=part, progress=False)
    values = ShardSource(folder, progress=False).load(np.arange(36)).numpy()
    wanted = values.imag if part == "imag" else values.real
    with h5py.File(tmp_path / "set.h5") as found:
        assert np.array_equal(found["data"][:].astype(np.float32), wanted)
    if part == "imag":
        with pytest.raises(DataError, match="holds Im h22"):
            import_dataset(tmp_path / "set.h5", tmp_path / "back", progress=False)
        return
    back = import_dataset(tmp_path / "set.h5", tmp_path / "back", progress=False)
    assert back.spec.storage.values == "real"
    # Re h22 of the complex set is what the generator makes for a real one.
    real = make(tmp_path / "real", chirp_engine, dtype=dtype)
    found = ShardSource(tmp_path / "back", progress=False).load(np.arange(36))
    assert np.array_equal(found, ShardSource(real, progress=False).load(np.arange(36)))


def test_rows_without_a_waveform_are_left_out_and_quarantined_again(tmp_path, chirp_engine):
    folder, file = make(tmp_path / "set", Failing(chirp_engine)), tmp_path / "set.h5"
    failed = [row.row for row in Manifest.read(folder).quarantine]
    q = DrawsConfig(count=36).parameters(np.arange(36))[:, 0]
    assert failed == np.flatnonzero(q > 6).tolist() and failed
    assert export_dataset(folder, file, progress=False) == (36 - len(failed), len(failed))
    with h5py.File(file) as found:
        assert found["rows"][:].tolist() == np.flatnonzero(q <= 6).tolist()
        assert np.isfinite(found["data"][:]).all() and len(found["labels"]) == len(found["rows"])
    back = import_dataset(file, tmp_path / "back", progress=False)
    assert [row.row for row in back.quarantine] == failed
    assert {row.reason for row in back.quarantine} == {"not in set.h5"}
    assert back.quarantine[0].parameters[0] > 6
    assert h22(tmp_path / "back") == h22(folder)


def test_a_damaged_shard_is_not_exported(tmp_path, chirp_engine):
    folder = make(tmp_path / "set", chirp_engine)
    path = folder / shard_name(2)
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"shard-00002.h5: .* hpc-gw data repair"):
        export_dataset(folder, tmp_path / "set.h5", progress=False)
    assert not list(tmp_path.glob("*.h5")) and not list(tmp_path.glob(".*"))


AXES = dict(q=Axis(1.5, 0.25, 3), s1=Axis(-0.3, 0.1, 4), s2=Axis(0.2, 0.0, 1))
UNIFORM = TimeGrid(t_min=-50.0, t_max=30.0, dt=0.5)


@pytest.fixture
def foreign(tmp_path, surrogate):
    """Somebody's file: a grid of 3 x 4 x 1 points in a random order, 160 uniform times."""
    grid = GridConfig(split="custom", **AXES)
    order = np.random.default_rng(3).permutation(grid.size)
    labels = grid.parameters(order)
    data = SurrogateEngine(surrogate, UNIFORM.times()).h22_double(labels).real.numpy()
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file["data"], file["labels"] = data, labels
    return path, grid, order, data


def change(path, **datasets):
    with h5py.File(path, "r+") as file:
        for name, value in datasets.items():
            if name in file:
                del file[name]
            if value is not None:
                file[name] = value


def test_somebodys_grid_is_put_in_the_order_of_its_rows(foreign, tmp_path):
    path, grid, order, data = foreign
    options = ImportOptions(time_grid=UNIFORM, shard_bytes=5 * 160 * 8)
    made = import_dataset(path, tmp_path / "set", options, progress=False)
    assert len(made.shards) == 3 and made.spec.storage.dtype == "float64"
    assert made.spec.name == "set" and made.spec.engine == "unknown, of foreign.h5"
    assert made.spec.engine_checksum.startswith("xxh128:")
    assert made.spec.population.split == "custom" and not made.quarantine
    for found, wanted in zip(made.spec.population.axes, grid.axes, strict=True):
        assert found.count == wanted.count and found.start == wanted.start
        assert found.step == pytest.approx(wanted.step, abs=1e-15)
    values = np.concatenate([np.frombuffer(b).reshape(-1, 160) for b in h22(tmp_path / "set")])
    assert np.array_equal(values[order], data)


def test_names_and_types_can_be_given(foreign, tmp_path):
    path, _, order, data = foreign
    options = ImportOptions("mine", UNIFORM, "SXS", "float32", 160 * 4)
    made = import_dataset(path, tmp_path / "set", options, progress=False)
    assert (made.spec.name, made.spec.engine) == ("mine", "SXS") and len(made.shards) == 12
    values = ShardSource(tmp_path / "set", progress=False).load(order).numpy()
    assert np.array_equal(values, data.astype(np.float32))


def test_the_files_own_times_are_used(foreign, tmp_path):
    path, *_ = foreign
    change(path, times=UNIFORM.times())
    made = import_dataset(path, tmp_path / "set", progress=False)
    assert np.array_equal(made.spec.times(), UNIFORM.times())
    change(path, times=UNIFORM.times() ** 3)
    with pytest.raises(DataError, match="its times are not those of the time grid"):
        import_dataset(path, tmp_path / "other", progress=False)


def test_a_row_that_is_not_finite_is_quarantined(foreign, tmp_path):
    path, grid, order, data = foreign
    data[4, 100] = np.nan
    change(path, data=data)
    options = ImportOptions(time_grid=UNIFORM)
    (failed,) = import_dataset(path, tmp_path / "set", options, progress=False).quarantine
    assert (failed.row, failed.reason) == (order[4], "not finite in foreign.h5")
    assert failed.parameters == pytest.approx(grid.parameters(order[4:5])[0].tolist())
    stored = ShardSource(tmp_path / "set", progress=False).load(order[3:6]).numpy()
    assert np.isnan(stored[1]).all() and np.isfinite(stored[[0, 2]]).all()


def test_a_stopped_import_goes_on_and_another_files_is_refused(foreign, tmp_path):
    path, *_ = foreign
    options, folder = ImportOptions(time_grid=UNIFORM, shard_bytes=5 * 160 * 8), tmp_path / "set"
    import_dataset(path, folder, options, progress=False)
    wanted, before = h22(folder), {p: p.stat().st_ino for p in folder.glob("shard-*")}
    (folder / shard_name(1)).write_bytes(b"")
    import_dataset(path, folder, options, progress=False)
    after = {p: p.stat().st_ino for p in folder.glob("shard-*")}
    assert h22(folder) == wanted
    assert [p.name for p in after if after[p] != before[p]] in ([], [shard_name(1)])
    change(path, extra=np.ones(1))  # other bytes: another file
    with pytest.raises(DataError, match=r"holds another dataset \(engine_checksum"):
        import_dataset(path, folder, options, progress=False)


def test_memory_does_not_grow_with_a_shard(foreign, tmp_path, monkeypatch):
    path, _, order, data = foreign
    monkeypatch.setattr(exchange, "_PORTION", 5 * 160 * 8)
    sizes, read = [], exchange._read

    def watched(data, file, places):
        sizes.append(places.size)
        return read(data, file, places)

    monkeypatch.setattr(exchange, "_read", watched)
    import_dataset(path, tmp_path / "set", ImportOptions(time_grid=UNIFORM), progress=False)
    assert sizes == [5, 5, 2]
    (values,) = h22(tmp_path / "set")
    assert np.array_equal(np.frombuffer(values).reshape(-1, 160)[order], data)


def test_a_permuted_file_is_read_in_its_own_order_and_neighbours_at_once(tmp_path):
    class Data:
        dtype, shape, asked = np.dtype(np.float32), (9, 2), []

        def __getitem__(self, part):
            self.asked.append((part.start, part.stop))
            return np.arange(18, dtype=np.float32).reshape(9, 2)[part]

    values = exchange._read(Data(), tmp_path, np.array([6, 2, -1, 5, 1, 8]))
    assert Data.asked == [(1, 3), (5, 7), (8, 9)]
    assert np.array_equal(values[:, 0], [12, 4, np.nan, 10, 2, 16], equal_nan=True)


def test_the_papers_sets_are_known_by_their_labels(tmp_path):
    for split in ("train", "validation", "test"):
        grid = GridConfig(split=split)
        rows = np.random.default_rng(0).permutation(grid.size)
        found, back = grid_of(grid.parameters(rows), tmp_path)
        assert found == grid and np.array_equal(back, rows)


def spoil_label(path, place, value):
    with h5py.File(path, "r+") as file:
        file["labels"][place] = value


def twice(path):
    with h5py.File(path, "r+") as file:
        file["labels"][3] = file["labels"][4]


def rows_of(path, some):
    with h5py.File(path) as file:
        data, labels = file["data"][some], file["labels"][some]
    change(path, data=data, labels=labels)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: change(f, data=None), "has no dataset 'data'"),
        (lambda f: change(f, labels=None), "has no dataset 'labels'"),
        (lambda f: change(f, labels=np.ones((12, 2))), "(12, 2); real waveforms"),
        (lambda f: change(f, data=np.ones((12, 160), complex)), "complex128 and labels"),
        (lambda f: change(f, data=np.ones((12, 9))), "waveforms of 9 samples; on [-50, 30) M"),
        (
            lambda f: spoil_label(f, (3, 1), 0.123),
            "1 of 12 points are off an axis of s1 from -0.3 in",
        ),
        (lambda f: spoil_label(f, (3, 1), np.nan), "labels of s1 are none, or not finite"),
        (twice, "12 labels fill 11 of the 3 x 4 x 1 = 12 points"),
        (lambda f: rows_of(f, slice(0, 11)), "11 labels fill 11 of the 3 x 4 x 1 = 12 points"),
        (lambda f: f.write_text("nothing"), "not readable as HDF5"),
        (lambda f: f.unlink(), "no such file"),
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(foreign, tmp_path, spoil, words):
    path, *_ = foreign
    spoil(path)
    with pytest.raises(DataError) as caught:
        options = ImportOptions(time_grid=UNIFORM)
        import_dataset(path, tmp_path / "set", options, progress=False)
    assert words in str(caught.value) and "foreign.h5" in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_random_labels_are_refused_with_how_many_are_off(foreign, tmp_path):
    path, *_ = foreign
    change(path, labels=DrawsConfig(count=12).parameters(np.arange(12)))
    with pytest.raises(DataError, match=r"\d+ of 12 points are off an axis of q from"):
        import_dataset(path, tmp_path / "set", progress=False)


def test_our_files_labels_and_times_must_be_those_of_their_spec(tmp_path, chirp_engine):
    folder, file = make(tmp_path / "set", chirp_engine), tmp_path / "set.h5"
    export_dataset(folder, file, progress=False)
    with pytest.raises(ConfigError, match="says its own time grid; leave out --t-min"):
        import_dataset(file, tmp_path / "back", ImportOptions(time_grid=UNIFORM), progress=False)
    change(file, rows=np.zeros(36, dtype=int))
    with pytest.raises(DataError, match="'rows' is not 36 different ids"):
        import_dataset(file, tmp_path / "back", progress=False)
    change(file, rows=np.arange(36) + 1)
    with pytest.raises(DataError, match=r"rows 1 \.\.\. 36, its spec has 0 \.\.\. 35"):
        import_dataset(file, tmp_path / "back", progress=False)
    change(file, rows=np.arange(36))
    spoil_label(file, (7, 2), 0.5)
    with pytest.raises(DataError, match="1 labels of s2 are not those of its spec"):
        import_dataset(file, tmp_path / "back", progress=False)
    with h5py.File(file, "r+") as found:
        found.attrs["spec"] = "{}"
    with pytest.raises(DataError, match="its spec is damaged"):
        import_dataset(file, tmp_path / "back", progress=False)
    assert not (tmp_path / "back").exists()


def test_a_file_that_cannot_be_written_is_refused(tmp_path, chirp_engine):
    folder = make(tmp_path / "set", chirp_engine)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        export_dataset(folder, tmp_path / "file" / "set.h5", progress=False)


def test_a_full_disk_is_one_clear_line_before_a_row_is_read(tmp_path, chirp_engine):
    folder = make(tmp_path / "set", chirp_engine, count=400)  # 102 kB of waveforms
    script = f"""
import resource, signal
from pathlib import Path
from hpc_gw.data import exchange
from hpc_gw.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit then fails with EFBIG
resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, BYTES))
exchange._waveforms = None
try:
    exchange.export_dataset(Path({str(folder)!r}), Path({str(tmp_path / "x.h5")!r}), progress=False)
except StorageError as error:
    print("STORAGE", error)
"""
    for limit in (60_000, 10_000):  # in the waveforms, in the labels
        done = subprocess.run(
            [sys.executable, "-c", script.replace("BYTES", str(limit))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "STORAGE" in done.stdout and "disk is full" in done.stdout, done.stderr
        assert [p.name for p in tmp_path.iterdir()] == ["set"]
