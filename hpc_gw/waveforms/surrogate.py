"""The batched evaluator of surrogates in NRHybSur3dq8's form (h22 only), on CPU or CUDA.

A surrogate gives phase and amplitude of h22 = A exp(-i phi) at a few nodes in time, each a
Gaussian-process fit over (q, s1, s2); empirical-interpolation vectors carry the nodes to the
sparse time domain, and a natural cubic spline carries those to the wanted times. Both steps
are linear in the data, so they are done once for the vectors; a batch of waveforms is then
``nodes @ basis``, a sine and a cosine.

On the paper's grid even that is mostly wasted: h22 is oversampled 30-fold during the inspiral.
There the fast path evaluates few points and interpolates the rest (``upsampling``). Its fits are
Chebyshev series in place of sums of kernels (``series``); double precision keeps the kernels.

References:
    Varma et al., arXiv:1812.07865, sections IV-VI (form of the model, eq. 43 the phase
    that is added back); gwsurrogate 1.2.0 for the conventions at the ends of the spline.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from hpc_gw.errors import ParameterError
from hpc_gw.manifold.physics import check_parameters, eta
from hpc_gw.waveforms.fits import FitBank
from hpc_gw.waveforms.series import FitSeries, fit_terms
from hpc_gw.waveforms.surrogate_file import SurrogateData
from hpc_gw.waveforms.upsampling import MultirateGrid

CHUNK, CHUNK_GPU = 16, 256
"""Waveforms evaluated together: enough to feed the matrix products, few enough for the cache, or
on a GPU so many that starting its kernels does not count."""

TILE = 256
"""Times of the fast path in one matrix product: a product's last bits may hang on its size."""

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
            what an engine on the whole grid gives there; ``h22`` and ``h22_real`` bit for bit
            on a CPU.

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
        self._chunk = CHUNK if self.device.type == "cpu" else CHUNK_GPU
        first = float(self.times[0]) if phase_zero is None else phase_zero
        check_times(self.times, first, data.domain)
        self._phase_fit = FitBank(data.phase, self.device)
        self._amplitude_fit = FitBank(data.amplitude, self.device)
        terms = fit_terms(data)
        self._series = None if terms is None else FitSeries(terms, self.device)
        self._basis = _Basis(data, self.times, first, self.device)
        self.grid = MultirateGrid.for_times(self.times, first)
        coarse = _Basis(data, self.grid.coarse_times, first, self.device)
        self._cycles = _tiles(coarse.phase * (-0.5 / math.pi))  # (tiles, n + 1, TILE)
        self._amplitude = _tiles(coarse.amplitude).float()  # (tiles, n, TILE)

    def h22(self, parameters: np.ndarray | Tensor, out: Tensor | None = None) -> Tensor:
        """Complex64 h22, shape (B, T), for rows (q, s1, s2), on ``device``; no gradients.

        ``out``, a contiguous tensor of that shape, is written and returned where it is given:
        on a CPU, fresh memory costs as much time as the waveforms.

        Agrees with ``h22_double`` to 1e-6 (measured: 2e-7); phases are reduced modulo one
        cycle in float64 before the sine and cosine are taken in float32.

        Raises:
            ParameterError: a row outside the physical domain or this surrogate's bounds.
            ValueError: ``out`` of another shape or type.
        """
        nodes = self.nodes(parameters)
        out = self._output(len(nodes[0]), torch.complex64, out)
        for wanted, amplitude, angle in self.coarse(nodes):
            real = self.grid.upsample(amplitude * torch.cos(angle))
            imaginary = self.grid.upsample(amplitude * torch.sin(angle))
            for (place, x), (_, y) in zip(real, imaginary, strict=True):
                target = out[wanted, place]
                torch.complex(x[: len(target)], y[: len(target)], out=target)
        return out

    def h22_real(self, parameters: np.ndarray | Tensor, out: Tensor | None = None) -> Tensor:
        """Float32 Re h22, shape (B, T): ``h22(parameters).real`` bit for bit, but faster.

        The imaginary part is never made. ``out`` and what is raised are as in ``h22``.
        """
        nodes = self.nodes(parameters)
        out = self._output(len(nodes[0]), torch.float32, out)
        for wanted, amplitude, angle in self.coarse(nodes):
            for place, x in self.grid.upsample(amplitude * torch.cos(angle)):
                target = out[wanted, place]
                target.copy_(x[: len(target)])
        return out

    def h22_double(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Complex128 h22 (B, T), evaluated at every sample; differentiable in ``parameters``."""
        rows = self._checked(parameters)
        parts = []
        for chunk in torch.split(_padded(rows, self._chunk), self._chunk):
            amplitude, phase = self._nodes_to_times(self._basis, chunk)
            parts.append(torch.polar(amplitude, -phase))
        return torch.cat(parts)[: len(rows)]

    @torch.no_grad()
    def h22_real_double(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Float64 Re h22 (B, T), evaluated at every sample: ``h22_double`` without Im h22."""
        rows = self._checked(parameters)
        out = self._output(len(rows), torch.float64, None)
        chunks = torch.split(_padded(rows, self._chunk), self._chunk)
        for target, chunk in zip(torch.split(out, self._chunk), chunks, strict=True):
            amplitude, phase = self._nodes_to_times(self._basis, chunk)
            torch.mul(amplitude[: len(target)], phase[: len(target)].cos_(), out=target)
        return out

    def amplitude_phase(self, parameters: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
        """Amplitude and phase [rad], float64 (B, T) each; differentiable in ``parameters``."""
        rows = self._checked(parameters)
        return self._nodes_to_times(self._basis, rows)

    @torch.no_grad()
    def fast_amplitude_phase(self, parameters: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
        """``amplitude_phase`` by the fast path's fits: within 1e-6 of it, without gradients.

        Only for few times: at 96, a third of its time.
        """
        phase, amplitude = self.nodes(parameters)
        return amplitude.double() @ self._basis.amplitude, phase @ self._basis.phase

    def phase(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Phase [rad] alone, float64 (B, T); differentiable in ``parameters``."""
        return self._phase(self._basis, self._checked(parameters))

    def _nodes_to_times(self, basis: _Basis, rows: Tensor) -> tuple[Tensor, Tensor]:
        amplitude = self._amplitude_fit(_fit_variables(rows)) @ basis.amplitude
        return amplitude, self._phase(basis, rows)

    def _phase(self, basis: _Basis, rows: Tensor) -> Tensor:
        return self._phase_nodes(_fit_variables(rows), _newtonian(rows)) @ basis.phase

    def _phase_nodes(self, mapped: Tensor, newtonian: Tensor) -> Tensor:
        return torch.cat([self._phase_fit(mapped), newtonian], dim=1)  # (B, n + 1)

    @torch.no_grad()
    def coarse(self, nodes: tuple[Tensor, Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """A and -phi of h22 at the grid's ``coarse_times``, ``CHUNK`` of the rows at a time.

        Yields which rows they are (the last ones may be missing) and both as float32 (CHUNK,
        tiles * TILE), the times in the last columns, -phi in [-pi, pi].
        """
        tiles, size = len(self._cycles), self._chunk
        if not len(nodes[0]):
            return
        parts = (torch.split(_padded(part, size), size) for part in nodes)
        for i, (phase, amplitude) in enumerate(zip(*parts, strict=True)):
            cycles = torch.bmm(phase.expand(tiles, -1, -1), self._cycles)  # (tiles, CHUNK, TILE)
            cycles -= torch.round(cycles)
            line = _line(torch.bmm(amplitude.expand(tiles, -1, -1), self._amplitude))
            yield slice(i * size, (i + 1) * size), line, _line(cycles.mul_(2 * math.pi))

    @torch.no_grad()
    def nodes(self, parameters: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
        """What the fast path's fits give, whatever the times: phase (B, n + 1), amplitude (B, m).

        The phase in float64, with the leading order's factor last; the amplitude in float32. By
        series where there are any: a third of the kernels' time.
        """
        rows = self._checked(parameters)
        count, sizes = len(self._cycles[0]) - 1, len(self._amplitude[0])
        if not len(rows):
            return rows.new_empty(0, count + 1), rows.new_empty(0, sizes).float()
        padded = _padded(rows, self._chunk)
        variables = _fit_variables(padded)
        if self._series is None:
            pieces = torch.split(variables, self._chunk)
            both = [torch.cat((self._phase_fit(x), self._amplitude_fit(x)), 1) for x in pieces]
        else:
            both = [self._series(x) for x in self._series.polynomials(variables, self._chunk)]
        phase, amplitude = torch.cat(both).tensor_split([count], dim=1)
        phase = torch.cat((phase, _newtonian(padded)), dim=1)
        return phase[: len(rows)], amplitude[: len(rows)].float()

    def _output(self, rows: int, dtype: torch.dtype, out: Tensor | None) -> Tensor:
        """``out`` if it fits, or new memory, (B, T)."""
        shape = (rows, self.times.size)
        if out is None:
            return torch.empty(shape, dtype=dtype, device=self.device)
        if tuple(out.shape) != shape or out.dtype != dtype or not out.is_contiguous():
            raise ValueError(
                f"out is {out.dtype} of shape {tuple(out.shape)}: needs to be contiguous, {dtype} "
                f"and of shape {shape}"
            )
        return out

    def _checked(self, parameters: np.ndarray | Tensor) -> Tensor:
        if isinstance(parameters, Tensor):
            check_rows(parameters.detach().cpu().numpy(), self.bounds, self.name)
            return parameters.to(self.device, torch.float64)
        rows = check_rows(parameters, self.bounds, self.name)
        return torch.from_numpy(rows).to(self.device)


def _padded(rows: Tensor, chunk: int) -> Tensor:
    """The rows, the last one repeated up to a multiple of ``chunk``.

    Arithmetic may round differently for other numbers of rows, and a waveform must not depend
    on the batch that it is asked for in.
    """
    return torch.cat([rows, rows[-1:].expand(-len(rows) % chunk, -1)])


def _tiles(basis: Tensor) -> Tensor:
    """Vectors (n, C) as (tiles, n, TILE), counted from the end, zeros before the first column.

    So the last columns of a basis are multiplied as they are in the whole basis.
    """
    padded = torch.nn.functional.pad(basis, (-basis.shape[1] % TILE, 0))
    return padded.view(len(basis), -1, TILE).transpose(0, 1).contiguous()


def _line(tiles: Tensor) -> Tensor:
    """Values (tiles, B, TILE) -> float32 (B, tiles * TILE)."""
    ordered = tiles.transpose(0, 1)
    return ordered.to(torch.float32, memory_format=torch.contiguous_format).flatten(1)


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


class _Basis:
    """Phase and amplitude vectors on a set of times, with phi = 0 at ``zero``."""

    def __init__(
        self, data: SurrogateData, times: np.ndarray, zero: float, device: torch.device
    ) -> None:
        phase, amplitude = spline_curves(data, zero)
        self.phase = torch.from_numpy(_columns(phase(times) - phase(np.array([zero])))).to(device)
        self.amplitude = torch.from_numpy(_columns(amplitude(times))).to(device)


def spline_curves(data: SurrogateData, zero: float) -> tuple[CubicSpline, CubicSpline]:
    """Splines in time of the phase's vectors, Newtonian last, and of the amplitude's.

    As gwsurrogate does for times from ``zero`` on; each gives (T, vectors) for T times.
    """
    newtonian = -2.0 * ((data.t_ref - data.domain) / 5.0) ** 0.625
    newtonian -= newtonian[data.align_index]
    phase = np.vstack([data.phase.ei_basis, newtonian])
    start = max(int(np.searchsorted(data.domain, zero, side="right")) - SPLINE_LEAD, 0)

    def spline(rows: np.ndarray) -> CubicSpline:
        return CubicSpline(data.domain[start:], rows[:, start:].T, bc_type="natural")

    return spline(phase), spline(data.amplitude.ei_basis)


def _columns(values: np.ndarray) -> np.ndarray:
    """(T, n) -> contiguous (n, T)."""
    return np.ascontiguousarray(values.T)


def _newtonian(rows: Tensor) -> Tensor:
    """What the vector of the leading order in the phase is multiplied by, (B, 1)."""
    return torch.pow(eta(rows[:, :1]), -0.375)


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
