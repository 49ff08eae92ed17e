"""The mismatch as a quadratic form of small errors: Fisher's metric, read from a table.

For a prediction close to the truth, in the coordinates x = (ln q, sigma_eff, s1 - s2),

    1 - O  ~  (x' - x)^T G(x) (x' - x) / 2,        G_ij = <d_i phi, d_j phi>,

where the product is the covariance over time, weighted with A^2 dt, of what is left of the phase's
derivatives once a constant (phi_c) and a multiple of the frequency (t_c) are taken out. G is
smooth, so it is computed once on a coarse grid of (ln q, s1, s2) and interpolated: a training step
then pays no surrogate, where ``PhaseMismatch`` pays three. Far from the truth it is no mismatch,
but still grows with the distance in the directions that the waveform sees.

References:
    Owen, gr-qc/9511032 (metric of template banks); ``mismatch.PhaseMismatch`` for the weights.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from hpc_gw.manifold.physics import sigma_eff
from hpc_gw.models.physics_head import from_difference
from hpc_gw.training.mismatch import SAMPLES, without_phase_and_time
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import SurrogateData
from hpc_gw.waveforms.timegrid import TimeGrid

NODES = (33, 9, 9)
"""Grid points in ln q, s1 and s2."""

STEP = 1e-4
"""Of the central differences, in each coordinate; edges of the grid lie as much inside."""

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Entries of G that are kept."""


class FisherMismatch:
    """Half the squared length of the error in the metric at the truth.

    Args:
        data: the surrogate.
        t_min, t_max: the time span that is overlapped [M].
        device: of the parameters that will be given.
    """

    def __init__(
        self, data: SurrogateData, t_min: float, t_max: float, device: str | torch.device = "cpu"
    ) -> None:
        times = TimeGrid(kind="chirp", t_min=t_min, t_max=t_max, samples=SAMPLES).times()
        engine = SurrogateEngine(data, times)
        (q_low, q_high), *spins = engine.bounds.tolist()
        ends = [(np.log(q_low), np.log(q_high)), *spins]
        axes = [
            torch.linspace(low + 4 * STEP, high - 4 * STEP, count, dtype=torch.float64)
            for (low, high), count in zip(ends, NODES, strict=True)
        ]
        ln_q, s1, s2 = (x.flatten() for x in torch.meshgrid(*axes, indexing="ij"))
        rows = torch.stack((ln_q.exp(), s1, s2), dim=1)
        parts = [_metric(engine, chunk) for chunk in torch.split(rows, 256)]
        self._table = torch.cat(parts).to(device)  # (nodes, 6)
        self._low = torch.stack([axis[0] for axis in axes]).to(device)
        self._width = torch.stack([axis[1] - axis[0] for axis in axes]).to(device)
        self._count = torch.tensor(NODES, device=device)
        self._stride = torch.tensor((NODES[1] * NODES[2], NODES[2], 1), device=device)
        corners = list(itertools.product((0, 1), repeat=3))
        self._corners = torch.tensor(corners, device=device)  # (8, 3)

    def __call__(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """(B, 3), (B, 3) rows (q, s1, s2) -> mismatch (B,), float64, differentiable."""
        error = _coordinates(predicted.double()) - _coordinates(truth.double())  # (B, 3)
        g = self.metric(truth)  # (B, 6)
        terms = [
            (1.0 if i == j else 2.0) * g[:, k] * error[:, i] * error[:, j]
            for k, (i, j) in enumerate(PAIRS)
        ]
        return 0.5 * torch.stack(terms).sum(0)

    @torch.no_grad()
    def metric(self, truth: Tensor) -> Tensor:
        """Entries ``PAIRS`` of G at rows (q, s1, s2), by trilinear interpolation; (B, 6)."""
        truth = truth.double()
        place = torch.cat((truth[:, :1].log(), truth[:, 1:]), dim=1)
        x = (place - self._low) / self._width
        cell = torch.minimum(x.floor().long().clamp(min=0), self._count - 2)  # (B, 3)
        part = (x - cell).clamp(0.0, 1.0)
        part = part[:, None]  # (B, 1, 3)
        weight = torch.where(self._corners == 1, part, 1 - part).prod(-1)  # (B, 8)
        index = ((cell[:, None] + self._corners) * self._stride).sum(-1)  # (B, 8)
        return (weight[..., None] * self._table[index]).sum(1)


def _coordinates(rows: Tensor) -> Tensor:
    """(q, s1, s2) -> (ln q, sigma_eff, s1 - s2); (B, 3) both."""
    q, s1, s2 = rows.unbind(1)
    return torch.stack((q.clamp(min=1e-3).log(), sigma_eff(q, s1, s2), s1 - s2), dim=1)


@torch.no_grad()
def _metric(engine: SurrogateEngine, rows: Tensor) -> Tensor:
    """Entries ``PAIRS`` of G at rows (q, s1, s2), by central differences; (B, 6)."""
    amplitude, phase = engine.amplitude_phase(rows)
    weight, omega = without_phase_and_time(amplitude, phase, torch.from_numpy(engine.times))
    slopes = []
    for i in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[i] = STEP
        ends = [from_difference(_coordinates(rows) + sign * step)[:, :3] for sign in (1, -1)]
        slope = (engine.phase(ends[0]) - engine.phase(ends[1])) / (2 * STEP)  # (B, T)
        slope = slope - (weight * slope).sum(1, keepdim=True)
        along = (weight * omega * slope).sum(1, keepdim=True)
        slopes.append(slope - omega * along / (weight * omega.square()).sum(1, keepdim=True))
    return torch.stack([(weight * slopes[i] * slopes[j]).sum(1) for i, j in PAIRS], dim=1)
