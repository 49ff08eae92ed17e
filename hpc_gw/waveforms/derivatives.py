"""A surrogate's amplitude and phase with their derivatives, at times that each row may shift.

Everything is linear in the fits at the nodes: the derivatives by (q, s1, s2) are those of the
fits, in closed form, through the same time vectors; the derivative by time is that of the
vectors. A shift tau per row is rounded to whole M, for which the vectors are splined once, and
the rest of it enters by the Taylor series that a cubic spline has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hpc_gw.manifold.physics import eta
from hpc_gw.waveforms.fits import FitBank
from hpc_gw.waveforms.surrogate import (
    _fit_variables,
    _newtonian,
    check_rows,
    check_times,
    spline_curves,
)
from hpc_gw.waveforms.surrogate_file import SurrogateData

_ORDERS = 4  # of the Taylor series in time: 0 ... 3, all that a cubic spline has
_CHUNK = 32  # rows whose kernels fit a core's cache


class Tangents(NamedTuple):
    """h22 = A exp(-i phi) of B rows at T times, and its derivatives; float64."""

    amplitude: Tensor
    """A(t + tau), (B, T)."""

    phase: Tensor
    """phi(t + tau) [rad], (B, T)."""

    d_amplitude: Tensor
    """Derivatives of A by (q, s1, s2, tau), (B, 4, T)."""

    d_phase: Tensor
    """Derivatives of phi by (q, s1, s2, tau), (B, 4, T)."""


class SurrogateTangents:
    """Evaluates a surrogate and its derivatives at few times, on one CPU core or more.

    Args:
        data: the surrogate, from ``read_surrogate``.
        times: increasing times in M inside the surrogate's domain, float64 (T,).
        phase_zero: time at which the phase of an unshifted waveform is 0, at most ``times[0]``,
            the default.

    Raises:
        ParameterError: times outside the surrogate's domain.
    """

    def __init__(
        self, data: SurrogateData, times: np.ndarray, *, phase_zero: float | None = None
    ) -> None:
        self.times = np.ascontiguousarray(times, dtype=np.float64)
        self.bounds = np.asarray(data.bounds, dtype=np.float64)
        self._name = data.label
        zero = float(self.times[0]) if phase_zero is None else phase_zero
        check_times(self.times, zero, data.domain)
        self._ends = float(data.domain[0]), float(data.domain[-1])
        self._phase_curve, self._amplitude_curve = spline_curves(data, zero)
        self._phase_zero = self._phase_curve(np.array([zero]))  # (1, n + 1)
        self._phase_fit = FitBank(data.phase, torch.device("cpu"))
        self._amplitude_fit = FitBank(data.amplitude, torch.device("cpu"))
        self._bases: dict[int, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def __call__(self, parameters: np.ndarray | Tensor, shift: Tensor | None = None) -> Tangents:
        """A and phi at ``times`` + ``shift``, with derivatives by (q, s1, s2) and the shift.

        Times that a shift carries out of the surrogate's domain count as its end.

        Args:
            parameters: rows (q, s1, s2), (B, 3).
            shift: tau [M], (B,); 0 if not given.

        Raises:
            ParameterError: a row outside the physical domain or this surrogate's bounds.
        """
        rows = torch.from_numpy(check_rows(np.asarray(parameters), self.bounds, self._name))
        tau = torch.zeros(len(rows), dtype=torch.float64) if shift is None else shift.double()
        phase, amplitude = self._nodes(rows)
        whole = torch.round(tau)
        phases, amplitudes = (
            torch.empty(len(rows), 5, self.times.size, dtype=torch.float64) for _ in range(2)
        )
        for step in torch.unique(whole).tolist():
            rest = (tau - step)[members := torch.nonzero(whole == step)[:, 0]]
            phase_basis, amplitude_basis = self._basis(int(step))
            phases[members] = _carried(phase[members], rest, phase_basis)
            amplitudes[members] = _carried(amplitude[members], rest, amplitude_basis)
        return Tangents(amplitudes[:, 0], phases[:, 0], amplitudes[:, 1:], phases[:, 1:])

    def _nodes(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Phase (B, 4, n + 1) and amplitude (B, 4, n) at the nodes, with d/dq, d/ds1, d/ds2."""
        phases, amplitudes = [], []
        for chunk in torch.split(rows, _CHUNK):
            variables, jacobian = _fit_variables(chunk), fit_jacobian(chunk)
            newtonian, slope = _newtonian(chunk), _newtonian_slope(chunk)
            phase = _stacked(*self._phase_fit.value_and_gradient(variables), jacobian)
            leading = torch.cat([newtonian, slope, torch.zeros(len(chunk), 2)], dim=1)  # (B, 4)
            phases.append(torch.cat([phase, leading[:, :, None]], dim=2))
            amplitudes.append(
                _stacked(*self._amplitude_fit.value_and_gradient(variables), jacobian)
            )
        return torch.cat(phases), torch.cat(amplitudes)

    def _basis(self, step: int) -> tuple[Tensor, Tensor]:
        """Vectors of phase and amplitude at ``times`` + ``step``: orders 0 ... 3, (4 n, T)."""
        if step not in self._bases:
            at = np.clip(self.times + step, *self._ends)
            phase, amplitude = (
                np.stack([curve(at, order) for order in range(_ORDERS)])  # (4, T, n)
                for curve in (self._phase_curve, self._amplitude_curve)
            )
            phase[0] -= self._phase_zero
            self._bases[step] = _rows(phase), _rows(amplitude)
        return self._bases[step]


