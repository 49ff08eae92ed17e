"""Finely sampled, noisy waveforms put onto a coarser grid without aliasing.

Interpolation takes a sample as it is, with the noise of the whole band: of white noise of variance
sigma^2 every dt, each sample of a grid whose spacing is 22 M would get sigma^2, although the file
tells 220 times as much. A low-pass before the samples are taken leaves about sigma^2 dt / D of
it, D the grid's local spacing.

The filter of a sample is a windowed sinc in t / D: flat to 1e-6 up to ``PASS`` radians a sample,
below 1e-6 beyond ``STOP``. What lies between pi and ``STOP`` folds back to frequencies above
2 pi - ``STOP`` = 1.88, where little of h22 lives (1.9 at most on the 768 chirp samples of the
shipped networks), so the noise is that of an ideal filter to 8 %. At both ends, where the filter
reaches beyond the waveform, the inspiral is continued by ``continuation``, and the ringdown by the
damped exponential that fits its last samples.

Reference: Kaiser & Schafer, IEEE Trans. ASSP 28, 105 (1980): attenuation and width.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.sparse import csr_array

from hpc_gw.waveforms.continuation import continued

PASS, STOP = 2.4, 4.4
"""Ends of the pass band and of the stop band, in radians a sample of the grid."""

ATTENUATION = 120.0
"""[dB], of the stop band; the pass band is as flat."""

CUTOFF = 0.5 * (PASS + STOP)
HALF_WIDTH = 0.5 * (ATTENUATION - 7.95) / (2.285 * (STOP - PASS))
"""Of the filter, in samples of the grid: 12.3."""

FINER = np.pi / STOP
"""A file is filtered where its spacing is below this share of the grid's."""

NOTICEABLE = 1e-6
"""White noise above this share of the largest |h22| is filtered; below, interpolation is as good,
and leaves noise-free waveforms as they are."""

ORDERS = 6, 8
"""Of the divided differences that leave noise alone: of h22, sampled every 0.5 M at most, less than
1e-7 remains in the inspiral."""

MERGER = 0.8, 12.0, 0.1
"""Near the merger filters are narrower, for |h22| bends sharply there: made for this spacing [M]
up to so far from it [M], and growing by this share of the time beyond. 2.5 M would cost 1e-4 of the
peak, this costs 4e-6."""

_MOST_WINDOWS = 65_536  # on uneven times, of which a median is taken
_TABLE = 20_001  # points of the kernel, between which it is interpolated to 1e-7
_RING = 8  # samples of the ringdown that its continuation is fitted to
_LEAST = 16  # filtered samples without which an end cannot be continued
_MOST = 80  # filtered samples that the start is continued from


class Noise(NamedTuple):
    """White noise of a waveform."""

    sigma: float
    """Standard deviation of Re h22, and of Im h22, a sample."""

    snr: float
    """Signal-to-noise ratio over the samples, sqrt(sum (Re h22)^2 / sigma^2); infinite for none."""


QUIET_NOISE = Noise(0.0, float("inf"))


def noise_level(times: np.ndarray, h22: np.ndarray) -> Noise:
    """The white noise of a waveform, from differences that its smooth part does not reach.

    Divided differences of neighbouring samples, of unit norm: what is left of a smooth waveform
    falls with their order, and white noise stays. Their median magnitude knows nothing of the
    merger, where the waveform is the least smooth. What two orders do not agree on is no noise.

    Args:
        times: increasing, float64 (T,), evenly spaced or not.
        h22: complex (T,).
    """
    if times.size <= 4 * ORDERS[-1]:
        return QUIET_NOISE
    lower, variance = (_difference_power(times, h22, order) for order in ORDERS)
    if variance <= 0 or variance < 0.5 * lower:
        return QUIET_NOISE
    energy = max(float(np.sum(np.abs(h22) ** 2)) / 2 - variance * h22.size, 0.0)
    return Noise(float(np.sqrt(variance)), float(np.sqrt(energy / variance)))


