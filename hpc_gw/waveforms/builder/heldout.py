"""How well a surrogate repeats waveforms that it was not trained on.

The evaluation here is plain NumPy in float64, one waveform at a time: it shares no code with
the batched evaluator, so that it can also judge it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.interpolate import CubicSpline

from hpc_gw.manifold.physics import eta
from hpc_gw.waveforms.builder.fit import fit_variables, taylor_t3
from hpc_gw.waveforms.surrogate_file import DataPiece, SurrogateData


def evaluate_nodes(piece: DataPiece, inputs: np.ndarray) -> np.ndarray:
    """Values at the nodes, float64 (B, n_nodes), for ``fit_variables`` rows (B, 3)."""
    columns = []
    for fit in piece.fits:
        apart = (inputs[:, None, :] - fit.x_train) / fit.length_scale  # (B, n, 3)
        kernel = fit.constant * np.exp(-0.5 * (apart**2).sum(axis=2))  # (B, n)
        process = (fit.y_mean + fit.y_std * (kernel @ fit.alpha)) * fit.data_std + fit.data_mean
        columns.append(process + inputs @ fit.coef + fit.intercept)
    return np.stack(columns, axis=1)


def evaluate(data: SurrogateData, parameters: np.ndarray, times: np.ndarray) -> np.ndarray:
    """h22 = A exp(-i phi) at ``times`` (M), complex128 (B, T), phi = 0 at ``times[0]``.

    Args:
        data: a surrogate, read or just fitted.
        parameters: float64 (B, 3), rows (q, s1, s2).
        times: float64 (T,), inside ``data.domain``.
    """
    rows = np.atleast_2d(np.asarray(parameters, dtype=np.float64))
    inputs = fit_variables(rows)
    amplitude = evaluate_nodes(data.amplitude, inputs) @ data.amplitude.ei_basis  # (B, nt)
    phase = evaluate_nodes(data.phase, inputs) @ data.phase.ei_basis
    phase += eta(rows[:, :1]) ** -0.375 * taylor_t3(data.domain, data.align_index, data.t_ref)
    h = np.empty((len(rows), len(times)), dtype=np.complex128)
    for i, pieces in enumerate(zip(amplitude, phase, strict=True)):
        spline = CubicSpline(data.domain, np.stack(pieces, axis=1), bc_type="natural")
        a, phi = spline(times).T
        h[i] = a * np.exp(-1j * (phi - phi[0]))
    return h


def mismatch(first: np.ndarray, second: np.ndarray) -> float:
    """1 - overlap of two complex waveforms on the same uniform times, flat noise.

    Maximised over time shifts (zero-padded FFT, the peak refined by a parabola through three
    samples) and over a constant phase (the modulus).
    """
    size = 1 << (2 * len(first) - 1).bit_length()
    product = np.fft.fft(first, size) * np.fft.fft(second, size).conj()
    correlation = np.abs(np.fft.ifft(product))
    top = int(np.argmax(correlation))
    left, middle, right = correlation[[top - 1, top, (top + 1) % size]]
    bend = 2 * middle - left - right
    peak = middle + (right - left) ** 2 / (8 * bend) if bend > 0 else middle
    norm = np.sqrt(np.vdot(first, first).real * np.vdot(second, second).real)
    return float(1 - peak / norm)


def mismatches(
    data: SurrogateData,
    parameters: np.ndarray,
    times: np.ndarray,
    references: Iterable[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Mismatch of each row against its reference (amplitude, phase) at ``times``, float64 (B,)."""
    found = []
    for row, (amplitude, phase) in zip(parameters, references, strict=True):
        h = evaluate(data, row, times)[0]
        found.append(mismatch(h, amplitude * np.exp(-1j * phase)))
    return np.array(found)
