"""A missing start of an inspiral, from what there is of it.

Phase and amplitude are expansions in powers of the time to the merger, as TaylorT3 has them
(arXiv:0907.0700, eqs. 3.10), with coefficients fitted to the first two thirds of what there is. Two
things would lead such a fit astray, by radians at -10000 M where it begins at -3000 M:

* more powers than the waveform tells of: the last ones are left out while the fit stays as good;
* residual eccentricity, 1e-4 to 1e-3 in runs of numerical relativity: the phase then wobbles by 4 e
  at the radial frequency, so that wobble is fitted too, and not continued.
"""

from __future__ import annotations

import numpy as np

SIMPLER = 1.2
"""The last powers are dropped while the residual grows by no more than this factor."""

WOBBLE = 2.0
"""A wobble is taken for real if it makes the residual smaller by this factor."""

ADVANCES = np.linspace(0.7, 2.2, 31)
"""Advances of the periastron that are tried, over that of the first post-Newtonian order, 3 x with
x = Omega^(2/3); higher orders and spins change it by tens of per cent (arXiv:1106.3278)."""

PHASE_POWERS = (0.625, 0.375, 0.25, 0.125, 0.0, -0.125, -0.25)
AMPLITUDE_POWERS = (-0.25, -0.5, -0.625, -0.75)

LEAST_PHASE, LEAST_AMPLITUDE = 5, 2
"""Powers that are always kept."""

_SAMPLES = 4000  # of the phase are enough to choose an advance


def continued(times: np.ndarray, h22: np.ndarray, early: np.ndarray) -> np.ndarray:
    """h22 at times before the first sample, complex128 (E,); it meets the first sample.

    Args:
        times: in M, (T,), negative at first, and 0 at the merger.
        h22: A exp(-i phi), (T,).
        early: times before ``times[0]``, (E,).
    """
    start = float(times[0])
    known = (times >= start) & (times <= start / 3)
    if known.sum() < 16:
        known = np.arange(times.size) < 16
    t, phase, amplitude = times[known] / start, -np.unwrap(np.angle(h22[known])), np.abs(h22[known])
    wobble = _wobble(t * start, phase, t[:, None] ** np.array(PHASE_POWERS))
    least = LEAST_PHASE
    powers = PHASE_POWERS[:least] if wobble.size else PHASE_POWERS
    return np.asarray(
        _fit(t, amplitude, early / start, AMPLITUDE_POWERS, LEAST_AMPLITUDE)
        * np.exp(-1j * _fit(t, phase, early / start, powers, least, wobble))
    )


def _fit(
    t: np.ndarray,
    values: np.ndarray,
    early: np.ndarray,
    powers: tuple[float, ...],
    least: int,
    wobble: np.ndarray | None = None,
) -> np.ndarray:
    """Values at ``early``, times over that of the first sample as ``t`` is."""
    exponents = np.array(powers)
    basis = t[:, None] ** exponents
    aside = np.zeros((t.size, 0)) if wobble is None else wobble
    fits = [
        (n, *_solve(np.hstack([basis[:, :n], aside]), values))
        for n in range(least, exponents.size + 1)
    ]
    allowed = SIMPLER * fits[-1][1]
    n, coefficients = next((n, c[:n]) for n, residual, c in fits if residual <= allowed)
    fitted = early[:, None] ** exponents[:n] @ coefficients
    # The basis is 1 at the first sample, where the continuation must meet the waveform.
    return np.asarray(fitted + values[0] - coefficients.sum())


def _solve(basis: np.ndarray, values: np.ndarray) -> tuple[float, np.ndarray]:
    """Residual and coefficients of a least-squares fit."""
    coefficients = np.linalg.lstsq(basis, values, rcond=None)[0]
    return float(np.std(values - basis @ coefficients)), coefficients


def _wobble(times: np.ndarray, phase: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Cosine and sine of the mean anomaly times the decaying eccentricity, (T, 2), or (T, 0).

    The radial frequency is Omega / (1 + k), with the advance k of the periastron; eccentricity
    falls as Omega^(-19/18) (Peters, Phys. Rev. 136, B1224).
    """
    none = np.zeros((times.size, 0))
    orbital = np.gradient(phase, times) / 2
    if not (orbital > 0).all():
        return none
    decay = (orbital[0] / orbital) ** (19 / 18)
    some = slice(None, None, max(1, times.size // _SAMPLES))
    plain = _solve(basis[some], phase[some])[0]
    best, found = plain / WOBBLE, none
    for advance in ADVANCES:
        radial = orbital / (1 + 3 * advance * orbital ** (2 / 3))
        steps = (radial[1:] + radial[:-1]) / 2 * np.diff(times)
        anomaly = np.concatenate([[0.0], np.cumsum(steps)])
        pair = np.column_stack([decay * np.cos(anomaly), decay * np.sin(anomaly)])
        residual = _solve(np.hstack([basis, pair])[some], phase[some])[0]
        if residual < best:
            best, found = residual, pair
    return found
