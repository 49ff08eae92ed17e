"""Waveforms from files, put onto the convention that the networks were trained on.

h22 = A exp(-i phi) in units of r h / M, t in M, |h22| at its largest at t = 0, and phi = 0 at the
first time of the network's grid. A file may have any time shift, any phase and either sign of
the phase: the module removes them. What it cannot mend it refuses.

Text files have the columns ``t Re(h22) Im(h22)``, as ``hpc-gw waveform --output`` writes them, or
``t h+``; ``#`` begins a comment. NumPy's .npz files have ``h22`` and ``t``, or ``t0`` and ``dt``.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import hilbert

from hpc_gw.errors import DataError

PEAKS = (0.05, 1.0)
"""Largest |h22| of waveforms in r h / M, with room: 0.14 (q = 8) to 0.40 (q = 1) in the domain."""

SAMPLES_PER_CYCLE = 4
RINGDOWN, QUIET = 80.0, 1e-3
"""After this time [M] zeros stand for what is missing, if |h22| is below this share of its peak."""

GAP = 1.0
"""A start that is missing by at most this [M] is continued without being asked, nor mentioned: a
file from -10000 M may begin a little later once its peak is at 0."""

LATEST_START = 0.6
"""``extend`` needs this share of the span before the peak."""

_HILBERT_PEAK = 24.0, 6
"""Half width [M] and degree of the polynomial whose maximum is the peak of an analytic signal: its
amplitude ripples at the merger, so that its largest sample lies up to 5 M off, this up to 1.7 M."""

_HILBERT_EDGE = 500.0
"""M at the start of a real waveform where its analytic signal feels the end of the file."""


@dataclass(frozen=True, eq=False)
class Columns:
    """A waveform of a file, its peak at t = 0.

    Attributes:
        times: increasing, float64 (T,), in M.
        h22: complex128 (T,), A exp(-i phi).
        notes: what was done to it, a sentence each.
        analytic: the file has h+ alone.
    """

    times: np.ndarray
    h22: np.ndarray
    notes: tuple[str, ...] = ()
    analytic: bool = False


def read_columns(path: str | Path) -> Columns:
    """The waveform of a file, its peak moved to t = 0, its phase growing.

    Raises:
        DataError: the file is missing, no such file, not finite, too coarse, or in other units.
    """
    times, values = _arrays(Path(path))
    if times.ndim != 1 or values.shape != times.shape or times.size < 16:
        raise DataError(
            f"{path}: times of shape {times.shape} and values of shape {values.shape}: a waveform "
            f"needs two series of one length, at least 16"
        )
    if bad := int((~np.isfinite(times) | ~np.isfinite(values)).sum()):
        raise DataError(f"{path}: {bad} of {times.size} samples are not finite; mend or cut them")
    if not (np.diff(times) > 0).all():
        raise DataError(f"{path}: its times do not increase; the first column must be t/M")
    notes: tuple[str, ...] = ()
    analytic = not np.iscomplexobj(values)
    if analytic:
        times, values = _analytic(times, values)
        notes += ("h+ alone: amplitude and phase are those of its analytic signal (approximate)",)
    peak = _smooth_peak_time(times, values) if analytic else peak_time(times, values)
    found = Columns(times - peak, values.astype(np.complex128), notes)
    _check_units(path, found)
    _check_sampling(path, found)
    if float(np.sum(_phase_steps(found))) < 0:
        note = () if analytic else ("its phase falls in time: its complex conjugate was taken",)
        found = replace(found, h22=found.h22.conj(), notes=notes + note)
    if not analytic:
        return found
    inside = found.times >= found.times[0] + _HILBERT_EDGE
    return replace(found, times=found.times[inside], h22=found.h22[inside], analytic=True)


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
        columns: from ``read_columns``.
        grid: increasing times in M.
        peak: time on ``grid`` of the largest |h22|.
        extend: continue a start that is missing, see ``continued``.
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
            else "give a longer waveform"
        )  # fmt: skip
        raise DataError(
            f"{where}: [{grid[0]:g}, {columns.times[0]:.1f}] M before its peak is missing of the "
            f"[{grid[0]:g}, {grid[-1]:g}] M that the network reads; {remedy}"
        )
    end = float(columns.times[-1])
    quiet = np.abs(columns.h22[-1]) <= QUIET * np.abs(columns.h22).max()
    if end < grid[-1] and not (end >= RINGDOWN and quiet):
        raise DataError(
            f"{where}: [{end:.1f}, {grid[-1]:g}] M after its peak is missing of the [{grid[0]:g}, "
            f"{grid[-1]:g}] M that the network reads; give a longer waveform (zeros are put "
            f"after {RINGDOWN:g} M where |h22| is below {QUIET:g} of its peak)"
        )
    inside = (grid >= columns.times[0]) & (grid <= end)
    h22 = np.zeros(grid.size, dtype=np.complex128)
    h22[inside] = CubicSpline(columns.times, columns.h22)(grid[inside])
    if end < grid[-1] - GAP:
        notes += (f"zeros after {end:.1f} M, where its ringdown is over",)
    early = grid < columns.times[0]
    if early.any():
        h22[early] = continued(columns, grid[early])
    if gap > GAP:
        notes += (f"continued from {columns.times[0]:.0f} M back to {grid[0]:g} M",)
    return h22 * np.exp(-1j * np.angle(h22[0])), notes


def continued(columns: Columns, times: np.ndarray) -> np.ndarray:
    """h22 at ``times`` before the first sample, complex128.

    Phase and amplitude are expansions in powers of the time to the merger, as TaylorT3 has them
    (arXiv:0907.0700, eqs. 3.10), with coefficients fitted to the first two thirds of what there is.
    """
    start = float(columns.times[0])
    known = (columns.times >= start) & (columns.times <= start / 3)
    if known.sum() < 16:
        known = np.arange(columns.times.size) < 16
    t, h22 = columns.times[known], columns.h22[known]

    def fit(powers: tuple[float, ...], values: np.ndarray) -> np.ndarray:
        basis = (t[:, None] / start) ** np.array(powers)
        coefficients = np.linalg.lstsq(basis, values, rcond=None)[0]
        fitted = (times[:, None] / start) ** np.array(powers) @ coefficients
        # The basis is 1 at the first sample, where the continuation must meet the waveform.
        return np.asarray(fitted + values[0] - coefficients.sum())

    phase = fit((0.625, 0.375, 0.25, 0.125, 0.0, -0.125, -0.25), -np.unwrap(np.angle(h22)))
    amplitude = fit((-0.25, -0.5, -0.625, -0.75), np.abs(h22))
    return np.asarray(amplitude * np.exp(-1j * phase))


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times and values, real or complex, of a file."""
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return _npz(path, {name: file[name] for name in file.files})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty file is refused below
            table = np.loadtxt(path, comments="#", ndmin=2, dtype=np.float64)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file or folder") from error
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: not readable as a waveform ({str(error)[:120]}); need the columns t/M, "
            f"Re(h22), Im(h22), or t/M, h+, or an .npz file with t and h22"
        ) from error
    if table.shape[1] == 2:
        return table[:, 0], table[:, 1]
    if table.shape[1] == 3:
        return table[:, 0], table[:, 1] + 1j * table[:, 2]
    raise DataError(
        f"{path}: {table.shape[1]} columns; need 3, t/M, Re(h22), Im(h22), or 2, t/M, h+"
    )


