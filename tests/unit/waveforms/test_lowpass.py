"""Noisy waveforms on coarser grids: what the filter leaves alone, and what it takes away."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from hpc_gw.errors import DataError
from hpc_gw.waveforms.columns import Columns, columns_of, onto_grid
from hpc_gw.waveforms.lowpass import (
    PASS,
    STOP,
    lowpass_matrix,
    lowpassed,
    noise_level,
    spacing,
    widths,
)
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid

GRID = TimeGrid(kind="chirp").times()
TIMES = np.arange(-10_000.0, 130.05, 0.1)
CORNERS = np.array([[1, 0.8, 0.8], [8, 0.8, 0.8], [8, -0.8, -0.8], [1, -0.8, -0.8], [3, 0.3, -0.2]])


@pytest.fixture(scope="module")
def waveforms(surrogate):
    return SurrogateEngine(surrogate, TIMES).h22_double(CORNERS).numpy()


def white(shape, sigma, seed=0):
    draw = np.random.default_rng(seed).standard_normal((2, *np.atleast_1d(shape)))
    return sigma * (draw[0] + 1j * draw[1])


def test_the_filter_is_flat_where_h22_lives_and_dark_beyond():
    times = np.arange(-300.0, 300.0, 0.5)
    at, width = np.array([0.3]), np.array([10.0])
    row = lowpass_matrix(times, at, width)
    for omega in np.linspace(0, PASS, 9) / width:
        assert abs((row @ np.exp(1j * omega * (times - at)))[0] - 1) < 2e-6
    for omega in np.linspace(STOP, 2 * STOP, 9) / width:
        assert abs((row @ np.exp(1j * omega * (times - at)))[0]) < 2e-6
    half = (PASS + STOP) / 2 / width
    assert abs((row @ np.exp(1j * half * (times - at)))[0]) == pytest.approx(0.5, abs=0.01)


def test_waveforms_without_noise_pass_to_1e_5_of_the_peak(waveforms):
    """Also at both ends, where the filter reaches beyond the waveform."""
    for h22 in waveforms:
        error = np.abs(lowpassed(TIMES, h22, GRID) - CubicSpline(TIMES, h22)(GRID))
        assert error.max() < 1e-5 * np.abs(h22).max()


def test_waveforms_without_noise_are_not_filtered_at_all(waveforms):
    columns = columns_of(TIMES + 0.25, waveforms[-1], "w")
    assert columns.noise.sigma == 0
    plain, notes = onto_grid(columns, GRID[5:-5])
    spline = CubicSpline(columns.times, columns.h22)(GRID[5:-5])
    np.testing.assert_array_equal(plain, spline * np.exp(-1j * np.angle(spline[0])))
    assert notes == ()


def test_white_noise_falls_to_what_an_average_leaves(waveforms):
    """sigma^2 dt / D of the variance, and 3 % for the width of the band; splines leave it all."""
    sigma, h22 = 0.02, waveforms[-1]
    exact, shares, aliased = CubicSpline(TIMES, h22)(GRID), [], []
    for seed in range(8):
        noisy = h22 + white(TIMES.size, sigma, seed)
        error = lowpassed(TIMES, noisy, GRID) - exact
        shares.append(np.abs(error) ** 2 / (2 * sigma**2 * 0.1 / widths(GRID)))
        aliased.append(np.abs(CubicSpline(TIMES, noisy)(GRID) - exact) ** 2 / (2 * sigma**2))
    assert np.mean(shares) == pytest.approx(1.03, abs=0.06)  # 8 x 768 samples: 1.3 %
    assert np.mean(shares, axis=0)[:8].mean() < 2.5  # the first, from a continuation
    assert 0.6 < np.mean(aliased) < 1.1
    early = GRID < -1000
    np.testing.assert_allclose(widths(GRID)[early], spacing(GRID)[early])


@pytest.mark.parametrize("sigma", [1e-5, 1e-2, 0.1])
def test_the_noise_of_a_waveform_is_told_from_it(waveforms, sigma):
    for step in (1, 5):
        t, h22 = TIMES[::step], waveforms[-1][::step]
        assert noise_level(t, h22).sigma < 1e-9
        found = noise_level(t, h22 + white(t.size, sigma))
        assert found.sigma == pytest.approx(sigma, rel=0.05)
        snr = np.sqrt(np.sum(h22.real**2)) / sigma
        assert found.snr == pytest.approx(snr, rel=0.08)


def test_neither_coarse_nor_uneven_samples_are_taken_for_noise(waveforms):
    curve = CubicSpline(TIMES, waveforms[-1])
    uneven = np.concatenate([np.arange(-10_000.0, -200, 1.0), np.arange(-200.0, 130, 0.3)])
    assert noise_level(GRID, curve(GRID)).sigma == 0
    assert noise_level(uneven, curve(uneven)).sigma < 1e-7
    noisy = curve(uneven) + white(uneven.size, 0.01)
    assert noise_level(uneven, noisy).sigma == pytest.approx(0.01, rel=0.05)
    assert noise_level(GRID[:20], curve(GRID[:20])).sigma == 0


def test_a_noisy_file_is_read_and_says_so(waveforms):
    """SNR 1000: its peak is found to 2 M, where the largest sample may lie far off."""
    h22 = waveforms[-1]
    sigma = np.sqrt(np.sum(h22.real**2)) / 1000
    columns = columns_of(TIMES + 77.0, h22 + white(TIMES.size, sigma), "noisy")
    assert abs(columns.times[0] - TIMES[0]) < 2
    grid = GRID[5:-5]
    found, notes = onto_grid(columns, grid)
    assert len(notes) == 1 and "white noise, SNR" in notes[0]
    assert columns.noise.snr == pytest.approx(1000, rel=0.05)
    unfiltered, _ = onto_grid(Columns(columns.times, columns.h22), grid)
    shifted = CubicSpline(columns.times, h22)(grid)

    def error(made):
        turned = made * np.exp(-1j * np.angle(np.vdot(shifted, made)))
        return np.sqrt(np.mean(np.abs(turned - shifted) ** 2))

    assert error(found) < 0.3 * error(unfiltered)


def test_a_peak_that_is_lost_in_the_noise_is_not_taken_for_a_short_file(waveforms):
    """Of 20 files with SNR 50 the peaks of 10 were 180 to 6100 M off: those were refused, and no
    other."""
    h22, refused, found = waveforms[-1], 0, []
    for seed in range(6):
        for snr in (5, 15, 60, 120):
            rng = np.random.default_rng((seed, snr))
            sigma = np.sqrt(np.sum(h22.real**2)) / snr
            noise = sigma * (rng.standard_normal(h22.size) + 1j * rng.standard_normal(h22.size))
            try:
                columns = columns_of(TIMES, h22 + noise, "noisy")
            except DataError as error:
                assert "is lost in the noise; give a less noisy or a filtered" in str(error)
                assert snr < 100
                refused += 1
            else:
                found.append(abs(columns.times[0] - TIMES[0]))
    assert refused >= 9 and len(found) >= 6 and max(found) < 70


def test_a_loud_file_in_other_units_is_told_so(waveforms):
    """The noise explains a largest |h22| of 1.3, not one of 300."""
    h22 = 1000 * waveforms[-1]
    sigma = np.sqrt(np.sum(h22.real**2)) / 1000
    with pytest.raises(DataError, match="in geometric units"):
        columns_of(TIMES, h22 + white(TIMES.size, sigma), "noisy")


def test_a_grid_as_fine_as_the_file_is_interpolated(waveforms):
    grid = TimeGrid(t_min=-500.0, dt=0.1).times() + 0.03
    noisy = waveforms[-1] + white(TIMES.size, 0.01)
    np.testing.assert_array_equal(lowpassed(TIMES, noisy, grid), CubicSpline(TIMES, noisy)(grid))
