"""Overlaps of waveforms that nearly match, from few nodes in time, with derivatives.

Waveforms that nearly match differ by smooth amplitudes and phases, whatever the number of their
cycles, so two hundred Gauss nodes that are dense near the merger give their overlap as the
paper's 101,300 samples do: to 2e-6 for O > 0.9, to 1e-8 for O > 0.99 (measured).

The overlap is that of ``overlap``: sums over the whole grid, waveforms zero outside of it, so a
time shift costs what leaves the grid at its start: 3e-5 for 1 M, linear in its size. It is
taken at the shift that is given, here the outcome of a fit, not a search over all lags.

Reference: the derivatives of 1 - O are those of a least-squares fit whose amplitude and phase
are solved for, its Hessian Kaufman's (BIT 15, 49, 1975).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from hpc_gw.constants import DT, T_MAX, T_MIN
from hpc_gw.errors import ParameterError
from hpc_gw.waveforms.derivatives import SurrogateTangents, Tangents
from hpc_gw.waveforms.surrogate_file import SurrogateData

_NODES = (160, 48)  # before and after the peak
_SOFTENING = 30.0  # of the chirp's phase near the peak, as TimeGrid's [M]


class Target(NamedTuple):
    """Waveforms A exp(-i phi) to fit, at a ``Quadrature``'s times; float64 (B, T) each."""

    amplitude: Tensor
    phase: Tensor  # unwrapped [rad]


class Comparison(NamedTuple):
    """A cost of B waveforms at (q, s1, s2, tau), to second order: m + g d + d G d / 2."""

    overlap: Tensor  # O, (B,)
    cost: Tensor  # (B,)
    gradient: Tensor  # (B, 4)
    hessian: Tensor  # (B, 4, 4), Gauss-Newton: never negative
    phase: Tensor  # phi_c [rad], (B,): target ~ model(t + tau) exp(-i phi_c)


class Quadrature:
    """Overlaps of a surrogate's waveforms by few nodes, and their derivatives.

    Args:
        data: the surrogate.
        t_min, t_max, dt: the uniform grid whose overlap is meant [M]; t_max exclusive. Its sum is
            the midpoint rule of the integral from half a step before its first sample to half
            a step after its last.
    """

    def __init__(
        self, data: SurrogateData, t_min: float = T_MIN, t_max: float = T_MAX, dt: float = DT
    ) -> None:
        first = max(t_min - dt / 2, float(data.domain[0]))
        nodes, weights = _gauss_chirp(first, t_max - dt / 2)
        self.times = np.concatenate([[first], nodes])  # the edge has no weight: see compare
        self.tangents = SurrogateTangents(data, self.times)
        self.bounds = self.tangents.bounds
        self._weights = torch.from_numpy(np.concatenate([[0.0], weights]))

    def target(self, parameters: np.ndarray) -> Target:
        """The surrogate's own waveforms at rows (q, s1, s2), (B, 3)."""
        found = self.tangents(parameters)
        return Target(found.amplitude, found.phase)

    def target_of(self, times: np.ndarray, h22: np.ndarray) -> Target:
        """One given waveform A exp(-i phi), complex (N,) at increasing times [M].

        Its |h22| should peak at t = 0: a shift that the fit must find costs overlap.

        Raises:
            ParameterError: the samples are not finite or do not reach the ends of the grid.
        """
        if times.shape != h22.shape or times.ndim != 1 or not np.isfinite(h22).all():
            raise ParameterError(f"waveform {h22.shape} at times {times.shape}: need finite (N,)")
        step = np.diff(times).max()
        if times[0] - step > self.times[0] or times[-1] + step < self.times[-1]:
            raise ParameterError(
                f"waveform over [{times[0]:g}, {times[-1]:g}] M: the fit needs "
                f"[{self.times[0]:g}, {self.times[-1]:g}] M"
            )
        columns = np.stack([np.abs(h22), -np.unwrap(np.angle(h22))], axis=1)
        amplitude, phase = torch.from_numpy(CubicSpline(times, columns)(self.times).T)
        return Target(amplitude[None].clamp(min=0), phase[None])

    def compare(self, target: Target, point: Tensor, *, unwrapped: bool = False) -> Comparison:
        """Target against model at (q, s1, s2, tau), (B, 4), model(t + tau) being compared.

        The cost is 1 - O, or with ``unwrapped`` the weighted square of the differences of phase
        and amplitude, which is the same to second order. What a shift carries over the start of
        the grid counts in both the overlap and the cost, not in the derivatives; what it carries
        over the end is ringdown, and neglected.
        """
        model = self.tangents(point[:, :3], point[:, 3])
        overlap, c = self._overlap(target, model, point[:, 3])
        residual = _unwrapped if unwrapped else _projected
        cost, gradient, hessian = residual(target, model, self._weights)
        if not unwrapped:
            cost = 1 - overlap
        return Comparison(overlap, cost, gradient, hessian, c.angle())

    def _overlap(self, target: Target, model: Tangents, tau: Tensor) -> tuple[Tensor, Tensor]:
        """O and the correlation <target, model>, (B,) each."""
        product = torch.polar(target.amplitude * model.amplitude, target.phase - model.phase)
        # The model's norm is that of the unshifted grid; before its first sample it is zero.
        early = tau * model.amplitude[:, 0] ** 2
        norm = (model.amplitude**2 @ self._weights + early) * (target.amplitude**2 @ self._weights)
        c = product @ self._weights.to(product.dtype) - (-tau).clamp(min=0) * product[:, 0]
        return (c.abs() / norm.sqrt()).clamp(max=1.0), c


