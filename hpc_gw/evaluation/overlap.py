"""Overlap of two complex waveforms, maximised over time and phase.

For flat noise the overlap of h and s is

    O(h, s) = max over (t_c, phi_c) of  Re <h, s[t_c] exp(-i phi_c)> / (|h| |s|)
            = max over tau of  |c(tau)| / (|h| |s|),   c(tau) = sum_t conj(h[t]) s[t + tau]

(arXiv:2004.09524, section III). Both sums run over the whole grid. The waveforms count as
zero outside of it: a copy that is shifted by many samples loses what leaves the grid, and its
norm is still that of the whole grid.

How the maximum is found:

1. c at every integer lag -(T-1) ... T-1, by FFT with zero padding (a linear correlation, so
   the end of one waveform never meets the start of the other), hence global over t_c.
2. Around the best integer lag c is a band-limited function of tau. Its values there are
   interpolated with a Kaiser-windowed sinc (128 taps) on a grid of 1/32 sample, a parabola
   places the peak, and the interpolant is evaluated *at* that place. The overlap is therefore
   a value of the correlation, never an extrapolation.
3. The phase is analytic: phi_c = arg c(t_c).

Errors, each on O:

- Interpolation: 1e-10 for content below 7/8 of the Nyquist frequency (h22 of a merging binary
  ends near 0.2/M, Nyquist is 5/M at dt = 0.1 M). Waveforms that begin or end abruptly give c a
  kink at lag 0: 1e-3/T at most as seen, which is 1e-8 at T = 101,300.
- Place of the peak: (w/32)^4 for a spectrum within +-w rad/sample of some frequency; 1e-12.
- Choice of the peak: the best integer lag is within 1 - cos(w/2) of the maximum, 2e-4 for h22
  (w = 0.04), and 3e-5 as seen. Only of two separate peaks whose heights are closer than that
  could the lower one be refined.
- Rounding: 4e-7 for complex64 input, 1e-13 for complex128.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from hpc_gw.errors import ParameterError

_TAPS = 64
"""Half width of the interpolating kernel, in samples."""

_BETA = 8 * math.pi
"""Kaiser parameter pi * _TAPS * (1 - nu) for content below nu = 7/8 of the Nyquist frequency."""

_ZOOM = 32
"""Steps of the fine lag grid per sample."""

_BLOCK = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Padded samples that are correlated at once: bounds the memory, and on a CPU fits its cache."""


class Overlap(NamedTuple):
    """Overlaps of B pairs; every tensor is float64 of shape (B,)."""

    overlap: Tensor
    """O in [0, 1]; NaN where an input is not finite, or is zero everywhere."""

    shift: Tensor
    """t_c in samples, with its fraction: s[t + shift] matches h[t], so s comes later if > 0."""

    phase: Tensor
    """phi_c in (-pi, pi]: s[t + shift] * exp(-i phase) matches h[t]."""


@torch.no_grad()
def overlap(h: Tensor, s: Tensor) -> Overlap:
    """Overlap of each row of ``h`` with the same row of ``s``, maximised over time and phase.

    Rounding can lift the overlap of equal waveforms above 1 by 1e-7: it is clipped at 1.

    Args:
        h, s: complex64 or complex128, shape (B, T), on one device; flat noise, equal sampling.

    Raises:
        ParameterError: shapes differ, or an input is not a complex (B, T) tensor.
    """
    if h.shape != s.shape or h.ndim != 2 or h.shape[1] == 0:
        raise ParameterError(
            f"overlap of shapes {tuple(h.shape)} and {tuple(s.shape)}: need two of one (B, T)"
        )
    if not (h.is_complex() and s.is_complex()):
        raise ParameterError(f"overlap of {h.dtype} and {s.dtype}: need complex h22, not a part")
    dtype = torch.promote_types(h.dtype, s.dtype)
    n = next_fast_len(2 * h.shape[1] - 1 + 2 * _TAPS)
    rows = max(1, _BLOCK.get(h.device.type, 1 << 18) // n)
    blocks = [
        _block(a.to(dtype), b.to(dtype), n)
        for a, b in zip(torch.split(h, rows), torch.split(s, rows), strict=True)
    ]
    return Overlap(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _block(h: Tensor, s: Tensor, n: int) -> Overlap:
    """``overlap`` of one block whose correlation, of ``n`` padded samples, fits the memory."""
    a, good_h = _unit(h)
    b, good_s = _unit(s)
    spectrum = torch.fft.fft(a, n).conj_physical_().mul_(torch.fft.fft(b, n))
    c = torch.fft.ifft(spectrum)  # (B, n): lag tau at index tau mod n
    parts = torch.view_as_real(c)
    k = parts.square().sum(-1).argmax(-1)  # (B,)
    near = torch.arange(-_TAPS, _TAPS + 1, device=h.device)  # lags about the peak
    local = c.gather(1, (k[:, None] + near) % n).to(torch.complex128)  # (B, 2 _TAPS + 1)

    fine = (local @ _zoom_matrix(h.device).to(local.dtype)).abs()  # (B, 2 _ZOOM + 1)
    j = fine[:, 1:-1].argmax(-1) + 1
    left, mid, right = fine.gather(1, j[:, None] + torch.arange(-1, 2, device=h.device)).unbind(1)
    curvature = (left - 2 * mid + right).clamp(max=-torch.finfo(torch.float64).tiny)
    offset = (0.5 * (left - right) / curvature).clamp(-1, 1)
    delta = (j - _ZOOM + offset) / _ZOOM  # (B,), |delta| <= 1 sample
    peak = (local * _kernel(delta[:, None] - near)).sum(-1)  # c(k + delta)

    lag = torch.where(k > n // 2, k - n, k) + delta
    good = good_h & good_s
    nan = torch.full_like(delta, math.nan)
    return Overlap(
        torch.where(good, peak.abs().clamp(max=1.0), nan),
        torch.where(good, lag, nan),
        torch.where(good, peak.angle(), nan),
    )


def _unit(h: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of unit norm (B, T), and which rows (B,) are finite and not zero; others become 0."""
    scale = torch.view_as_real(h).abs().amax((1, 2))  # NaN and inf reach the maximum
    good = torch.isfinite(scale) & (scale > 0)
    safe = torch.where(good, scale, torch.ones_like(scale))
    h = torch.where(good[:, None], h / safe[:, None], torch.zeros_like(h))
    norm = torch.view_as_real(h).square().sum((1, 2), dtype=torch.float64).sqrt()
    norm = torch.where(good, norm, torch.ones_like(norm))
    return h / norm[:, None].to(safe.dtype), good


def _kernel(x: Tensor) -> Tensor:
    """Kaiser-windowed sinc at ``x`` samples; zero beyond ``_TAPS``."""
    inside = (1 - (x / _TAPS) ** 2).clamp(min=0)
    window = torch.special.i0(_BETA * inside.sqrt()) / torch.special.i0(x.new_tensor(_BETA))
    return torch.where(inside > 0, torch.sinc(x) * window, torch.zeros_like(x))


@functools.lru_cache(maxsize=8)
def _zoom_matrix(device: torch.device) -> Tensor:
    """Integer lags about the peak to the lags -1 ... 1 in steps of 1/_ZOOM, float64."""
    near = torch.arange(-_TAPS, _TAPS + 1, dtype=torch.float64, device=device)
    fine = torch.arange(-_ZOOM, _ZOOM + 1, dtype=torch.float64, device=device) / _ZOOM
    return _kernel(fine[None, :] - near[:, None])
