"""The overlap against brute force, scipy, PyCBC, and its invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation import overlap as module
from hpc_gw.evaluation import peaks
from hpc_gw.evaluation.overlap import Overlap, overlap, overlap_real
from hpc_gw.waveforms.engines import EngineConfig, load_engine, surrogate_path
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import read_surrogate

T = 1500


def chirp(rate: float = 1.0, start: float = 0.04, size: int = T, taper: int = 200) -> np.ndarray:
    """A tapered chirp exp(-i phi), rad/sample from ``start`` to about 0.25, complex128 (T,)."""
    x = np.arange(size) / size
    phase = size * (start * x + 0.1 * rate * x**2)
    window = signal.windows.tukey(size, 2 * taper / size)
    return (0.5 + x) * window * np.exp(-1j * phase)


def run(h: np.ndarray, s: np.ndarray, dtype: torch.dtype = torch.complex128) -> Overlap:
    return overlap(*(torch.from_numpy(np.atleast_2d(x)).to(dtype) for x in (h, s)))


def brute_force(h: np.ndarray, s: np.ndarray) -> tuple[float, float, float]:
    """(O, shift, phase) in float64: every lag in steps of 1/2, then 1/2000 sample near the best.

    The correlation at a fractional lag is the exact trigonometric sum over the cross spectrum.
    """
    n = 2 * len(h)
    cross = np.conj(np.fft.fft(h, n)) * np.fft.fft(s, n)
    k = np.fft.fftfreq(n, 1 / n)

    def correlation(lags: np.ndarray) -> np.ndarray:
        return np.array([np.mean(cross * np.exp(2j * np.pi * k * lag / n)) for lag in lags])

    coarse = np.arange(-len(h) + 1, len(h), 1 / 2)
    best = coarse[np.abs(correlation(coarse)).argmax()]
    fine = best + np.arange(-1000, 1001) / 2000
    values = correlation(fine)
    i = np.abs(values).argmax()
    norm = np.linalg.norm(h) * np.linalg.norm(s)
    return abs(values[i]) / norm, fine[i], float(np.angle(values[i]))


PAIRS = {
    "near": (chirp(), chirp(1.02)),
    "far": (chirp(), chirp(1.3, 0.06)),
    "shifted": (chirp(), np.roll(chirp(1.01), 37) * np.exp(0.7j)),
    "cut at the edges": (chirp(taper=0), chirp(1.01, taper=0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_overlap_equals_brute_force_over_time_and_phase(name: str) -> None:
    h, s = PAIRS[name]
    value, shift, phase = brute_force(h, s)
    found = run(h, s)
    # "cut at the edges" ends abruptly, which brute force interpolates across: 3e-6
    assert abs(found.overlap.item() - value) <= min(found.bound.item(), 1e-5)
    assert found.shift.item() == pytest.approx(shift, abs=1e-2)
    assert found.phase.item() == pytest.approx(phase, abs=1e-2)


@pytest.mark.parametrize("name", PAIRS)
def test_overlap_is_never_below_scipys_best_integer_lag(name: str) -> None:
    h, s = PAIRS[name]
    c = signal.correlate(s, h, mode="full", method="direct")
    lags = signal.correlation_lags(len(s), len(h), mode="full")
    best = np.abs(c).max() / np.linalg.norm(h) / np.linalg.norm(s)
    found = run(h, s)
    assert best - 1e-12 <= found.overlap.item() <= best + 2e-3
    assert abs(found.shift.item() - lags[np.abs(c).argmax()]) <= 1


def test_correlation_at_integer_lags_equals_scipy() -> None:
    delta = np.zeros(T, complex)
    delta[700] = 1.0
    spectrum = np.fft.fft(np.random.default_rng(0).standard_normal(T))
    spectrum[T // 4 : -T // 4] = 0  # content up to half of Nyquist: no peak hides between samples
    noise = np.fft.ifft(spectrum)
    c = signal.correlate(noise, delta, mode="full", method="direct")
    found = run(delta, noise)
    lag = signal.correlation_lags(T, T)[np.abs(c).argmax()]
    assert abs(found.shift.item() - lag) <= 1
    best = np.abs(c).max() / np.linalg.norm(noise)
    assert best - 1e-12 <= found.overlap.item() <= 1.2 * best
    assert found.bound.item() > found.overlap.item()  # a single sample is no smooth product


@pytest.mark.parametrize("shift", [0.0, 3.0, -11.0, 2.37, -0.5])
def test_overlap_of_a_shifted_and_rotated_copy_is_one(shift: float) -> None:
    h = np.zeros(2 * T, complex)
    h[500 : 500 + T] = chirp()  # zeros around it: nothing leaves the grid
    k = np.fft.fftfreq(len(h))
    s = np.fft.ifft(np.fft.fft(h) * np.exp(-2j * np.pi * k * shift)) * np.exp(1.1j)
    found = run(h, s)
    assert found.overlap.item() == pytest.approx(1, abs=1e-9)
    assert found.shift.item() == pytest.approx(shift, abs=1e-4)
    assert found.phase.item() == pytest.approx(1.1, abs=1e-4)


def test_correlation_is_linear_and_not_circular() -> None:
    h, s = np.zeros((2, T), complex)
    h[:400], s[-400:] = chirp(size=400, taper=50), chirp(size=400, taper=50)
    found = run(h, s)
    assert found.shift.item() == pytest.approx(T - 400, abs=1e-6)
    wrapped = np.roll(chirp(taper=0), T // 2)  # on a circle this would be a perfect match
    assert run(chirp(taper=0), wrapped).overlap.item() < 0.9


def test_what_is_shifted_out_of_the_grid_is_lost() -> None:
    h = np.exp(-0.3j * np.arange(1000))
    s = np.concatenate([np.zeros(250), h[:750]])
    assert run(h, s).overlap.item() == pytest.approx(math.sqrt(0.75), abs=1e-3)


def test_complex64_agrees_with_complex128() -> None:
    rng = np.random.default_rng(3)
    h = np.stack([chirp(1 + 0.1 * x) for x in rng.random(20)])
    s = np.stack([chirp(1 + 0.1 * x) for x in rng.random(20)])
    single, double = run(h, s, torch.complex64), run(h, s)
    assert single.overlap.dtype == torch.float64
    assert (single.overlap - double.overlap).abs().max() < 1e-6  # 3e-7 seen


def test_interpolating_kernel_is_exact_up_to_seven_tenths_of_nyquist() -> None:
    lags = torch.arange(-peaks.TAPS, peaks.TAPS + 1, dtype=torch.float64)
    for delta in (0.5, -0.31, 0.999):
        weight = peaks._kernel(delta - lags)
        for w in (0.0, 0.25, -1.6, 0.7 * math.pi):
            value = (weight * torch.exp(1j * w * lags)).sum()
            assert abs(value - np.exp(1j * w * delta)) < 1e-9


def test_batches_do_not_depend_on_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    h = np.stack([chirp(1 + 0.02 * i) for i in range(7)])
    s = np.stack([chirp(1.05 - 0.03 * i) for i in range(7)])
    one_by_one = run(h, s).overlap
    monkeypatch.setitem(module._BLOCK, "cpu", 1 << 30)
    torch.testing.assert_close(run(h, s).overlap, one_by_one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, complex(0, np.nan)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_a_value_that_is_not_finite_gives_nan_in_its_row_only(
    bad: complex, dtype: torch.dtype
) -> None:
    h = np.stack([chirp(), chirp(), chirp(), chirp()])
    s = h.copy()
    h[1, 5] = bad
    s[2, -1] = bad
    found = run(h, s, dtype)
    for column in found:
        assert torch.isnan(column).tolist() == [False, True, True, False]


def test_a_waveform_of_zeros_has_no_overlap() -> None:
    assert torch.isnan(run(np.zeros(T, complex), chirp()).overlap).all()


def test_shapes_that_differ_and_real_waveforms_are_refused() -> None:
    h = torch.from_numpy(chirp()[None])
    with pytest.raises(ParameterError, match="shapes"):
        overlap(h, h[:, :-1])
    with pytest.raises(ParameterError, match="complex"):
        overlap(h.real, h.real)


@settings(max_examples=30)
@given(
    st.floats(0.9, 1.2),
    st.floats(-3.1, 3.1),
    st.floats(-18, 6),
    st.sampled_from([torch.complex64, torch.complex128]),
)
def test_overlap_ignores_amplitude_phase_and_order(
    rate: float, phase: float, exponent: float, dtype: torch.dtype
) -> None:
    h, s = chirp(), chirp(rate)
    tolerance = 1e-6 if dtype == torch.complex64 else 1e-10
    plain = run(h, s, dtype)
    turned = run(h, 10**exponent * np.exp(1j * phase) * s, dtype)
    back = run(s, h, dtype)
    assert 0 <= plain.overlap.item() <= 1
    assert turned.overlap.item() == pytest.approx(plain.overlap.item(), abs=tolerance)
    assert back.overlap.item() == pytest.approx(plain.overlap.item(), abs=tolerance)
    difference = turned.phase.item() - plain.phase.item() - phase
    assert abs(np.angle(np.exp(1j * difference))) < 2e-2
    if dtype == torch.complex128:
        assert back.shift.item() == pytest.approx(-plain.shift.item(), abs=1e-4)


def test_of_two_peaks_of_nearly_one_height_the_higher_is_found() -> None:
    """Two copies in s, the lower one on a sample, the higher one between two of them."""
    h = np.zeros(4 * T, complex)
    h[:T] = chirp(start=0.6)
    k = np.fft.fftfreq(len(h))

    def moved(by: float) -> np.ndarray:
        return np.fft.ifft(np.fft.fft(h) * np.exp(-2j * np.pi * k * by))

    lower, higher = 300.0, 300.0 + T + 0.5
    s = moved(lower) + (1 + 1e-5) * moved(higher)
    found = run(h, s)
    assert found.shift.item() == pytest.approx(higher, abs=1e-3)
    assert run(h, moved(lower) + (1 - 1e-5) * moved(higher)).shift.item() == pytest.approx(
        lower, abs=1e-3
    )


@pytest.mark.parametrize("phase", [0.0, 0.4, -2.0, math.pi / 2])
def test_a_real_part_overlaps_fully_with_its_waveform_at_any_phase(phase: float) -> None:
    for s in (chirp(), chirp(taper=0), chirp(size=90, taper=0)):  # 90: four cycles
        data = (s * np.exp(-1j * phase)).real
        found = overlap_real(torch.from_numpy(data)[None], torch.from_numpy(s)[None])
        assert found.overlap.item() == pytest.approx(1, abs=1e-9)
        assert found.shift.item() == pytest.approx(0, abs=1e-4)
        assert abs(np.angle(np.exp(1j * (found.phase.item() - phase)))) < 1e-5


def test_the_real_overlap_is_the_best_over_a_grid_of_phases() -> None:
    """Brute force: 2,000 phases and every lag, of the real series themselves."""
    data, s = chirp(taper=0).real, chirp(1.02, taper=0)
    best = 0.0
    for phase in np.linspace(0, np.pi, 2000, endpoint=False):
        template = (s * np.exp(-1j * phase)).real
        c = signal.correlate(template, data, mode="full")
        best = max(best, np.abs(c).max() / np.linalg.norm(data) / np.linalg.norm(template))
    found = overlap_real(torch.from_numpy(data)[None], torch.from_numpy(s)[None])
    assert best - 1e-9 <= found.overlap.item() <= best + 2e-3
    rotated = run(data.astype(complex), s).overlap.item() * math.sqrt(2)
    assert abs(found.overlap.item() - rotated) > 1e-7  # no mere rotation


# --- the waveforms that this is for ------------------------------------------------------------

LOW, HIGH = np.array([1.0, -0.8, -0.8]), np.array([8.0, 0.8, 0.8])
DT, SIZE = 0.1, 101_300


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """All corners of the domain and some points inside, with others near, far and anywhere."""
    rng = np.random.default_rng(5)
    corners = np.array(np.meshgrid(*zip(LOW, HIGH, strict=True))).reshape(3, -1).T
    one = np.concatenate([corners, rng.uniform(LOW, HIGH, (8, 3))])
    far = np.array([0.03, 0.03, 0.1]) * 10 ** rng.uniform(-1.5, 0.5, (len(one), 1))
    other = np.clip(one + far * rng.standard_normal(one.shape), LOW, HIGH)
    other[-2:] = rng.uniform(LOW, HIGH, (2, 3))
    return one, other


def engine_at(times: np.ndarray) -> SurrogateEngine:
    return load_engine(EngineConfig(file="embedded"), times, phase_zero=-10_000.0)


def brute_force_of_engines(one: np.ndarray, other: np.ndarray) -> float:
    """|c| at every lag of 0.1 M, then with waveforms evaluated anew at shifted times.

    The sum over the 0.1 M grid of h(t) and s(t + tau), where both are inside of the grid, by the
    trapezoidal rule between a start that lies between two samples and the next one.
    """
    times = -10_000 + DT * np.arange(SIZE)
    h, s = (engine_at(times).h22_double(p[None])[0].numpy() for p in (one, other))
    n = 1 << 18
    c = np.fft.ifft(np.conj(np.fft.fft(h, n)) * np.fft.fft(s, n))
    lag = int(np.abs(c).argmax())
    lag -= n * (lag > n // 2)
    norm = np.linalg.norm(h) * np.linalg.norm(s)
    data, best = read_surrogate(surrogate_path("embedded")), 0.0
    for tau in (lag + np.linspace(-1, 1, 21)) * DT:
        start = times[0] - min(tau, 0)
        at = np.append(start, times[(times > start + 1e-9) & (times + tau <= times[-1])])
        f = np.conj(SurrogateEngine(data, at, phase_zero=-10_000.0).h22_double(one[None])[0])
        f *= SurrogateEngine(data, at + tau, phase_zero=-10_000.0).h22_double(other[None])[0]
        # the first sample counts fully wherever the common span begins
        value = f[1:].sum() - f[1] / 2 + f[0] / 2 + (f[0] + f[1]) / 2 * (at[1] - at[0]) / DT
        best = max(best, abs(complex(value)) / norm)
    return best


@pytest.mark.parametrize("row", [0, 9, 15])
def test_coarse_overlaps_equal_brute_force_on_the_fine_grid_within_their_bound(row: int) -> None:
    one, other = (p[row] for p in pairs())
    times = -10_000 + DT * np.arange(SIZE)[::16]
    pair = (engine_at(times).h22(p[None]) for p in (one, other))
    found = overlap(*pair, every=16)
    assert found.bound.item() < 1e-6
    difference = abs(found.overlap.item() - brute_force_of_engines(one, other))
    assert difference <= found.bound.item()


def test_every_16th_sample_gives_the_overlap_of_all_within_its_bound() -> None:
    one, other = pairs()
    times = -10_000 + DT * np.arange(SIZE)
    fine = overlap(*(engine_at(times).h22_double(p) for p in (one, other)))
    coarse = overlap(*(engine_at(times[::16]).h22_double(p) for p in (one, other)), every=16)
    difference = (coarse.overlap - fine.overlap).abs()
    assert (difference <= coarse.bound).all()
    assert difference.max() < 1e-7  # 3e-8 seen
    assert coarse.bound.max() < 2e-6
    assert (16 * coarse.shift - fine.shift).abs().max() * DT < 0.01
    plain = overlap(*(engine_at(times[::16]).h22_double(p) for p in (one, other)))
    assert (plain.overlap - fine.overlap).abs().max() > 1e-6  # what the ends would cost


def test_overlap_equals_pycbcs_match() -> None:
    """PyCBC knows spectra of one sign only, so both signs of ours are moved up into one.

    Of h22 itself its match leaves out what an abrupt start puts at frequencies of the other sign,
    up to 2e-4. So moved, at twice the sampling rate, it sees every lag of 0.05 M.
    """
    pytest.importorskip("pycbc")
    from pycbc.filter import match  # noqa: PLC0415
    from pycbc.types import FrequencySeries  # noqa: PLC0415

    one, other = (p[6:12] for p in pairs())
    times, n = -10_000 + DT * np.arange(SIZE), 1 << 18
    whole = [engine_at(times).h22_double(p).numpy() for p in (one, other)]
    found = overlap(*(engine_at(times[::16]).h22(p) for p in (one, other)), every=16)
    for i in range(len(one)):
        series = [np.fft.fftshift(np.fft.fft(np.conj(h[i]), n)) for h in whole]
        spectra = [FrequencySeries(np.append(0, x), delta_f=1 / (n * DT)) for x in series]
        ours = found.overlap[i].item()
        at_lags = match(*spectra)[0]
        assert at_lags - 3e-7 <= ours <= at_lags + 3e-6  # up to 3e-6 higher between two lags
        assert ours == pytest.approx(match(*spectra, subsample_interpolation=True)[0], abs=1e-6)


@pytest.mark.parametrize("rate", [1.0, 1.01, 1.05, 1.3])
def test_overlap_equals_pycbcs_match_of_the_real_parts(rate: float) -> None:
    """PyCBC matches real series by their positive frequencies.

    A tapered chirp has next to no power at frequencies of the other sign, so that half of the
    spectrum of its real part is the chirp's own, and the two agree.
    """
    pytest.importorskip("pycbc")
    from pycbc.filter import match  # noqa: PLC0415
    from pycbc.types import TimeSeries  # noqa: PLC0415

    h, s = chirp(), chirp(rate)
    padded = [np.concatenate([x.real, np.zeros(T)]) for x in (h, s)]
    value, _ = match(
        *(TimeSeries(x, delta_t=1 / 4096) for x in padded), subsample_interpolation=True
    )
    assert run(h, s).overlap.item() == pytest.approx(value, abs=2e-5)