def _projected(target: Target, model: Tangents, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(1 - O^2) / 2, with gradient and Gauss-Newton Hessian of 1 - O."""
    root = w.sqrt()
    given = torch.polar(target.amplitude, model.phase - target.phase)  # in the model's phase
    power = model.amplitude**2 @ w
    scale = (given * model.amplitude) @ w.to(given.dtype) / power  # amplitude and phi_c
    norm = target.amplitude**2 @ w
    rest = (given - scale[:, None] * model.amplitude) * root * scale.conj()[:, None]
    real, imaginary = _columns(model, model.amplitude, root)
    slope = _times(real, rest.real) + _times(imaginary, rest.imag)
    normal = real @ real.mT + imaginary @ imaginary.mT
    overlap = (scale.abs() * (power / norm).sqrt()).clamp(min=1e-6)
    unit = 1 / (norm * overlap)
    size = scale.abs() ** 2 * unit
    cost = (1 - overlap**2) / 2
    return cost, -slope * unit[:, None], normal * size[:, None, None]


def _unwrapped(target: Target, model: Tangents, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Half the weighted squares of the differences, with gradient and Gauss-Newton Hessian."""
    root = w.sqrt()
    norm = target.amplitude**2 @ w
    scale = (target.amplitude * model.amplitude) @ w / (model.amplitude**2 @ w)
    louder = root * (scale[:, None] * model.amplitude - target.amplitude)
    later = model.phase - target.phase
    later = later - ((later * target.amplitude**2) @ w / norm)[:, None]
    later = -root * target.amplitude * later
    real, imaginary = _columns(model, target.amplitude, root)
    real = real * scale[:, None, None]
    slope = _times(real, louder) + _times(imaginary, later)
    normal = real @ real.mT + imaginary @ imaginary.mT
    cost = (louder.square().sum(1) + later.square().sum(1)) / (2 * norm)
    return cost, slope / norm[:, None], normal / norm[:, None, None]


def _columns(model: Tangents, loudness: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives (B, 4, T) of A and of -phi * loudness, free of a scale and a constant phase."""
    weighted = root * model.amplitude  # (B, T)
    real = root * model.d_amplitude
    real = real - _share(real, weighted)[:, :, None] * weighted[:, None]
    weighted = root * loudness
    imaginary = -weighted[:, None] * model.d_phase
    return real, imaginary - _share(imaginary, weighted)[:, :, None] * weighted[:, None]


def _share(columns: Tensor, along: Tensor) -> Tensor:
    return _times(columns, along) / along.square().sum(1, keepdim=True)


def _times(columns: Tensor, values: Tensor) -> Tensor:
    """(B, 4, T), (B, T) -> (B, 4)."""
    return torch.bmm(columns, values[:, :, None])[:, :, 0]


def _gauss_chirp(first: float, last: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights in time, of the phase of a leading-order chirp."""
    before, before_weights = np.polynomial.legendre.leggauss(_NODES[0])
    after, after_weights = np.polynomial.legendre.leggauss(_NODES[1])
    early, peak = -((_SOFTENING - first) ** 0.625), -(_SOFTENING**0.625)
    w = early + (peak - early) * (before + 1) / 2
    times = [_SOFTENING - (-w) ** 1.6, last * (after + 1) / 2]
    weights = [1.6 * (-w) ** 0.6 * (peak - early) / 2 * before_weights, last / 2 * after_weights]
    return np.concatenate(times), np.concatenate(weights)
