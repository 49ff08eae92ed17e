"""Time grids in total mass M, with |h22| peaking at t = 0.

Reference:
    Khan, Huerta & Das, arXiv:2004.09524, section II A: [-10000, 130) M at 0.1 M.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT
from hpc_gw.constants import DT, T_MAX, T_MIN


@dataclass(frozen=True, config=STRICT)
class TimeGrid:
    """A time grid: uniform in time, or uniform in the phase of a leading-order chirp.

    Attributes:
        kind: ``uniform``: t_min + dt i, up to t_max exclusive. ``chirp``: ``samples`` points
            from t_min to t_max inclusive, uniform in w(t) = -(softening - t)^(5/8) before the
            peak (the time dependence of the phase at leading order, arXiv:1812.07865 eq. 43)
            and, with the same slope, linear in t after it. Every cycle then gets about as many
            samples, 13 times fewer a unit of time at -10000 M than at the merger.
        t_min, t_max: ends [M].
        dt: sampling interval of ``uniform`` [M].
        samples: number of points of ``chirp``.
        softening: offset that keeps the density of ``chirp`` finite at the peak [M].
    """

    kind: Literal["uniform", "chirp"] = "uniform"
    t_min: float = T_MIN
    t_max: float = T_MAX
    dt: float = Field(default=DT, gt=0)
    samples: int = Field(default=768, ge=2)
    softening: float = Field(default=30.0, gt=0)

    def __post_init__(self) -> None:
        if not self.t_min < self.t_max:
            raise ValueError(f"t_min = {self.t_min:g} M must be below t_max = {self.t_max:g} M")

        if self.size < 2:
            raise ValueError(
                f"dt = {self.dt:g} M: leaves {self.size} samples between t_min and t_max; at "
                f"least 2 are needed"
            )

    @property
    def size(self) -> int:
        """Number of samples."""
        if self.kind == "chirp":
            return self.samples
        return round((self.t_max - self.t_min) / self.dt)

    def times(self) -> np.ndarray:
        """The grid as float64, shape (size,), in M."""
        if self.kind == "uniform":
            return self.t_min + self.dt * np.arange(self.size)
        slope = float(0.625 * self.softening**-0.375)
        at_peak = float(-(self.softening**0.625))

        def warp(t: float) -> float:
            if t > 0:
                return at_peak + slope * t
            return float(-((self.softening - t) ** 0.625))

        w = np.linspace(warp(self.t_min), warp(self.t_max), self.samples)
        inspiral = self.softening - np.abs(np.minimum(w, at_peak)) ** 1.6
        times = np.where(w > at_peak, (w - at_peak) / slope, inspiral)
        times[0], times[-1] = self.t_min, self.t_max
        return times