def fit_jacobian(rows: Tensor) -> Tensor:
    """Derivatives of the fits' variables (ln q, chi_hat, chi_a) by (q, s1, s2), (B, 3, 3)."""
    q, s1, s2 = rows.unbind(-1)
    nu, nu_slope = eta(q), (1 - q) / (1 + q) ** 3
    weighted = (q * s1 + s2) / (1 + q)
    above, below = weighted - 38 * nu / 113 * (s1 + s2), 1 - 76 * nu / 113
    above_slope = (s1 - s2) / (1 + q) ** 2 - 38 * nu_slope / 113 * (s1 + s2)
    zero, half = torch.zeros_like(q), torch.full_like(q, 0.5)
    chi_hat = [
        above_slope / below + above * 76 * nu_slope / 113 / below**2,
        (q / (1 + q) - 38 * nu / 113) / below,
        (1 / (1 + q) - 38 * nu / 113) / below,
    ]
    flat = [1 / q, zero, zero, *chi_hat, zero, half, -half]
    return torch.stack(flat, dim=-1).view(-1, 3, 3)


def _newtonian_slope(rows: Tensor) -> Tensor:
    """d/dq of eta^(-3/8), (B, 1)."""
    q = rows[:, :1]
    return torch.pow(eta(q), -1.375) * (-0.375 * (1 - q) / (1 + q) ** 3)


def _stacked(value: Tensor, gradient: Tensor, jacobian: Tensor) -> Tensor:
    """Values (B, n) and gradients (B, n, 3) by the fits' variables -> (B, 1 + 3, n)."""
    by_parameters = torch.bmm(gradient, jacobian).transpose(1, 2)  # (B, 3, n)
    return torch.cat([value[:, None], by_parameters], dim=1)


def _carried(nodes: Tensor, rest: Tensor, basis: Tensor) -> Tensor:
    """Nodes (B, 1 + 3, n), the rest of tau (B,) -> value, 3 derivatives, d/dtau: (B, 5, T)."""
    one, zero = torch.ones_like(rest), torch.zeros_like(rest)
    series = torch.stack([one, rest, rest**2 / 2, rest**3 / 6], dim=1)  # (B, 4)
    slope = torch.stack([zero, one, rest, rest**2 / 2], dim=1)
    values = nodes[:, :, None, :] * series[:, None, :, None]  # (B, 1 + 3, 4, n)
    rates = nodes[:, :1, None, :] * slope[:, None, :, None]  # (B, 1, 4, n)
    return torch.cat([values, rates], dim=1).flatten(2) @ basis


def _rows(vectors: np.ndarray) -> Tensor:
    """(4, T, n) -> contiguous (4 n, T)."""
    orders, times, n = vectors.shape
    flat = vectors.transpose(0, 2, 1).reshape(orders * n, times)
    return torch.from_numpy(np.ascontiguousarray(flat))