def _difference_power(times: np.ndarray, h22: np.ndarray, order: int) -> float:
    """Variance of white noise with the median power of its differences of one order."""
    steps = np.diff(times)
    if np.allclose(steps, steps[0], rtol=1e-4, atol=0):
        weights = np.array([math.comb(order, k) * (-1.0) ** k for k in range(order + 1)])
        size = np.abs(np.convolve(h22, weights / np.linalg.norm(weights), "valid")) ** 2
    else:
        every = max(times.size // _MOST_WINDOWS, 1)
        windows = np.lib.stride_tricks.sliding_window_view(times, order + 1)[::every]
        apart = windows[:, :, None] - windows[:, None, :] + np.eye(order + 1)
        rows = 1 / (apart / np.abs(apart).max(axis=(1, 2), keepdims=True)).prod(axis=2)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        values = np.lib.stride_tricks.sliding_window_view(h22, order + 1)[::every]
        size = np.abs(np.einsum("ij,ij->i", rows, values)) ** 2
    return float(np.median(size)) / (2 * math.log(2))  # exponential, of mean 2 sigma^2


def spacing(grid: np.ndarray) -> np.ndarray:
    """Local spacing (G,) of an increasing grid (G,): the mean of both sides', one at the ends."""
    found: np.ndarray = np.gradient(grid)
    return found


def widths(grid: np.ndarray) -> np.ndarray:
    """The spacing (G,) that each sample of a grid (G,), the merger at 0, is filtered for [M]."""
    narrow, near, growth = MERGER
    cap = narrow + growth * np.maximum(np.abs(grid) - near, 0.0)
    return np.asarray(np.minimum(spacing(grid), cap))


def lowpass_matrix(times: np.ndarray, grid: np.ndarray, width: np.ndarray) -> csr_array:
    """The filter from samples at ``times`` (T,) to ``grid`` (G,), sparse (G, T).

    Args:
        times: increasing; they should reach ``HALF_WIDTH * width`` beyond the grid's samples.
        grid: where the filtered waveform is wanted [M].
        width: spacing that is filtered for, by sample, (G,) [M].
    """
    steps = spacing(times)
    first = np.searchsorted(times, grid - HALF_WIDTH * width)
    last = np.searchsorted(times, grid + HALF_WIDTH * width)
    counts = last - first
    starts = np.concatenate([[0], np.cumsum(counts)])
    columns = np.arange(starts[-1]) + np.repeat(first - starts[:-1], counts)
    rows = np.repeat(np.arange(grid.size), counts)
    values = _kernel(np.abs(times[columns] - grid[rows]) / width[rows]) * steps[columns]
    values /= np.bincount(rows, values, grid.size)[rows]
    return csr_array((values, columns, starts), shape=(grid.size, times.size))


def _kernel(x: np.ndarray) -> np.ndarray:
    """The windowed sinc at distances x >= 0 in samples; its scale is left to the caller."""
    table = _kernel_table()
    place = np.minimum(x * ((_TABLE - 1) / HALF_WIDTH), _TABLE - 1.000001)
    left = place.astype(np.int64)
    part = place - left
    return np.asarray(table[left] * (1 - part) + table[left + 1] * part)


@functools.cache
def _kernel_table() -> np.ndarray:
    x = np.linspace(0, HALF_WIDTH, _TABLE)
    beta = 0.1102 * (ATTENUATION - 8.7)
    window = np.i0(beta * np.sqrt(np.maximum(1 - (x / HALF_WIDTH) ** 2, 0))) / np.i0(beta)
    return np.asarray(np.sinc(CUTOFF / np.pi * x) * window)


def lowpassed(times: np.ndarray, h22: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """h22 (T,) at the times of ``grid`` (G,) without what they could only alias, complex128.

    Where ``times`` are no finer than the grid, the waveform is interpolated.

    Args:
        times: increasing [M], the merger at 0, float64 (T,).
        h22: A exp(-i phi), complex (T,).
        grid: increasing [M], inside of ``times``.
    """
    found = np.asarray(CubicSpline(times, h22)(grid))
    width = widths(grid)
    finer = np.interp(grid, times, spacing(times)) < FINER * width
    if not finer.any():
        return found
    reach = HALF_WIDTH * width
    inside = finer & (grid - reach >= times[0]) & (grid + reach <= times[-1])
    found[inside] = lowpass_matrix(times, grid[inside], width[inside]) @ h22
    edge = finer & ~inside
    if edge.any() and inside.sum() >= _LEAST:
        t, h = _padded(times, h22, grid[inside], found[inside], (grid - reach, grid + reach))
        found[edge] = lowpass_matrix(t, grid[edge], width[edge]) @ h
    return found


def _padded(
    times: np.ndarray,
    h22: np.ndarray,
    known: np.ndarray,
    clean: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Times and h22 with what the filters reach for beyond both ends.

    Args:
        known, clean: times and values that are filtered already, (K,).
        ends: first and last times of all filters, (G,) each.
    """
    before = _beyond(times[0], times[1] - times[0], float(ends[0].min()))[::-1]
    after = _beyond(times[-1], times[-1] - times[-2], float(ends[1].max()))
    start = continued(known[:_MOST], clean[:_MOST], before) if before.size else before
    return (
        np.concatenate([before, times, after]),
        np.concatenate([start, h22, _ringdown(known, clean, after)]),
    )


def _beyond(end: float, step: float, goal: float) -> np.ndarray:
    """Times from ``end``, exclusive, on to ``goal`` and a step further, a ``step`` apart.

    The first times go back, the last ones on: the sign of ``end`` says which.
    """
    side = np.sign(end)
    count = int(np.ceil(side * (goal - end) / step)) + 1 if side * (goal - end) > 0 else 0
    return np.asarray(end + side * step * np.arange(1, count + 1))


def _ringdown(known: np.ndarray, clean: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The damped exponential that fits the last filtered samples, at later times."""
    t, y = known[-_RING:], clean[-_RING:]
    power = float(np.sum(np.abs(y[:-1]) ** 2))
    if not (after.size and power):
        return np.zeros(after.size, dtype=np.complex128)
    ratio = np.sum(y[:-1].conj() * y[1:]) / power
    rate = np.log(ratio) / float(np.mean(np.diff(t)))
    rate = complex(min(rate.real, 0.0), rate.imag)
    shape = np.exp(rate * (t - t[-1]))
    amplitude = np.sum(shape.conj() * y) / np.sum(np.abs(shape) ** 2)
    return np.asarray(amplitude * np.exp(rate * (after - t[-1])))
