"""Overlaps as a detector hears them: weighted by the noise at a total mass.

    <h, s> = sum over w of conj(h(w)) s(w) / S(|w| / 2 pi M),   O = max |<h, s[t_c]>| / (|h| |s|)

for frequencies from ``f_low`` on, where S is the power spectral density of the noise. A
waveform that begins abruptly has content at all frequencies, which such weights bring out: both
waveforms are faded in over ``FADE`` first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.fft import next_fast_len
from torch import Tensor

from hpc_gw.config import STRICT, build
from hpc_gw.constants import MTSUN_SI
from hpc_gw.errors import DataError, ParameterError
from hpc_gw.evaluation.overlap import ROUNDING, Overlap
from hpc_gw.evaluation.peaks import highest

FADE = 1000.0
"""Time [M] over which waveforms are faded in, by half a cosine."""


@dataclass(frozen=True, config=STRICT)
class NoiseConfig:
    """The noise that overlaps are weighted by.

    Attributes:
        curve: ``flat``, as in the paper, at all frequencies; ``aligo``, advanced LIGO at design
            sensitivity by the fit of Arun et al., gr-qc/0411146, eq. 3.7; or a text file of f [Hz]
            and amplitude spectral density [1/sqrt(Hz)], as the LIGO laboratory publishes them.
        total_mass: of the binary, redshifted [solar masses].
        f_low: lowest frequency that counts [Hz].
    """

    curve: str = "flat"
    total_mass: float = Field(default=60.0, gt=0)
    f_low: float = Field(default=20.0, gt=0)


def aligo(f: np.ndarray) -> np.ndarray:
    """Power spectral density [1/Hz] of advanced LIGO's design at f [Hz] (gr-qc/0411146, 3.7)."""
    x = np.asarray(f, dtype=np.float64) / 215.0
    bracket = 111 * (1 - x**2 + x**4 / 2) / (1 + x**2 / 2)
    return 1e-49 * (x**-4.14 - 5 * x**-2 + bracket)


def density(config: NoiseConfig, f: np.ndarray) -> np.ndarray:
    """Power spectral density [1/Hz] at f [Hz] (F,), infinite below ``f_low``.

    Raises:
        DataError: the curve's file is missing, no table, or does not reach from ``f_low`` on.
    """
    found = np.full(f.shape, np.inf)
    heard = f >= config.f_low
    if config.curve == "flat":
        found[heard] = 1.0  # but here from ``f_low`` on
    elif config.curve == "aligo":
        found[heard] = aligo(f[heard])
    else:
        at, amplitude = _table(Path(config.curve).expanduser())
        if at[0] > config.f_low:
            raise DataError(
                f"{config.curve}: begins at {at[0]:g} Hz, above f_low = {config.f_low:g} Hz; give "
                f"a longer table, or a higher f_low"
            )
        heard &= f <= at[-1]
        found[heard] = np.exp(2 * np.interp(np.log(f[heard]), np.log(at), np.log(amplitude)))
    return found


def _table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        table = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not readable as a noise curve ({error}); need columns f/Hz, ASD/sqrt(Hz), "
            f"or one of flat, aligo"
        ) from error
    good = table.shape[1] >= 2 and len(table) > 1 and (table > 0).all()
    if not good or not (np.diff(table[:, 0]) > 0).all():
        raise DataError(f"{path}: need positive columns f/Hz, increasing, and ASD/sqrt(Hz)")
    return table[:, 0], table[:, 1]


def describe_noise(config: Mapping[str, Any]) -> str:
    """The noise of a results file in words; flat where it says nothing."""
    noise = build(NoiseConfig, config, where="results")
    if noise.curve == "flat":
        return "flat noise"
    curve = "advanced LIGO's" if noise.curve == "aligo" else Path(noise.curve).name
    return (
        f"{curve} noise, total mass {noise.total_mass:g} solar masses, from {noise.f_low:g} Hz on"
    )


@torch.no_grad()
def overlap_in_noise(h: Tensor, s: Tensor, step: float, config: NoiseConfig) -> Overlap:
    """Overlap of each row of ``h`` with that of ``s`` in noise, maximised over time and phase.

    Its bound has the errors of interpolation and rounding.

    Args:
        h, s: complex (B, T), uniformly sampled h22.
        step: sampling interval [M].
        config: the noise.

    Raises:
        ParameterError: shapes differ, or no frequency of the waveforms counts.
        DataError: see ``density``.
    """
    if h.shape != s.shape or h.ndim != 2:
        raise ParameterError(f"overlap of shapes {tuple(h.shape)} and {tuple(s.shape)}")
    n = next_fast_len(2 * h.shape[1])
    f = np.abs(np.fft.fftfreq(n, step * config.total_mass * MTSUN_SI))
    weights = 1 / density(config, f)
    if not weights.any():
        raise ParameterError(
            f"f_low = {config.f_low:g} Hz: at {config.total_mass:g} solar masses the waveforms "
            f"end at {f.max():g} Hz; lower f_low, or the mass"
        )
    weights /= weights.max()
    fade = _fade(h.shape[1], step).to(h.device)
    root = torch.from_numpy(np.sqrt(weights)).to(h.device)
    a, b = (torch.fft.fft(x.to(torch.complex128) * fade, n) * root for x in (h, s))
    norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1) / n
    peak, lag = highest(torch.fft.ifft(a.conj() * b))
    good = torch.isfinite(norms) & (norms > 0)
    # Waveforms are rounded at all frequencies, those that are heard and those that are not.
    white = torch.linalg.vector_norm(h, dim=1) * torch.linalg.vector_norm(s, dim=1)
    bound = 1e-8 + ROUNDING[torch.promote_types(h.dtype, s.dtype)] * (white / norms)
    columns = ((peak.abs() / norms).clamp(max=1.0), lag, peak.angle(), bound.clamp(max=1.0))
    return Overlap(*(torch.where(good, column, math.nan) for column in columns))


def _fade(size: int, step: float) -> Tensor:
    """Weights (T,) float64 that rise from 0 to 1 over ``FADE``, or half of a shorter waveform."""
    t = torch.arange(size, dtype=torch.float64) * step
    over = min(FADE, size * step / 2)
    return 0.5 - 0.5 * torch.cos(math.pi * (t / over).clamp(max=1.0))
