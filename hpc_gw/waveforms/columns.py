"""Waveforms from elsewhere, put onto the convention that the networks were trained on.

h22 = A exp(-i phi) in units of r h / M, t in M, |h22| at its largest at t = 0, and phi = 0 at the
first time of the network's grid. A waveform may have any time shift, any phase and either sign of
the phase: the module removes them. What it cannot mend it refuses. ``waveforms.readers`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import hilbert

from hpc_gw.errors import DataError
from hpc_gw.waveforms.continuation import continued
from hpc_gw.waveforms.lowpass import NOTICEABLE, QUIET_NOISE, Noise, lowpassed, noise_level
from hpc_gw.waveforms.peak import look_at, lost, peak_time

__all__ = ["Columns", "columns_of", "onto_grid", "peak_time"]

PEAKS = (0.05, 1.0)
"""Largest |h22| of waveforms in r h / M, with room: 0.14 (q = 8) to 0.40 (q = 1) in the domain."""

SAMPLES_PER_CYCLE = 4
RINGDOWN, QUIET = 80.0, 1e-3
"""After this time [M] zeros stand for what is missing, if |h22| is below this share of its peak."""

GAP = 1.0
"""A start that is missing by at most this [M] is continued without being asked, nor mentioned: a
file from -10000 M may begin a little later once its peak is at 0."""

LATEST_START = 0.25
"""``extend`` needs this share of the span before the peak: -2500 M of -10000 M."""

EARLY = 0.25
"""Share of the time before the peak, from the start, in which |h22| and frequency are compared."""

ETA = (0.02, 0.3)
"""Symmetric mass ratios that the leading order of |h22| may say in the inspiral; it finds 0.22
where 0.25 is right, and 0.001 for Psi4."""

_HILBERT_EDGE = 500.0
"""M at the start of a real waveform where its analytic signal feels the end of the file."""


@dataclass(frozen=True, eq=False)
class Columns:
    """A waveform of a file, its peak at t = 0.

    Attributes:
        times: increasing, float64 (T,), in M.
        h22: complex128 (T,), A exp(-i phi).
        notes: what was done to it, a sentence each.
        analytic: there is h+ alone.
        doubts: why a network may not know such a waveform, a sentence each.
        claims: what the file says of itself: some of q, s1, s2.
        noise: white noise that is filtered where the waveform is put onto a coarser grid.
    """

    times: np.ndarray
    h22: np.ndarray
    notes: tuple[str, ...] = ()
    analytic: bool = False
    doubts: tuple[str, ...] = ()
    claims: Mapping[str, float] = field(default_factory=dict)
    noise: Noise = QUIET_NOISE


def columns_of(times: np.ndarray, values: np.ndarray, where: str) -> Columns:
    """A waveform with its peak moved to t = 0, and its phase growing.

    Args:
        times: in M, (T,).
        values: h22 in r h / M, complex (T,), or h+, real (T,).
        where: where it comes from, for errors.

    Raises:
        DataError: it has other shapes, is not finite, too coarse, or in other units.
    """
    _check_series(times, values, where)
    notes: tuple[str, ...] = ()
    analytic = not np.iscomplexobj(values)
    if analytic:
        times, values = _analytic(times, values)
        notes += ("h+ alone: amplitude and phase are those of its analytic signal (approximate)",)
    noise = _noticeable(times, values)
    seen = look_at(times, values, noise, analytic=analytic, where=where)
    found = Columns(times - seen.peak, values.astype(np.complex128), notes, noise=noise)
    view = replace(found, times=seen.times, h22=seen.h22)
    _check_units(view, seen.noise, where)
    _check_sampling(found, where)
    if float(np.sum(_phase_steps(view))) < 0:
        note = () if analytic else ("its phase falls in time: its complex conjugate was taken",)
        found = replace(found, h22=found.h22.conj(), notes=notes + note)
        view = replace(view, h22=view.h22.conj())
    _check_strain(view, seen.noise, where)
    if not analytic:
        return found
    inside = found.times >= found.times[0] + _HILBERT_EDGE
    return replace(found, times=found.times[inside], h22=found.h22[inside], analytic=True)


def _noticeable(times: np.ndarray, values: np.ndarray) -> Noise:
    """The noise of a waveform, or none where interpolation does no harm."""
    noise = noise_level(times, values)
    return noise if noise.sigma > NOTICEABLE * np.abs(values).max() else QUIET_NOISE


def onto_grid(
    columns: Columns,
    grid: np.ndarray,
    *,
    peak: float = 0.0,
    extend: bool = False,
    where: str = "waveform",
) -> tuple[np.ndarray, tuple[str, ...]]:
    """h22 on ``grid`` (G,), complex128, real and positive at its first time; and what was done.

    Args:
        columns: the waveform.
        grid: increasing times in M.
        peak: time on ``grid`` of the largest |h22|.
        extend: continue a start that is missing, see ``continuation``.
        where: the file, for errors.

    Raises:
        DataError: a part of the grid's span is missing.
    """
    notes, columns = columns.notes, replace(columns, times=columns.times + peak)
    gap = float(columns.times[0] - grid[0])
    allowed = _HILBERT_EDGE + 2 * GAP if columns.analytic else GAP
    possible = columns.times[0] <= LATEST_START * grid[0]
    if gap > allowed and not (extend and possible):
        remedy = (
            "give a longer waveform, or continue it with --extend" if possible
            else f"give a longer waveform (--extend needs {-LATEST_START * grid[0]:.0f} M)"
        )  # fmt: skip
        raise DataError(
            f"{where}: [{grid[0]:g}, {columns.times[0]:.1f}] M before its peak is missing of the "
            f"[{grid[0]:g}, {grid[-1]:g}] M that the network reads; {remedy}"
        )
    end = float(columns.times[-1])
    silence = max(QUIET * float(np.abs(columns.h22).max()), 5 * columns.noise.sigma)
    quiet = np.abs(columns.h22[-1]) <= silence
    if end < grid[-1] and not (end >= RINGDOWN and quiet):
        raise DataError(
            f"{where}: [{end:.1f}, {grid[-1]:g}] M after its peak is missing of the [{grid[0]:g}, "
            f"{grid[-1]:g}] M that the network reads; give a longer waveform (zeros are put "
            f"after {RINGDOWN:g} M where |h22| is below {QUIET:g} of its peak, or in noise)"
        )
    inside = (grid >= columns.times[0]) & (grid <= end)
    h22 = np.zeros(grid.size, dtype=np.complex128)
    noisy = columns.noise.sigma > NOTICEABLE * np.abs(columns.h22).max()
    taken = lowpassed if noisy else _interpolated
    h22[inside] = taken(columns.times, columns.h22, grid[inside])
    if noisy:
        notes += (
            f"white noise, SNR {columns.noise.snr:.3g}: filtered to the network's times; below SNR "
            f"1000 brackets are too narrow",
        )
    if end < grid[-1] - GAP:
        notes += (f"zeros after {end:.1f} M, where its ringdown is over",)
    early = grid < columns.times[0]
    if early.any():
        h22[early] = continued(columns.times, columns.h22, grid[early])
    if gap > GAP:
        notes += (f"continued from {columns.times[0]:.0f} M back to {grid[0]:g} M",)
    return h22 * np.exp(-1j * np.angle(h22[0])), notes


def _interpolated(times: np.ndarray, h22: np.ndarray, grid: np.ndarray) -> np.ndarray:
    return np.asarray(CubicSpline(times, h22)(grid))


def _check_series(times: np.ndarray, values: np.ndarray, where: str) -> None:
    if times.ndim != 1 or values.shape != times.shape or times.size < 16:
        raise DataError(
            f"{where}: times of shape {times.shape} and values of shape {values.shape}: a waveform "
            f"needs two series of one length, at least 16"
        )
    if bad := int((~np.isfinite(times) | ~np.isfinite(values)).sum()):
        raise DataError(f"{where}: {bad} of {times.size} samples are not finite; mend or cut them")
    if not (np.diff(times) > 0).all():
        raise DataError(f"{where}: its times do not increase; the first column must be t/M")


def _analytic(times: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The analytic signal of h+, on uniform times: h+ - i hx for a phase that grows."""
    step = max(float(np.diff(times).min()), (times[-1] - times[0]) / 2e6)
    uniform = times[0] + step * np.arange(int((times[-1] - times[0]) / step + 1e-6) + 1)
    even = np.allclose(np.diff(times), step, rtol=1e-3)
    values = real[: uniform.size] if even else CubicSpline(times, real)(uniform)
    return (times[: uniform.size] if even else uniform), np.conj(hilbert(values))


