"""What shards keep of a waveform: exact, or rounded to float16's eleven bits, at a known cost."""

import dataclasses

import numpy as np
import pytest
import torch

from hpc_gw.config import build
from hpc_gw.data.encoding import decode, encode, measure_precision
from hpc_gw.data.generate import generate
from hpc_gw.data.manifest import DatasetSpec, Manifest, StorageConfig
from hpc_gw.data.sources import ShardSource
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid

GRID = TimeGrid(kind="chirp", samples=64)
both = pytest.mark.parametrize("values", ["real", "complex"])


def numbers(values, rows=50):
    """Amplitudes over the nine decades from 1e-9 to 0.5, of either sign, float64."""
    rng = np.random.default_rng(4)

    def draw():
        return 10 ** rng.uniform(-9, np.log10(0.5), (rows, 64)) * rng.choice([-1, 1], (rows, 64))

    return draw() + 1j * draw() if values == "complex" else draw()


def parts(values):
    """Real and imaginary parts, as one array of reals."""
    return np.stack([values.real, values.imag]) if np.iscomplexobj(values) else values


@both
@pytest.mark.parametrize("scale", [2.0**-12, 2.0**-6, 1.0])
def test_float16_keeps_eleven_bits_of_what_is_not_tiny(values, scale):
    storage = StorageConfig(values=values, dtype="float16", scale=scale)
    h = numbers(values).astype(np.complex64 if values == "complex" else np.float32)
    stored = encode(h, storage)
    assert stored.dtype == np.float16 and stored.shape == storage.shape(50, 64)
    wanted, found = (
        parts(h.astype(complex) if values == "complex" else h),
        parts(decode(stored, storage)),
    )
    error = np.abs(found.astype(float) - wanted)
    normal = np.abs(wanted) >= 2.0**-14 * scale
    assert normal.mean() > 0.1
    assert (error[normal] <= 2.0**-11 * np.abs(wanted[normal])).all()
    assert (error <= np.maximum(2.0**-11 * np.abs(wanted), 2.0**-25 * scale)).all()
    assert error[normal].max() > 0  # it is a rounding indeed


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float32_comes_back_exactly_and_float64_as_its_float32(values, dtype):
    storage = StorageConfig(values=values, dtype=dtype)
    single = np.complex64 if values == "complex" else np.float32
    h = numbers(values)
    assert encode(h, storage).dtype == storage.numpy_dtype
    found = decode(encode(h, storage), storage)
    assert found.dtype == single and np.array_equal(found, h.astype(single))
    exact = h.astype(single)
    assert np.array_equal(decode(encode(exact, storage), storage), exact)


@pytest.mark.parametrize("scale", [3e-4, 0.3, 3.0])
def test_a_scale_that_loses_bits_is_refused_with_one_that_does_not(scale):
    with pytest.raises(ConfigError, match="only a power of two loses nothing; use") as caught:
        build(StorageConfig, {"dtype": "float16", "scale": scale})
    offered = float(str(caught.value).rpartition("use ")[2])
    assert build(StorageConfig, {"scale": offered}).scale == offered
    assert 0.5 < offered / scale < 2


@pytest.mark.parametrize("scale", [0.0, -0.25, float("inf")])
def test_a_scale_that_is_no_scale_is_refused(scale):
    with pytest.raises(ConfigError, match="scale"):
        build(StorageConfig, {"scale": scale})


def spec_of(engine, samples=64, rows=30, **storage):
    storage = StorageConfig(**{"shard_bytes": 10 * 64 * 4, **storage})
    return DatasetSpec(
        "test", DrawsConfig(count=rows), GRID, samples, storage, engine.name, engine.checksum
    )


def mismatch_by_hand(h, k):
    """1 - <h, k> / (|h| |k|), each product a trapezoid rule on the set's times, in long double."""
    h, k = h.astype(np.clongdouble), k.astype(np.clongdouble)
    steps = np.diff(GRID.times()).astype(np.longdouble)

    def inner(a, b):
        product = (a * b.conj()).real
        return ((product[1:] + product[:-1]) / 2 * steps).sum()

    return float(1 - inner(h, k) / np.sqrt(inner(h, h) * inner(k, k)))


@both
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    # Measured medians: 0; 2.5e-15 ... 1e-14; 2e-8 ... 4e-8.
    [("float64", 0, 1e-30), ("float32", 1e-17, 1e-12), ("float16", 3e-9, 3e-7)],
)
def test_the_cost_that_a_manifest_states_is_that_of_its_shards(
    tmp_path, chirp_engine, values, dtype, low, high
):
    spec = spec_of(chirp_engine, dtype=dtype, values=values)
    stated = generate(tmp_path, spec, chirp_engine, SerialWorld(), progress=False).precision
    assert stated == Manifest.read(tmp_path).precision and stated.rows == 30
    assert low <= stated.median <= stated.largest <= high
    truth = chirp_engine.h22_double(spec.population.parameters(np.arange(30))).numpy()
    truth = truth.real if values == "real" else truth
    kept = ShardSource(tmp_path, progress=False).load(np.arange(30)).numpy()
    costs = [mismatch_by_hand(h, k) for h, k in zip(truth, kept, strict=True)]
    if dtype == "float16":
        assert stated.largest == pytest.approx(max(costs), rel=1e-3)
        assert stated.median == pytest.approx(np.median(costs), rel=1e-3)
    else:  # read back in single precision
        assert max(costs) < 1e-12


def test_the_cost_is_measured_on_rows_that_have_a_waveform(chirp_engine):
    spec = spec_of(chirp_engine, dtype="float16")
    some = measure_precision(spec, chirp_engine, np.array([4, 7]))
    assert some.rows == 2 and some.largest >= some.median > 0
    none = measure_precision(spec, chirp_engine, np.array([], dtype=np.int64))
    assert (none.rows, none.median, none.largest) == (0, 0.0, 0.0)


@both
def test_a_cone_is_the_last_samples_of_the_whole(tmp_path, surrogate, chirp_engine, values):
    times = GRID.times()
    cone = SurrogateEngine(surrogate, times[-20:], phase_zero=float(times[0]))
    whole = spec_of(chirp_engine, values=values)
    cropped = dataclasses.replace(
        spec_of(cone, 20, values=values), storage=dataclasses.replace(whole.storage, keep="cone")
    )
    generate(tmp_path / "whole", whole, chirp_engine, SerialWorld(), progress=False)
    generate(tmp_path / "cone", cropped, cone, SerialWorld(), progress=False)
    rows = np.arange(30)
    last = ShardSource(tmp_path / "whole", samples=20, progress=False).load(rows)
    found = ShardSource(tmp_path / "cone", progress=False).load(rows)
    # Rounding of the phases in single precision; the peak of |h22| is 0.3.
    assert found.shape == (30, 20) and torch.allclose(found, last, rtol=0, atol=3e-7)
    assert not torch.allclose(found[1:], last[:-1], rtol=0, atol=3e-7)
    with pytest.raises(DataError, match="keeps the last 20 samples, 21 are wanted; generate"):
        ShardSource(tmp_path / "cone", samples=21, progress=False)
