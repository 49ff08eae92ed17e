"""Random global phase, small time shifts and white noise on the input waveforms.

No real signal has a reference phase, its merger time is known to a sampling interval at best, and
it is never alone: a network that is trained on all of them does not depend on the first two, and
knows what the third leaves.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from hpc_gw.config import STRICT
from hpc_gw.errors import ConfigError


@dataclass(frozen=True, config=STRICT)
class AugmentConfig:
    """What is drawn anew for each waveform of each batch; only exact shifts are a row's own."""

    phase: bool = False
    """A global phase, uniform in [0, 2 pi)."""
    max_shift: float = 0.0
    """Largest shift in time to either side, uniform [M]."""
    shifts: int = 0
    """Shifts that an engine makes exactly, evenly over that range, in place of interpolation at
    random ones; for waveforms made on the fly, each row always with the same. 0: interpolate."""
    snr: tuple[float, float] | None = None
    """Least and largest signal-to-noise ratio of white noise, log-uniform between; none at all."""
    noisy: float = 0.5
    """Share of the waveforms that get such noise."""

    def __post_init__(self) -> None:
        """Raises ValueError with the value, the rule and the remedy."""
        if not (math.isfinite(self.max_shift) and self.max_shift >= 0):
            raise ValueError(f"max_shift = {self.max_shift}: a time >= 0 in M; 0 switches it off")
        if self.shifts < 0 or (self.shifts and not self.max_shift):
            raise ValueError(
                f"shifts = {self.shifts}: that many of at most max_shift = {self.max_shift} M; set "
                "both, or neither"
            )
        if self.snr and not 0 < self.snr[0] <= self.snr[1] < math.inf:
            raise ValueError(f"snr = {list(self.snr)}: two numbers, 0 < least <= largest")
        if not 0 <= self.noisy <= 1:
            raise ValueError(f"noisy = {self.noisy}: a share of the waveforms, from 0 to 1")


def comb(config: AugmentConfig) -> list[float]:
    """The exact ``shifts`` [M]; centred in equal parts of [-max_shift, max_shift]."""
    width = 2 * config.max_shift / max(config.shifts, 1)
    return [(i + 0.5) * width - config.max_shift for i in range(config.shifts)]


def augmented(
    h: Tensor, times: Tensor, config: AugmentConfig, seed: int, batch: tuple[int, np.ndarray]
) -> Tensor:
    """This rank's part of a batch with phase, shift and noise, as configured.

    All is drawn for the whole batch, of which a rank takes its own part: so the augmentation does
    not depend on the number of ranks.

    Args:
        h: (B, T) h22, complex or real.
        times: (T,) of the samples [M].
        config: what is drawn.
        seed: of the batch.
        batch: waveforms of the batch over all ranks, and which of them (B,) these are.

    Returns:
        (B, T) real.
    """
    generator, (count, places) = torch.Generator().manual_seed(seed), batch
    drawn = draw(count, config, generator)
    own = [x if x is None else x[places].to(h.device) for x in drawn]
    real = transform(h, times, *own)
    return real + noise(real, times, config, generator, batch) if config.snr else real


def noise(
    h: Tensor,
    times: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    batch: tuple[int, np.ndarray],
) -> Tensor:
    """White noise for these waveforms, of which some (``noisy``) get any.

    The ratio is that of matched filtering, rho^2 = sum h^2 / sigma^2 over evenly spaced samples.
    On an uneven grid a sample stands for the mean over its interval: its variance is
    sigma^2 dt / Delta t, and rho^2 = sum h^2 Delta t / (sigma^2 dt), whatever dt is.

    Args:
        h: (B, T) real.
        times, batch: as of ``augmented``.
        config: which ratios.
        generator: on the CPU; drawn from for the whole batch, but for the noise itself: each
            waveform's has a generator of its own, so that a rank draws no other's.

    Returns:
        (B, T), to be added.
    """
    assert config.snr is not None
    count, places = batch
    low, high = map(math.log, config.snr)
    ratio = torch.exp(low + (high - low) * torch.rand(count, generator=generator))
    noisy = torch.rand(count, generator=generator) < config.noisy
    seeds = torch.randint(2**62, (count,), generator=generator)[places].tolist()
    unit = torch.empty(len(places), h.shape[1])
    for row, seed in zip(unit, seeds, strict=True):
        row.normal_(generator=torch.Generator().manual_seed(seed))
    interval = torch.gradient(times)[0].to(h)  # (T,)
    size = torch.sqrt((h.square() * interval).sum(1)) * (noisy / ratio)[places].to(h.device)
    return size[:, None] * unit.to(h.device) / interval.sqrt()