def _phase_steps(columns: Columns) -> np.ndarray:
    """Growth of the phase [rad] from sample to sample, where |h22| is well above its end's."""
    loud = (np.abs(columns.h22) > 0.02 * np.abs(columns.h22).max()) & (columns.times < 20)
    angles = np.angle(columns.h22[1:] * columns.h22[:-1].conj())
    return np.asarray(-angles[loud[1:] & loud[:-1]])


def _check_units(columns: Columns, left: np.ndarray, where: str) -> None:
    """What five standard deviations of the noise that is ``left`` (T,) explain is not refused."""
    size = np.abs(columns.h22)
    peak = float(size.max())
    least = float((size - 5 * left).max()) if left.max() <= PEAKS[1] else peak
    if not (PEAKS[0] <= peak and least <= PEAKS[1]):
        raise DataError(
            f"{where}: its largest |h22| is {peak:.3g}, not in [{PEAKS[0]:g}, {PEAKS[1]:g}] as in "
            f"geometric units; scale it to r h / M (times distance over total mass, G = c = 1), or "
            f"give --total-mass and --distance for seconds and strain"
        )


def _check_sampling(columns: Columns, where: str) -> None:
    """Noise is told from a waveform only where that is sampled finely, but hides its phase."""
    steps = np.abs(_phase_steps(columns)) if columns.noise is QUIET_NOISE else np.zeros(0)
    near = (columns.times > -50) & (columns.times < 20)
    coarse = float(np.diff(columns.times[near]).max()) if near.sum() > 1 else np.inf
    most = 2 * np.pi / SAMPLES_PER_CYCLE
    if coarse > 6.0 or (steps.size and steps.max() > most):
        raise DataError(
            f"{where}: sampled every {coarse:.3g} M at its merger, where the network needs "
            f"{SAMPLES_PER_CYCLE} samples a cycle, at most 3 M apart; sample it more finely"
        )


