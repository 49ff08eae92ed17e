"""What engines share that compute each waveform on their own, by another group's library.

A library is asked from a low enough frequency, in its own times and phase. Here its waveform is
put onto the convention of ``protocol``: the largest |h22| at t = 0, phi = 0 at the first time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from hpc_gw.errors import ParameterError
from hpc_gw.waveforms.columns import QUIET, peak_time
from hpc_gw.waveforms.inspiral import starting_frequency
from hpc_gw.waveforms.surrogate import check_rows

MARGIN = 1.4
"""Length asked for over the length wanted: 1.5PN is 25 % off at q = 20, s = -0.99."""

SHORTEST = 2000.0
"""The least that is asked for [M]: 1.5PN says little of less."""

ROOM = 10.0
"""M beyond both ends that the spline through a waveform is taken over."""

BOUNDS = ((1.0, 20.0), (-0.99, 0.99), (-0.99, 0.99))
"""Domain of (q, s1, s2) of these engines: where none of them extrapolates."""


class DirectEngine(ABC):
    """One waveform at a time, from ``generate``; answers the ``Engine`` protocol.

    Args:
        times: increasing times in M, float64 (T,).
        phase_zero: time in M at which the phase is 0, at most ``times[0]``, the default.

    Raises:
        ParameterError: ``times`` do not increase, or begin before ``phase_zero``.
        MissingDependencyError: the library is not installed.
    """

    name: str
    checksum: str

    def __init__(self, times: np.ndarray, *, phase_zero: float | None = None) -> None:
        self.times = np.ascontiguousarray(times, dtype=np.float64)
        first = float(self.times[0]) if phase_zero is None else phase_zero
        if not (np.diff(self.times) > 0).all() or first > self.times[0]:
            raise ParameterError(
                f"times from {self.times[0]:g} M with phase 0 at {first:g} M: need increasing "
                f"times, the phase 0 not after their first"
            )
        self.bounds = np.array(BOUNDS)
        self._first = first

    @abstractmethod
    def generate(
        self, q: float, s1: float, s2: float, omega: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Times in M (n,), finer than 0.5 M, and h22 = A exp(-i phi) in r h / M, complex (n,).

        The merger may be at any time. ``omega`` is the orbital frequency M omega to start from.

        Raises:
            ParameterError: the library has no such waveform.
        """

    def h22_double(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Complex128 h22, shape (B, T), for rows (q, s1, s2).

        Raises:
            ParameterError: a row outside ``bounds``, or a waveform that begins after ``times``.
        """
        rows = check_rows(np.asarray(parameters), self.bounds, self.name)
        out = np.empty((len(rows), self.times.size), dtype=np.complex128)
        for target, row in zip(out, rows.tolist(), strict=True):
            target[:] = self._evaluate(*row)
        return torch.from_numpy(out)

    def h22(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Complex64 h22, shape (B, T), for rows (q, s1, s2)."""
        return self.h22_double(parameters).to(torch.complex64)

    def _evaluate(self, q: float, s1: float, s2: float) -> np.ndarray:
        duration = max(SHORTEST, -MARGIN * self._first)
        t, h = self.generate(q, s1, s2, starting_frequency(q, s1, s2, duration))
        t = t - peak_time(t, h)
        wanted = f"[{self._first:g}, {self.times[-1]:g}] M"
        where = f"{self.name} at (q, s1, s2) = ({q:g}, {s1:g}, {s2:g})"
        if t[0] > self._first:
            raise ParameterError(
                f"{where}: begins at {t[0]:.0f} M, not before {wanted}; ask for later times"
            )
        if t[-1] < self.times[-1] and np.abs(h[-1]) > QUIET * np.abs(h).max():
            raise ParameterError(
                f"{where}: ends at {t[-1]:.0f} M, before its ringdown is over; {wanted} is wanted"
            )
        near = (t >= self._first - ROOM) & (t <= self.times[-1] + ROOM)
        curve = CubicSpline(t[near], h[near])
        inside = self.times <= t[-1]
        found = np.zeros(self.times.size, dtype=np.complex128)  # zeros where the ringdown is over
        found[inside] = curve(self.times[inside])
        return np.asarray(found * np.exp(-1j * np.angle(curve(self._first))))