def draw(
    count: int, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor | None, Tensor | None]:
    """Phases and shifts of ``count`` waveforms, (count,) float64 each, or None if not asked for.

    Phases are drawn first, then shifts, on the generator's device.
    """

    def uniform() -> Tensor:
        return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)

    phase = 2 * math.pi * uniform() if config.phase else None
    interpolated = config.max_shift > 0 and not config.shifts
    delay = config.max_shift * (2 * uniform() - 1) if interpolated else None
    return phase, delay


def transform(h: Tensor, times: Tensor, phase: Tensor | None, delay: Tensor | None) -> Tensor:
    """Re[h(t + delay) exp(i phase)].

    Args:
        h: (B, T) h22, complex; or its real part, where ``phase`` is None.
        times: (T,) the samples' times [M], float64, increasing, of any spacing.
        phase: (B,) [rad], or None.
        delay: (B,) [M], or None.

    Returns:
        (B, T) real; ``h.real`` itself where both are None.

    Raises:
        ConfigError: a phase is given for a real input.
    """
    if phase is not None and not h.is_complex():
        raise ConfigError("augment.phase = true: needs complex h22, this source has only Re h22")
    if delay is not None:
        h = shift(h, times, delay.to(h.device))
    if phase is not None:
        phase = phase.to(h.device, h.real.dtype)[:, None]  # (B, 1)
        return h.real * torch.cos(phase) - h.imag * torch.sin(phase)  # (B, T)
    return h.real if h.is_complex() else h


def shift(h: Tensor, times: Tensor, delay: Tensor) -> Tensor:
    """h(t + delay) on the same times, by cubic Hermite interpolation.

    A complex h is interpolated in amplitude and unwrapped phase, which are smooth on grids too
    coarse for h itself; its phase must turn by less than pi from one sample to the next. Times
    that ``delay`` moves off the grid continue the end linearly.

    Args:
        h: (B, T) complex or real.
        times: (T,) increasing [M].
        delay: (B,) [M].

    Returns:
        (B, T), of ``h``'s dtype.
    """
    times = times.to(h.device, torch.float64)  # float32 would blur 0.1 M at t = -10,000 M by 1 %
    where = times + delay[:, None]  # (B, T) float64
    if not h.is_complex():
        return _hermite(h, times, where)
    turns = (h[:, 1:] * h[:, :-1].conj()).angle()  # (B, T - 1)
    phase = torch.cat((h[:, :1].angle(), turns), dim=1).cumsum(dim=1)  # (B, T), unwrapped
    return torch.polar(_hermite(h.abs(), times, where).clamp(min=0), _hermite(phase, times, where))


def _hermite(y: Tensor, times: Tensor, where: Tensor) -> Tensor:
    """Cubic Hermite interpolant of (B, T) ``y`` at (B, T) ``where``, its slopes by parabolas."""
    slopes = torch.gradient(y, spacing=(times,), dim=1, edge_order=2)[0].to(y)  # (B, T)
    inside = where.clamp(times[0], times[-1])
    left = torch.searchsorted(times, inside, right=True).sub_(1).clamp_(0, len(times) - 2)
    x = ((inside - times[left]) / times.diff()[left]).to(y)  # (B, T) in [0, 1]
    width = times.diff().to(y)[left]  # (B, T)
    y0, y1 = y.gather(1, left), y.gather(1, left + 1)
    m0, m1 = slopes.gather(1, left), slopes.gather(1, left + 1)
    rise = y1 - y0
    cubic = y0 + x * (width * m0 + x * (3 * rise - width * (2 * m0 + m1) + x * (
        width * (m0 + m1) - 2 * rise)))  # fmt: skip
    beyond = (where - inside).to(y)  # 0 inside the grid
    return cubic + beyond * torch.where(beyond < 0, slopes[:, :1], slopes[:, -1:])