def _check_strain(columns: Columns, left: np.ndarray, where: str) -> None:
    """Amplitude and frequency of an inspiral must be of one another.

    |h22| = 8 sqrt(pi / 5) eta (omega_22 / 2)^(2/3) at leading order (arXiv:1310.1528, eqs. 327
    to 329), so that both say an eta. Psi4, a wrong mass or a wrong distance do not fit. Where the
    noise that is ``left`` (T,) is a third of h22, it is that which does not.
    """
    start = float(columns.times[0])
    early = columns.times <= start * (1 - EARLY)
    if start > -500 or early.sum() < 16:
        return  # too short for a network in any case, and refused for that
    omega = np.gradient(-np.unwrap(np.angle(columns.h22[early])), columns.times[early])
    omega = float(np.median(omega))
    amplitude = float(np.median(np.abs(columns.h22[early])))
    eta = amplitude / (8 * np.sqrt(np.pi / 5) * (max(omega, 1e-9) / 2) ** (2 / 3))
    if not ETA[0] <= eta <= ETA[1]:
        if 3 * float(np.median(left[early])) > amplitude:
            raise lost(where, columns.noise, "inspiral")
        raise DataError(
            f"{where}: |h22| = {amplitude:.3g} at the frequency {omega:.3g} / M of its inspiral "
            f"says eta = {eta:.3g}, not in [{ETA[0]:g}, {ETA[1]:g}] as for two bodies' strain; "
            f"is it Psi4, or scaled with another mass or distance? Give r h / M against t / M"
        )
