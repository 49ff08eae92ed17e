"""The batched evaluator of surrogates in NRHybSur3dq8's form (h22 only), on CPU or CUDA.

A surrogate gives phase and amplitude of h22 = A exp(-i phi) at a few nodes in time, each a
Gaussian-process fit over (q, s1, s2); empirical-interpolation vectors carry the nodes to the
sparse time domain, and a natural cubic spline carries those to the wanted times. Both steps
are linear in the data, so they are done once for the vectors; a batch of waveforms is then
``nodes @ basis``, a sine and a cosine.

On the paper's grid even that is mostly wasted: h22 is oversampled 30-fold during the inspiral.
There the fast path evaluates every ``COARSE``-th sample and interpolates the rest
(8-point Lagrange, one matrix product straight into the output).

References:
    Varma et al., arXiv:1812.07865, sections IV-VI (form of the model, eq. 43 the phase
    that is added back); gwsurrogate 1.2.0 for the conventions at the ends of the spline.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from hpc_gw.errors import ParameterError
from hpc_gw.manifold.physics import check_parameters, eta
from hpc_gw.waveforms.surrogate_file import DataPiece, SurrogateData
from hpc_gw.waveforms.upsampling import TwoLevelGrid

CHUNK = 16
"""Waveforms evaluated together: enough to feed the matrix products, few enough for the cache."""

SPLINE_LEAD = 6
"""Sparse samples that the spline takes before the first wanted time, as gwsurrogate does."""


class SurrogateEngine:
    """Evaluates a surrogate on one time grid; answers the ``Engine`` protocol.

    Args:
        data: the surrogate, from ``read_surrogate``.
        times: increasing times in M inside the surrogate's domain, float64 (T,).
        device: where the arithmetic happens and the result lies.
        phase_zero: time in M at which the phase is 0, at most ``times[0]``, the default. With
            the whole grid's first time, an engine on the last samples of that grid alone gives
            what an engine on the whole grid gives there.

    Raises:
        ParameterError: times outside the surrogate's domain.
    """

    def __init__(
        self,
        data: SurrogateData,
        times: np.ndarray,
        device: str | torch.device = "cpu",
        *,
        phase_zero: float | None = None,
    ) -> None:
        self.times = np.ascontiguousarray(times, dtype=np.float64)
        self.name = data.label
        self.checksum = data.checksum
        self.bounds = np.asarray(data.bounds, dtype=np.float64)
        self.device = torch.device(device)
        first = float(self.times[0]) if phase_zero is None else phase_zero
        check_times(self.times, first, data.domain)
        self._phase_fit = _FitBank(data.phase, self.device)
        self._amplitude_fit = _FitBank(data.amplitude, self.device)
        self._dense = _Basis(data, self.times, first, self.device)
        self._grid = TwoLevelGrid.for_times(self.times)
        self._coarse = (
            _Basis(data, self._grid.coarse_times, first, self.device)
            if self._grid is not None
            else None
        )

    def h22(self, parameters: np.ndarray | Tensor, out: Tensor | None = None) -> Tensor:
        """Complex64 h22, shape (B, T), for rows (q, s1, s2), on ``device``; no gradients.

        ``out``, a contiguous tensor of that shape, is written and returned where it is given:
        on a CPU, fresh memory costs as much time as the waveforms.

        Agrees with ``h22_double`` to 1e-6 (measured: 2e-7); phases are reduced modulo one
        cycle in float64 before the sine and cosine are taken in float32.

        Raises:
            ParameterError: a row outside the physical domain or this surrogate's bounds.
        """
        with torch.no_grad():
            rows = self._checked(parameters)
            shape = (len(rows), self.times.size)
            if out is None:
                out = torch.empty(shape, dtype=torch.complex64, device=self.device)
            elif tuple(out.shape) != shape or not out.is_contiguous():
                raise ValueError(f"out has shape {tuple(out.shape)}, needs {shape}, contiguous")
            first = 0
            for chunk, count in _chunks(rows):
                self._fast(chunk, out[first : first + count])
                first += count
            return out

    def h22_double(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Complex128 h22 (B, T), evaluated at every sample; differentiable in ``parameters``."""
        parts = []
        for rows, count in _chunks(self._checked(parameters)):
            amplitude, phase = self._nodes_to_times(self._dense, rows)
            parts.append(torch.polar(amplitude[:count], -phase[:count]))
        return torch.cat(parts)

    def amplitude_phase(self, parameters: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
        """Amplitude and phase [rad], float64 (B, T) each; differentiable in ``parameters``."""
        rows = self._checked(parameters)
        return self._nodes_to_times(self._dense, rows)

    def phase(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Phase [rad] alone, float64 (B, T); differentiable in ``parameters``."""
        return self._phase(self._dense, self._checked(parameters))

    def _nodes_to_times(self, basis: _Basis, rows: Tensor) -> tuple[Tensor, Tensor]:
        amplitude = self._amplitude_fit(_fit_variables(rows)) @ basis.amplitude
        return amplitude, self._phase(basis, rows)

    def _phase(self, basis: _Basis, rows: Tensor) -> Tensor:
        newtonian = eta(rows[:, :1]) ** -0.375  # (B, 1)
        nodes = torch.cat([self._phase_fit(_fit_variables(rows)), newtonian], dim=1)  # (B, n + 1)
        return nodes @ basis.phase

    def _fast(self, rows: Tensor, out: Tensor) -> None:
        """Write h22 of the first of ``CHUNK`` rows into ``out``, complex64 (b, T)."""
        basis = self._dense if self._coarse is None else self._coarse
        amplitude, phase = (x[: len(out)] for x in self._nodes_to_times(basis, rows))
        phase.mul_(-0.5 / np.pi)
        phase.sub_(torch.round(phase))  # cycles in [-1/2, 1/2]
        values = torch.polar(amplitude.float(), phase.float().mul_(2 * np.pi))
        if self._grid is None:
            out.copy_(values)
        else:
            self._grid.upsample(values, out)

    def _checked(self, parameters: np.ndarray | Tensor) -> Tensor:
        if isinstance(parameters, Tensor):
            check_rows(parameters.detach().cpu().numpy(), self.bounds, self.name)
            return parameters.to(self.device, torch.float64)
        rows = check_rows(parameters, self.bounds, self.name)
        return torch.from_numpy(rows).to(self.device)


def _chunks(rows: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Pieces of exactly ``CHUNK`` rows, and how many of them are wanted.

    A matrix product may round differently for other row counts, and a waveform must not depend
    on the batch that it is asked for in: the last piece repeats its last row.
    """
    for first in range(0, len(rows), CHUNK):
        piece = rows[first : first + CHUNK]
        count = len(piece)
        if count < CHUNK:
            piece = torch.cat([piece, piece[-1:].expand(CHUNK - count, 3)])
        yield piece, count


def check_rows(parameters: np.ndarray, bounds: np.ndarray, name: str) -> np.ndarray:
    """Rows (B, 3) as float64 if physical and inside ``bounds`` (3, 2), else ParameterError."""
    rows = check_parameters(parameters)
    outside = (rows < bounds[:, 0] - 1e-9) | (rows > bounds[:, 1] + 1e-9)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        low, high = bounds[column]
        label = ("q", "s1", "s2")[column]
        raise ParameterError(
            f"{label} = {rows[row, column]:g}: {name} covers {label} in [{low:g}, {high:g}]"
        )
    return rows


class _FitBank:
    """All Gaussian-process fits of a data piece, evaluated together: (B, 3) -> (B, n)."""

    def __init__(self, piece: DataPiece, device: torch.device) -> None:
        def tensor(values: object) -> Tensor:
            return torch.as_tensor(np.array(values), dtype=torch.float64, device=device)

        # Fits on the same training points share the squared differences, whatever their kernels.
        groups: dict[bytes, list[int]] = {}
        for j, fit in enumerate(piece.fits):
            groups.setdefault(np.asarray(fit.x_train).tobytes(), []).append(j)
        order = [j for members in groups.values() for j in members]
        self._restore = tensor(np.argsort(order)).long() if order != sorted(order) else None
        self._groups = []
        for members in groups.values():
            fits = [piece.fits[j] for j in members]
            inverse = tensor([-0.5 / np.asarray(f.length_scale) ** 2 for f in fits])  # (k, 3)
            weights = tensor(
                [f.data_std * f.y_std * f.constant * np.asarray(f.alpha) for f in fits]
            )  # (k, n_train)
            self._groups.append((tensor(fits[0].x_train), inverse.T.contiguous(), weights.T))
        ordered = [piece.fits[j] for j in order]
        self._slope = tensor([f.coef for f in ordered]).T.contiguous()  # (3, n)
        self._offset = tensor([f.intercept + f.data_mean + f.data_std * f.y_mean for f in ordered])

    def __call__(self, mapped: Tensor) -> Tensor:
        parts = []
        for points, inverse, weights in self._groups:
            # By the direct difference: the expanded square loses half the digits.
            square = (mapped[:, None, :] - points).square()  # (B, n_train, 3)
            kernel = torch.exp(square.flatten(0, 1) @ inverse).view(*square.shape[:2], -1)
            parts.append((kernel * weights).sum(1))  # (B, n_train, k) -> (B, k)
        nodes = torch.cat(parts, dim=1) + mapped @ self._slope + self._offset
        return nodes if self._restore is None else nodes[:, self._restore]


class _Basis:
    """Phase and amplitude vectors on a set of times, with phi = 0 at ``zero``."""

    def __init__(
        self, data: SurrogateData, times: np.ndarray, zero: float, device: torch.device
    ) -> None:
        newtonian = -2.0 * ((data.t_ref - data.domain) / 5.0) ** 0.625
        newtonian -= newtonian[data.align_index]
        phase = np.vstack([data.phase.ei_basis, newtonian])
        start = max(int(np.searchsorted(data.domain, zero, side="right")) - SPLINE_LEAD, 0)

        def spline(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
            curve = CubicSpline(data.domain[start:], rows[:, start:].T, bc_type="natural")
            return np.ascontiguousarray(curve(at).T)

        phase_at = spline(phase, times) - spline(phase, np.array([zero]))
        self.phase = torch.from_numpy(phase_at).to(device)
        self.amplitude = torch.from_numpy(spline(data.amplitude.ei_basis, times)).to(device)


def _fit_variables(rows: Tensor) -> Tensor:
    """(q, s1, s2) -> (ln q, chi_hat, chi_a), the variables of the fits (arXiv:1812.07865, IV)."""
    q, s1, s2 = rows.unbind(-1)
    nu = eta(q)
    weighted = (q * s1 + s2) / (1 + q)
    chi_hat = (weighted - 38 * nu / 113 * (s1 + s2)) / (1 - 76 * nu / 113)
    return torch.stack([torch.log(q), chi_hat, (s1 - s2) / 2], dim=-1)


def check_times(times: np.ndarray, first: float, domain: np.ndarray) -> None:
    """ParameterError unless ``times`` increase, and they and ``first`` lie in ``domain``."""
    if times.ndim != 1 or times.size < 2 or not (np.diff(times) > 0).all():
        raise ParameterError("times: need at least two increasing values in M")
    if not domain[0] <= first <= times[0] or times[-1] > domain[-1]:
        raise ParameterError(
            f"times [{first:g}, {times[-1]:g}] M: this surrogate covers "
            f"[{domain[0]:g}, {domain[-1]:g}] M"
        )
