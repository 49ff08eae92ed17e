"""Sums over coarse grids as if over fine ones, and correlations that are smooth across lag 0.

A waveform that begins abruptly, as h22 does at -10000 M, makes two errors where it is sampled
coarsely, both of the order of its first sample's share of the norm, 1e-5 at 1.6 M:

- A plain sum counts the first sample fully, as if half an interval lay before it. The weights of
  ``end_weights`` make the sum over every n-th sample that of all samples (Gregory's formula, from
  the Euler-Maclaurin series).
- The correlation c(tau) has a kink at tau = 0: for tau > 0 the common span begins with h, for
  tau < 0 with s, so no interpolation is exact across it. ``smooth_branch`` gives c for tau >= 0 and
  a smooth continuation below, with s continued to times before its start; interpolated, it is
  exact for tau >= 0, and with h and s exchanged for tau <= 0.

The end of a waveform after its ringdown is next to nothing and needs neither.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.special import bernoulli
from torch import Tensor

ORDER = 6
"""Samples at the start whose weights are not 1: exact for polynomials below this degree."""

_FIT = 24
"""Samples at the start that a continuation to earlier times is fitted to."""


@functools.lru_cache(maxsize=32)
def end_weights(every: int) -> Tensor:
    """What the weights of the first ``ORDER`` samples differ by from 1, float64.

    With them, ``every`` times the sum over each ``every``-th sample from the first on is the sum
    over all samples, for functions that are smooth and end in nothing.
    """
    numbers = bernoulli(ORDER + 1)
    moments = [1 / (2 * every) - 0.5] + [
        float(numbers[p + 1] / (p + 1) * (1 - every ** -(p + 1.0))) if p % 2 else 0.0
        for p in range(1, ORDER)
    ]
    powers = np.vander(np.arange(ORDER, dtype=np.float64), increasing=True).T
    return torch.from_numpy(np.linalg.solve(powers, np.array(moments)))


def squared_norm(h: Tensor, every: int) -> Tensor:
    """Sum of |h|^2 with the weights of the start: (B, T) complex -> (B,) float64."""
    whole = torch.view_as_real(h).flatten(1).double().square().sum(1)
    start = h[:, :ORDER].abs().double().square()
    return whole + start @ end_weights(every).to(h.device)[: start.shape[1]]


def smooth_branch(h: Tensor, s: Tensor, local: Tensor, lag: Tensor, every: int) -> Tensor:
    """The correlation about some lags, as it is for tau >= 0 and goes on smoothly below.

    Args:
        h, s: complex (B, T).
        local: plain sums c = sum conj(h[t]) s[t + tau] at tau = lag - P ... lag + P, complex128
            (B, 2 P + 1).
        lag: whole lags, int64 (B,); any sign.
        every: samples of the fine grid that a sample stands for.

    Returns:
        complex128 (B, 2 P + 1).
    """
    reach = local.shape[1] // 2
    count = min(reach + 2, h.shape[1])
    before = _continued_back(s, count)  # s at -count ... -1
    head = h[:, :count].to(torch.complex128).conj()
    longer = torch.cat([before, s.to(torch.complex128)], dim=1)
    # s at lag - P ... lag + P + ORDER - 1, zero outside of what there is
    place = count + lag[:, None] + torch.arange(-reach, reach + ORDER, device=lag.device)
    there = (place >= 0) & (place < longer.shape[1])
    window = longer.gather(1, place.clamp(0, longer.shape[1] - 1)) * there
    weights = end_weights(every).to(h.device, torch.complex128)
    starts = head[:, :ORDER] * weights[: head.shape[1]]  # (B, ORDER)
    corrected = local + torch.einsum(
        "bi,bli->bl", starts, window.unfold(1, ORDER, 1)[..., : starts.shape[1]]
    )
    # What a plain sum at lag -m lacks: the products of h with s before its first sample.
    shifted = torch.nn.functional.pad(before, (0, count)).unfold(1, count, 1)[:, :count]
    lacking = torch.einsum("bi,bui->bu", head, shifted)  # u = count - m
    lags = lag[:, None] + torch.arange(-reach, reach + 1, device=lag.device)
    early = (lags < 0) & (lags >= -count)
    return corrected + lacking.gather(1, (count + lags).clamp(0, count - 1)) * early


def _continued_back(s: Tensor, count: int) -> Tensor:
    """s at ``count`` samples before its first, complex128: (B, T) -> (B, count).

    By parabolas through the phase and the logarithm of the amplitude at its start; nothing where
    it grows out of nothing there.
    """
    start = s[:, :_FIT].to(torch.complex128)
    size = start.abs()
    abrupt = size.amin(1) > 0.5 * size.amax(1)
    safe = torch.where(abrupt[:, None], start, torch.ones_like(start))
    steps = torch.angle(safe[:, 1:] * safe[:, :-1].conj())
    phase = torch.nn.functional.pad(steps.cumsum(1), (1, 0))
    back = _parabola(start.shape[1], count).to(s.device)
    angle = phase @ back + torch.angle(safe[:, :1])
    # No louder than twice the start: a parabola through noise may go anywhere.
    most = 2 * safe.abs().amax(1, keepdim=True)
    found = torch.polar(torch.minimum((safe.abs().log() @ back).exp(), most), angle)
    return torch.where(abrupt[:, None], found, torch.zeros_like(found))


@functools.lru_cache(maxsize=32)
def _parabola(fitted: int, count: int) -> Tensor:
    """Values at 0 ... fitted - 1 to those at -count ... -1 of their parabola, (fitted, count)."""
    degree = min(3, fitted)
    at = np.vander(np.arange(fitted, dtype=np.float64), degree)
    wanted = np.vander(np.arange(-count, 0, dtype=np.float64), degree)
    return torch.from_numpy((wanted @ np.linalg.pinv(at)).T.copy())
