"""The mismatch between the waveforms of two parameter rows, cheap and differentiable.

For waveforms of one amplitude A and phases phi_1, phi_2, close to one another,

    1 - O  ~  Var(phi_1 - phi_2 - omega t_c) / 2,        minimised over t_c,

where the variance is over time, weighted with A^2 dt, and takes phi_c out; what the difference
of the amplitudes adds is left out (on random pairs up to a sixth of the whole, measured). A
quadrature with under a hundred points that are uniform in the chirp's phase gives it well, so a
training step can afford the surrogate and its derivatives. Unlike the overlap it keeps growing
where the phases are many cycles apart, and so has a gradient wherever the surrogate has one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import SurrogateData
from hpc_gw.waveforms.timegrid import TimeGrid

SAMPLES = 96
"""Quadrature points; twice as many change the mismatch by under 4 % (tested)."""


class PhaseMismatch:
    """Half the variance of the phase difference, minimised over t_c and phi_c.

    Args:
        data: the surrogate.
        t_min, t_max: the time span that is overlapped [M].
        device: of the parameters that will be given.
        samples: quadrature points.
    """

    def __init__(
        self,
        data: SurrogateData,
        t_min: float,
        t_max: float,
        device: str | torch.device = "cpu",
        *,
        samples: int = SAMPLES,
    ) -> None:
        grid = TimeGrid(kind="chirp", t_min=t_min, t_max=t_max, samples=samples)
        times = grid.times()
        self._engine = SurrogateEngine(data, times, device)
        self._times = torch.from_numpy(times).to(device)
        self._low, self._high = torch.from_numpy(self._engine.bounds).to(device).unbind(1)

    def __call__(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """(B, 3), (B, 3) rows (q, s1, s2) -> mismatch (B,), float64, differentiable.

        A row outside the surrogate's bounds counts as the nearest point inside; the mismatch of one
        that is not a number is not a number, and its gradient is the caller's other losses'.
        """
        lost = predicted.isnan().any(1)  # of a training that diverges: the surrogate refuses them
        with torch.no_grad():
            # Truths that went through float32 may lie outside by a rounding: 0.8 becomes
            # 0.80000001.
            amplitude, phase = self._engine.fast_amplitude_phase(self._inside(truth))  # (B, T)
            weight, omega = without_phase_and_time(amplitude, phase, self._times)
            slope = weight * omega / (weight * omega.square()).sum(1, keepdim=True)
        difference = (
            self._engine.phase(self._inside(predicted.masked_fill(lost[:, None], 0.0))) - phase
        )
        difference = difference - (weight * difference).sum(1, keepdim=True)  # phi_c
        t_c = (slope * difference).sum(1, keepdim=True)
        residual = difference - omega * t_c
        return 0.5 * (weight * residual.square()).sum(1).masked_fill(lost, torch.nan)

    def _inside(self, rows: Tensor) -> Tensor:
        """The nearest rows inside the surrogate's bounds, float64."""
        return torch.minimum(torch.maximum(rows.double(), self._low), self._high)


def without_phase_and_time(
    amplitude: Tensor, phase: Tensor, times: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights of a time average, and what a shift in t_c does to the phase.

    Args:
        amplitude, phase: (B, T) of the reference waveforms.
        times: (T,) [M].

    Returns:
        A^2 dt, of unit sum; the frequency [rad / M] less its average: (B, T) both.
    """
    (dt,) = torch.gradient(times)
    weight = amplitude.square() * dt
    weight = weight / weight.sum(1, keepdim=True)
    (omega,) = torch.gradient(phase, spacing=(times,), dim=1)
    return weight, omega - (weight * omega).sum(1, keepdim=True)
