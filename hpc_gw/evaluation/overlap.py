"""Overlap of two waveforms, maximised over time and phase, with a bound on its error.

For flat noise the overlap of h and s is

    O(h, s) = max over (t_c, phi_c) of  Re <h, s[t_c] exp(-i phi_c)> / (|h| |s|)
            = max over tau of  |c(tau)| / (|h| |s|),   c(tau) = sum_t conj(h[t]) s[t + tau]

(arXiv:2004.09524, section III). Both sums run over the whole grid. The waveforms count as
zero outside of it: a copy that is shifted by many samples loses what leaves the grid, and its
norm is still that of the whole grid.

How the maximum is found:

1. c at every integer lag -(T-1) ... T-1, by FFT with zero padding (a linear correlation, so
   the end of one waveform never meets the start of the other), hence global over t_c.
2. Around the best integer lag c is interpolated with a Kaiser-windowed sinc on a grid of 1/32
   sample, on either side of lag 0 by its own smooth branch (``ends``); a parabola places the
   peak, and the interpolant is evaluated *at* that place. The overlap is therefore a value of the
   correlation, never an extrapolation.
3. No other peak can be higher: |c| between samples exceeds its neighbours by at most M/8, M a
   bound on its second derivative from the spectra. Where that could reach the peak found, c is
   taken at 32 times as many lags, and 2 repeated at other peaks; what remains possible goes into
   the bound.
4. The phase is analytic: phi_c = arg c(t_c).

Coarse grids: h22 of a merging binary has no content above 1.2 rad/M, so that 0.1 M is 16 times
finer than needed. With ``every`` = n the samples are each n-th of the grid that is meant, and the
sums are those over the fine one (``ends``). Measured on the paper's grid against n = 1 in double
precision: 3e-8 at 1.6 M, 2e-7 at 2.4 M. Content beyond 0.7 of the Nyquist frequency is not
interpolated well, nor bounded: that of h22 ends at 0.6 at 1.6 M.

Parts of the bound, each on O:

- Aliasing: twice the content of conj(h) s at the Nyquist frequency, measured for each pair; what
  aliases lies at twice that frequency, where there is less.
- Another peak: see 3; 0 where it is excluded, as it is for nearly all.
- The start: the first term that its weights leave out.
- The end: half the product of the last samples, where a waveform is cut off.
- Interpolation 1e-8, rounding 1e-7 for complex64 and 1e-12 for complex128.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.ends import squared_norm
from hpc_gw.evaluation.peaks import TAPS, climb, look_elsewhere, power

_BLOCK = {"cpu": 1 << 20, "cuda": 1 << 24}
"""Padded samples that are correlated at once: bounds the memory. On a CPU a quarter of them fits
the cache better, but the operations' own cost then counts four times: 1.2 times as slow."""

ROUNDING = {torch.complex64: 1e-7, torch.complex128: 1e-12}
"""Of an overlap by the precision of its waveforms."""

_INTERPOLATION = 1e-8

_NEXT = 863 / 60480 * torch.tensor([1, -6, 15, -20, 15, -6, 1], dtype=torch.float64)
"""The next term of Gregory's formula, 6th differences at the start."""

_RUN = 128
"""Samples that are summed in their own precision."""

_SMOOTH = 16
"""Samples over which the sum for the aliasing begins softly, so that the start is not in it."""


class Overlap(NamedTuple):
    """Overlaps of B pairs; every tensor is float64 of shape (B,)."""

    overlap: Tensor
    """O in [0, 1]; NaN where an input is not finite, or is zero everywhere."""

    shift: Tensor
    """t_c in samples, with its fraction: s[t + shift] matches h[t], so s comes later if > 0."""

    phase: Tensor
    """phi_c in (-pi, pi]: s[t + shift] * exp(-i phase) matches h[t]."""

    bound: Tensor
    """What ``overlap`` may be off by."""