def _npz(path: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    h22 = arrays.get("h22")
    if (
        h22 is None
        or h22.dtype.kind not in "fc"
        or not ("t" in arrays or {"t0", "dt"} <= {*arrays})
    ):
        raise DataError(
            f"{path}: holds {', '.join(arrays) or 'nothing'}; need h22, and t, or t0 and dt, in M"
        )
    if "t" in arrays:
        return arrays["t"].astype(np.float64), h22
    return float(arrays["t0"]) + float(arrays["dt"]) * np.arange(h22.size), h22


def _analytic(times: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The analytic signal of h+, on uniform times: h+ - i hx for a phase that grows."""
    step = max(float(np.diff(times).min()), (times[-1] - times[0]) / 2e6)
    uniform = times[0] + step * np.arange(int((times[-1] - times[0]) / step + 1e-6) + 1)
    even = np.allclose(np.diff(times), step, rtol=1e-3)
    values = real[: uniform.size] if even else CubicSpline(times, real)(uniform)
    return (times[: uniform.size] if even else uniform), np.conj(hilbert(values))


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


def _smooth_peak_time(times: np.ndarray, h22: np.ndarray) -> float:
    """Time of the largest value of a polynomial through ln |h22| about its peak."""
    half, degree = _HILBERT_PEAK
    peak = peak_time(times, h22)
    for _ in range(3):
        near = np.abs(times - peak) <= half
        if near.sum() <= 2 * degree or not np.abs(h22[near]).all():
            break
        curve = np.polyfit(times[near] - peak, np.log(np.abs(h22[near])), degree)
        offsets = np.linspace(-half / 2, half / 2, 2001)
        peak += float(offsets[np.argmax(np.polyval(curve, offsets))])
    return peak


def _phase_steps(columns: Columns) -> np.ndarray:
    """Growth of the phase [rad] from sample to sample, where |h22| is well above its end's."""
    loud = (np.abs(columns.h22) > 0.02 * np.abs(columns.h22).max()) & (columns.times < 20)
    angles = np.angle(columns.h22[1:] * columns.h22[:-1].conj())
    return np.asarray(-angles[loud[1:] & loud[:-1]])


def _check_units(path: str | Path, columns: Columns) -> None:
    peak = float(np.abs(columns.h22).max())
    if not PEAKS[0] <= peak <= PEAKS[1]:
        raise DataError(
            f"{path}: its largest |h22| is {peak:.3g}, not in [{PEAKS[0]:g}, {PEAKS[1]:g}] as in "
            f"geometric units; scale it to r h / M (times distance over total mass, G = c = 1)"
        )


def _check_sampling(path: str | Path, columns: Columns) -> None:
    steps = np.abs(_phase_steps(columns))
    near = (columns.times > -50) & (columns.times < 20)
    coarse = float(np.diff(columns.times[near]).max()) if near.sum() > 1 else np.inf
    most = 2 * np.pi / SAMPLES_PER_CYCLE
    if coarse > 6.0 or (steps.size and steps.max() > most):
        raise DataError(
            f"{path}: sampled every {coarse:.3g} M at its merger, where the network needs "
            f"{SAMPLES_PER_CYCLE} samples a cycle, at most 3 M apart; sample it more finely"
        )
