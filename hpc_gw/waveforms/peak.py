"""Where the peak of a waveform is, and what its checks look at: of a noisy one, what filters leave.

A peak in the noise may be none: the largest |h22| of a loud noise lies anywhere. It is told by the
power of the waveform, which ends at its peak and not before, whatever single samples say.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from hpc_gw.errors import DataError
from hpc_gw.waveforms.lowpass import QUIET_NOISE, Noise, lowpass_matrix, lowpassed, widths
from hpc_gw.waveforms.timegrid import TimeGrid

_CALM = 2.5
"""Spacing [M] that a noisy waveform is filtered for before its peak is looked for."""

_HILBERT_PEAK = 24.0, 6
"""Half width [M] and degree of the polynomial whose maximum is the peak of an analytic signal: its
amplitude ripples at the merger, so that its largest sample lies up to 5 M off, this up to 1.7 M."""

_NOISY_PEAK = 1000.0, (16.0, 6)
"""From this SNR on, the same of a noisy waveform: 0.12 M off where there is hardly any noise, and
0.4 M at SNR 1000. Below, ``_HILBERT_PEAK`` is less so: 1.3 M at 300, 3 to 5 M at 100."""

_POWER = 10.0
"""Spacing [M] of the samples whose power says where a noisy waveform ends."""

_AFTER, _BEFORE = (60.0, 0.01), (300.0, 0.01)
"""From so long after its peak on a waveform has less than this share of its energy, and so long
before it more: over corners of the domain 6e-6 at most and 0.11 at least, of 10000 M."""

_SURE = 5.0  # standard deviations of noise that a power must exceed


class View(NamedTuple):
    """A waveform as it is looked at."""

    peak: float
    """In the waveform's own time [M]."""

    times: np.ndarray
    """From there on, (T,)."""

    h22: np.ndarray
    noise: np.ndarray
    """Standard deviation of what is left in Re h22, and in Im h22, (T,)."""


def look_at(
    times: np.ndarray, values: np.ndarray, noise: Noise, *, analytic: bool, where: str
) -> View:
    """The peak of a waveform, and what its checks look at.

    Args:
        times: in M, (T,).
        values: h22, complex (T,).
        noise: of it.
        analytic: it is an analytic signal, whose amplitude ripples.
        where: the file, for errors.

    Raises:
        DataError: the peak is lost in the noise.
    """
    if noise is QUIET_NOISE:
        peak = smooth_peak_time(times, values) if analytic else peak_time(times, values)
        return View(peak, times - peak, values, np.zeros(times.size))
    coarse = np.arange(times[0], times[-1], 4.0)
    size = np.abs(lowpass_matrix(times, coarse, np.full(coarse.size, _CALM)) @ values)
    about = coarse[int(np.argmax(size))]
    even = np.arange(max(times[0], about - 100), min(times[-1], about + 100), 0.5)
    smooth = lowpass_matrix(times, even, np.full(even.size, _CALM)) @ values
    quiet = noise.snr >= _NOISY_PEAK[0] and not analytic
    peak = smooth_peak_time(even, smooth, _NOISY_PEAK[1] if quiet else _HILBERT_PEAK)
    if not _power_ends(times, values, noise, peak):
        raise lost(where, noise, "peak")
    start, end = float(times[0] - peak), float(times[-1] - peak)
    step = float(np.median(np.diff(times)))
    if not start < 0 < end:
        return View(
            peak, even - peak, smooth, np.full(even.size, noise.sigma * (step / _CALM) ** 0.5)
        )
    grid = TimeGrid(kind="chirp", t_min=start, t_max=end).times()
    left = noise.sigma * np.sqrt(np.minimum(step / widths(grid), 1.0))
    return View(peak, grid, lowpassed(times - peak, values, grid), left)


def lost(where: str, noise: Noise, what: str) -> DataError:
    """The refusal of a waveform of which the noise hides too much."""
    return DataError(
        f"{where}: white noise, SNR {noise.snr:.3g}: its {what} is lost in the noise; give a less "
        f"noisy or a filtered waveform"
    )


def _power_ends(times: np.ndarray, values: np.ndarray, noise: Noise, peak: float) -> bool:
    """Whether the power of a noisy waveform ends at ``peak``, as that of a merger does."""
    even = np.arange(times[0], times[-1], _POWER)
    matrix = lowpass_matrix(times, even, np.full(even.size, _POWER))
    floor = 2 * noise.sigma**2 * np.asarray(matrix.power(2).sum(axis=1)).ravel()
    energy = np.abs(matrix @ values) ** 2 - floor
    total, after = float(energy.sum()), even > peak + _AFTER[0]
    before = (even > peak - _BEFORE[0]) & ~after
    # The power of noise is exponential: its standard deviation is its mean.
    loud = total > _SURE * float(np.linalg.norm(floor))
    rise = float(energy[before].sum())
    rises = rise > max(_BEFORE[1] * total, _SURE * float(np.linalg.norm(floor[before])))
    more = np.cumsum(energy[after])  # the longer the silence after a merger, the louder it is
    least = np.maximum(_AFTER[1] * total, _SURE * np.sqrt(np.cumsum(floor[after] ** 2)))
    return loud and rises and not bool((more > least).any())


def peak_time(times: np.ndarray, h22: np.ndarray) -> float:
    """Time of the largest |h22|, between the samples: the maximum of a cubic spline through them.

    A parabola through the three highest samples is 0.02 M off where they are 0.5 M apart, as |h22|
    is not symmetric; the network's errors of s2 feel 0.05 M.
    """
    amplitude = np.abs(h22).astype(np.float64)
    k = int(np.argmax(amplitude))
    near = slice(max(k - 8, 0), k + 9)
    curve = CubicSpline(times[near], amplitude[near])
    found = curve.derivative().roots(extrapolate=False)
    found = found[np.isfinite(found)]
    return float(found[np.argmax(curve(found))]) if found.size else float(times[k])


def smooth_peak_time(
    times: np.ndarray, h22: np.ndarray, shape: tuple[float, int] = _HILBERT_PEAK
) -> float:
    """Time of the largest value of a polynomial through ln |h22| about its peak."""
    half, degree = shape
    peak = peak_time(times, h22)
    for _ in range(3):
        near = np.abs(times - peak) <= half
        if near.sum() <= 2 * degree or not np.abs(h22[near]).all():
            break
        curve = np.polyfit(times[near] - peak, np.log(np.abs(h22[near])), degree)
        offsets = np.linspace(-half / 2, half / 2, 2001)
        peak += float(offsets[np.argmax(np.polyval(curve, offsets))])
    return peak