@torch.no_grad()
def overlap(h: Tensor, s: Tensor, *, every: int = 1) -> Overlap:
    """Overlap of each row of ``h`` with the same row of ``s``, maximised over time and phase.

    Rounding can lift the overlap of equal waveforms above 1 by 1e-7: it is clipped at 1.

    Args:
        h, s: complex64 or complex128, shape (B, T), on one device; flat noise, equal sampling.
        every: the rows hold each ``every``-th sample of the grid that is meant, from its first.

    Raises:
        ParameterError: shapes differ, or an input is not a complex (B, T) tensor.
    """
    _check_shapes(h, s)
    if not (h.is_complex() and s.is_complex()):
        raise ParameterError(
            f"overlap of {h.dtype} and {s.dtype}: need complex h22; overlap_real takes a real part"
        )
    dtype = torch.promote_types(h.dtype, s.dtype)
    return _in_blocks(h.to(dtype), s.to(dtype), every)


@torch.no_grad()
def overlap_real(d: Tensor, s: Tensor) -> Overlap:
    """Overlap of real data with the real part of a complex waveform of any time and phase.

    A phase shift of a real series is no rotation: of Re h alone it is not known what Im h is. But
    that of s is, so the maximum over phi_c of

        <d, p cos(phi_c) + x sin(phi_c)> / (|d| |p cos(phi_c) + x sin(phi_c)|),   s = p + i x,

    is b G^-1 b / |d|^2 squared, with b = (<d, p>, <d, x>) at each shift and G the products of p and
    x with each other: p and x are made orthonormal first. It is 1 for d = Re(s exp(-i phi)), any
    phi, also where p and x are neither orthogonal nor of one size, as those of a few cycles.

    Args:
        d: float32 or float64 (B, T).
        s: complex64 or complex128 (B, T).

    Raises:
        ParameterError: shapes differ, ``d`` is not real or ``s`` not complex.
    """
    _check_shapes(d, s)
    if d.is_complex() or not s.is_complex():
        raise ParameterError(f"overlap_real of {d.dtype} and {s.dtype}: need real d, complex s")
    p, x = s.real.double(), s.imag.double()
    size_p = p.norm(dim=1, keepdim=True)
    first = p / size_p
    along = (first * x).sum(1, keepdim=True)
    rest = x - along * first
    size = rest.norm(dim=1, keepdim=True)
    found = _in_blocks(d.to(torch.complex128), torch.complex(first, rest / size), 1)
    # The data's best fit is cos(phase) first + sin(phase) rest / size, in terms of p and x:
    on_x = torch.sin(found.phase) / size[:, 0]
    on_p = (torch.cos(found.phase) - along[:, 0] * on_x) / size_p[:, 0]
    # Both parts of the pair have norm 1, so that of the pair is sqrt(2).
    return Overlap(
        (math.sqrt(2) * found.overlap).clamp(max=1.0),
        found.shift,
        torch.atan2(on_x, on_p),
        math.sqrt(2) * found.bound,
    )


def _check_shapes(h: Tensor, s: Tensor) -> None:
    if h.shape != s.shape or h.ndim != 2 or h.shape[1] == 0:
        raise ParameterError(
            f"overlap of shapes {tuple(h.shape)} and {tuple(s.shape)}: need two of one (B, T)"
        )


