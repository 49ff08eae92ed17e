"""The highest peak of a correlation, between its samples.

Correlations of h with s, (B, n) complex, lag tau at index tau mod n. See ``overlap`` for what they
are for and what is claimed of the peaks.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from hpc_gw.evaluation.ends import ORDER, end_weights, smooth_branch

TAPS = 24
"""Half width of the interpolating kernel, in samples."""

_BETA = 7 * math.pi
"""Kaiser parameter pi * TAPS * (1 - nu): content up to nu = 0.7 of the Nyquist frequency."""

_ZOOM = 32
"""Steps of the fine lag grid per sample."""

_FINER = (4, 32)
"""Lags per sample where one peak among several must be found: first this many, then that."""

_PLACES = 4
"""How many other places are looked at for a higher peak."""


def look_elsewhere(
    h: Tensor, s: Tensor, c: Tensor, spectrum: Tensor, best: tuple[Tensor, Tensor], every: int
) -> Tensor:
    """Replace ``best`` (peak, lag) in place where another peak is higher.

    Returns:
        By how much one that was not looked at could still be higher, (B,) float64, mostly 0.
    """
    peak, lag = best
    gap = _curvature(spectrum) / 8
    # The plain sums of c count the start by up to half a product too much.
    slack = (h[:, 0] * s[:, 0]).abs().double() * (every > 1)
    rest = _without(power(c), lag, 1).amax(-1).double().sqrt()
    rows = torch.nonzero(rest + gap + slack > peak.abs())[:, 0]
    other = torch.zeros_like(gap)
    for finer in _FINER:
        if not rows.numel():
            break
        left = _look_among(h[rows], s[rows], c[rows], gap[rows], (peak, lag, rows), every, finer)
        other[rows] = left.clamp(min=0)
        rows = rows[left > 0]
    return other


def _look_among(
    h: Tensor,
    s: Tensor,
    c: Tensor,
    gap: Tensor,
    best: tuple[Tensor, Tensor, Tensor],
    every: int,
    finer: int,
) -> Tensor:
    """Look at ``finer`` lags per sample; what is returned is not clipped at 0."""
    peak, lag, rows = best
    n = c.shape[1]
    size = _without(_fine(h, s, n, every, finer), lag[rows], finer)
    left = torch.zeros_like(gap)
    for _ in range(_PLACES):
        rest, at = size.max(-1)
        left = rest.double() + gap / finer**2 - peak[rows].abs()
        if not bool((left > 0).any()):
            break
        place = torch.div(2 * at + finer, 2 * finer, rounding_mode="floor") % n
        found, there = climb(h, s, c, place, every)
        higher = found.abs() > peak[rows].abs()
        peak[rows] = torch.where(higher, found, peak[rows])
        lag[rows] = torch.where(higher, there, lag[rows])
        size = _without(size, torch.where(place > n // 2, place - n, place).double(), finer)
    return left


def _without(size: Tensor, lag: Tensor, per_sample: int) -> Tensor:
    """``size`` (B, n) with zeros within a sample of ``lag`` (B,)."""
    near = torch.arange(-per_sample, per_sample + 1, device=size.device)
    place = (lag * per_sample).round().long()[:, None] + near
    return size.scatter(1, place % size.shape[1], 0.0)


def _fine(h: Tensor, s: Tensor, n: int, every: int, finer: int) -> Tensor:
    """|c| with the weights of the start at ``finer`` lags per sample, (B, n * finer)."""
    half = (n + 1) // 2
    later, earlier = (
        torch.fft.fft(a, n).conj_physical_().mul_(torch.fft.fft(b, n))
        for a, b in ((_weighted(h, every), s), (h, _weighted(s, every)))
    )
    size = h.new_empty(len(h), n * finer, dtype=h.real.dtype)
    middle = size.shape[1] // 2
    for part, spectrum in ((slice(0, middle), later), (slice(middle, None), earlier)):
        # Zeros between the two halves of the spectrum: c at more lags.
        zeros = spectrum.new_zeros(len(h), (finer - 1) * n)
        padded = torch.cat([spectrum[:, :half], zeros, spectrum[:, half:]], dim=1)
        size[:, part] = power(torch.fft.ifft(padded)[:, part]).sqrt() * finer
    return size


def _weighted(h: Tensor, every: int) -> Tensor:
    """``h`` with the weights of its start, (B, T)."""
    weights = end_weights(every)[: h.shape[1]].to(h.device, h.real.dtype)
    return torch.cat([h[:, :ORDER] * (1 + weights), h[:, ORDER:]], dim=1)


def climb(h: Tensor, s: Tensor, c: Tensor, place: Tensor, every: int) -> tuple[Tensor, Tensor]:
    """The highest |c| within one sample of some places: c there, complex128, and its lag, (B,)."""
    n = c.shape[1]
    near = torch.arange(-TAPS, TAPS + 1, device=h.device)
    local = c.gather(1, (place[:, None] + near) % n).to(torch.complex128)
    lag = torch.where(place > n // 2, place - n, place)
    later, lag_later = _on_branch(smooth_branch(h, s, local, lag, every), lag)
    if bool((lag > 0).all()):
        return later, lag_later
    mirrored = smooth_branch(s, h, local.flip(1).conj(), -lag, every)
    earlier, lag_earlier = _on_branch(mirrored, -lag)
    take = (lag > 0) | ((lag == 0) & (later.abs() >= earlier.abs()))
    return torch.where(take, later, earlier.conj()), torch.where(take, lag_later, -lag_earlier)


def highest(c: Tensor) -> tuple[Tensor, Tensor]:
    """The highest |c| of smooth circular correlations (B, n): c there, and its lag (B,)."""
    n = c.shape[1]
    place = power(c).argmax(-1)
    near = torch.arange(-TAPS, TAPS + 1, device=c.device)
    local = c.gather(1, (place[:, None] + near) % n).to(torch.complex128)
    far = torch.full_like(place, n)  # no side of lag 0 is left out
    peak, at = _on_branch(local, far)
    return peak, at - n + torch.where(place > n // 2, place - n, place)


def _on_branch(local: Tensor, lag: Tensor) -> tuple[Tensor, Tensor]:
    """Highest value of a branch within a sample of ``lag``, at tau >= 0; and its tau."""
    device = local.device
    near = torch.arange(-TAPS, TAPS + 1, device=device)
    fine = (local @ _zoom_matrix(device).to(local.dtype)).abs()  # (B, 2 _ZOOM + 1)
    steps = torch.arange(-_ZOOM, _ZOOM + 1, device=device)
    allowed = lag[:, None] * _ZOOM + steps >= 0
    j = torch.where(allowed, fine, -1.0)[:, 1:-1].argmax(-1) + 1
    left, mid, right = fine.gather(1, j[:, None] + torch.arange(-1, 2, device=device)).unbind(1)
    curvature = (left - 2 * mid + right).clamp(max=-torch.finfo(torch.float64).tiny)
    offset = (0.5 * (left - right) / curvature).clamp(-1, 1)
    delta = torch.maximum((j - _ZOOM + offset) / _ZOOM, -lag.double())
    return (local * _kernel(delta[:, None] - near)).sum(-1), lag + delta


def _curvature(spectrum: Tensor) -> Tensor:
    """Bound on |d^2 c / d tau^2| per sample^2, with the mean frequency taken out: (B,) float64."""
    w = 2 * math.pi * torch.fft.fftfreq(spectrum.shape[1], device=spectrum.device)
    powers = torch.stack([torch.ones_like(w), w, w * w], dim=1)
    size = power(spectrum).sqrt().to(powers.dtype)
    total, first, second = (size @ powers).double().unbind(1)
    spread = second - first.square() / total.clamp(min=1e-300)
    return spread.clamp(min=0) / spectrum.shape[1]


def power(c: Tensor) -> Tensor:
    """|c|^2, real; several times as fast as ``abs``."""
    return (c * c.conj()).real


def _kernel(x: Tensor) -> Tensor:
    """Kaiser-windowed sinc at ``x`` samples; zero beyond ``TAPS``."""
    inside = (1 - (x / TAPS) ** 2).clamp(min=0)
    window = torch.special.i0(_BETA * inside.sqrt()) / torch.special.i0(x.new_tensor(_BETA))
    return torch.where(inside > 0, torch.sinc(x) * window, torch.zeros_like(x))


@functools.lru_cache(maxsize=8)
def _zoom_matrix(device: torch.device) -> Tensor:
    """Integer lags about the peak to the lags -1 ... 1 in steps of 1/_ZOOM, float64."""
    near = torch.arange(-TAPS, TAPS + 1, dtype=torch.float64, device=device)
    fine = torch.arange(-_ZOOM, _ZOOM + 1, dtype=torch.float64, device=device) / _ZOOM
    return _kernel(fine[None, :] - near[:, None])