def _in_blocks(h: Tensor, s: Tensor, every: int) -> Overlap:
    n = next_fast_len(2 * h.shape[1] - 1 + 2 * TAPS)
    rows = max(1, _BLOCK.get(h.device.type, 1 << 18) // n)
    blocks = [
        _block(a, b, n, every)
        for a, b in zip(torch.split(h, rows), torch.split(s, rows), strict=True)
    ]
    return Overlap(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _block(h: Tensor, s: Tensor, n: int, every: int) -> Overlap:
    """``overlap`` of one block whose correlation, of ``n`` padded samples, fits the memory."""
    h, good_h = _scaled(h)
    s, good_s = _scaled(s)
    good = good_h & good_s
    spectrum = torch.fft.fft(h, n).conj_physical_().mul_(torch.fft.fft(s, n))
    c = torch.fft.ifft(spectrum)  # (B, n): lag tau at index tau mod n
    place = power(c).argmax(-1)
    peak, lag = climb(h, s, c, place, every)
    other = look_elsewhere(h, s, c, spectrum, (peak, lag), every)
    lags = lag.round().long()
    exact, aliasing, start = _direct(h, s, lags)
    # FFTs of complex64 round to 2e-7; the sum at one lag is taken again in double precision.
    rounded = c.gather(1, (lags % n)[:, None])[:, 0].to(torch.complex128)
    peak = peak * torch.where(rounded.abs() > 0, exact / rounded, torch.ones_like(exact))
    norms = (squared_norm(h, every) * squared_norm(s, every)).clamp(min=1e-300).sqrt()
    ends = 0.5 * (h[:, -1] * s[:, -1]).abs().double()
    bound = (
        (other + ends + aliasing + start * (every > 1)) / norms + _INTERPOLATION + ROUNDING[h.dtype]
    )
    columns = ((peak.abs() / norms).clamp(max=1.0), lag, peak.angle(), bound)
    return Overlap(*(torch.where(good, column, math.nan) for column in columns))


def _direct(h: Tensor, s: Tensor, lag: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over conj(h[t]) s[t + lag], one lag a row.

    Returns:
        The plain sum, complex128 (B,); twice the size of that with alternating signs, begun
        softly where the common span begins, float64 (B,); and the first term that the weights of
        the start leave out, float64 (B,).
    """
    size = h.shape[1]
    begin_h, begin_s = (-lag).clamp(min=0), lag.clamp(min=0)
    t = torch.arange(size, device=h.device)
    product = h.gather(1, (begin_h[:, None] + t).clamp(max=size - 1)).conj_physical_()
    product *= s.gather(1, (begin_s[:, None] + t).clamp(max=size - 1))
    product *= t < (size - lag.abs())[:, None]
    first = product[:, : len(_NEXT)].to(torch.complex128)
    start = (first @ _NEXT.to(first)[: first.shape[1]]).abs()
    # Sums of 128 in the waveforms' precision, of those sums in double precision.
    padded = torch.nn.functional.pad(torch.view_as_real(product), (0, 0, 0, -size % _RUN))
    runs = padded.view(len(h), -1, _RUN, 2)
    weights = _alternating(runs.shape[1] * _RUN, h.device).to(runs.dtype).view(-1, 1, _RUN)
    both = torch.cat([torch.ones_like(weights), weights], dim=1)  # (T / _RUN, 2, _RUN)
    sums = (both @ runs).sum(1, dtype=torch.float64)  # (B, 2, 2)
    plain, alternating = torch.view_as_complex(sums.contiguous()).unbind(1)
    return plain, 2 * alternating.abs(), start


@functools.lru_cache(maxsize=8)
def _alternating(size: int, device: torch.device) -> Tensor:
    """1, -1, 1 ... with a start that grows as the sums of binomial coefficients, float64."""
    rise = torch.tensor([math.comb(_SMOOTH, k) for k in range(_SMOOTH + 1)], dtype=torch.float64)
    weights = torch.ones(size, dtype=torch.float64)
    weights[: _SMOOTH + 1] = (rise.cumsum(0) / 2.0**_SMOOTH)[:size]
    weights[1::2] *= -1
    return weights.to(device)


def _scaled(h: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of ordinary size, and which of them (B,) are finite and not zero; others become 0."""
    scale = torch.view_as_real(h).flatten(1).abs().amax(1)  # NaN and inf reach the maximum
    good = torch.isfinite(scale) & (scale > 0)
    if bool(((scale > 1e-6) & (scale < 1e6)).all()):  # squares of these neither vanish nor overflow
        return h, good
    safe = torch.where(good, scale, torch.ones_like(scale))
    return torch.where(good[:, None], h / safe[:, None], torch.zeros_like(h)), good
