"""Two-level time grids: coarse during the inspiral, interpolated to full rate in one product."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from torch import Tensor

COARSE = 32
"""Fine samples in a coarse interval (3.2 M on the paper's grid)."""

T_DENSE = -200.0
"""From here on [M] every sample is evaluated: h22 varies too fast to be interpolated."""

POINTS = 8
"""Points of the Lagrange interpolation; three coarse intervals lie on each side."""

_LEFT = POINTS // 2 - 1


@dataclasses.dataclass(frozen=True)
class TwoLevelGrid:
    """How a uniform grid is composed of interpolated blocks and directly evaluated samples.

    Attributes:
        coarse_times: where the waveform is evaluated, float64 (C,): ``n_windows + POINTS - 1``
            coarse points, then the dense samples. Near the start, where the interpolation
            would need points before the grid, the samples are evaluated directly as well.
        head: dense samples at the start of the grid.
        blocks: interpolated blocks of ``COARSE`` samples.
        size: samples of the whole grid.
    """

    coarse_times: np.ndarray
    head: int
    blocks: int
    size: int

    @classmethod
    def for_times(cls, times: np.ndarray) -> TwoLevelGrid | None:
        """The grid for ``times``, or None where they are not uniform, fine and long enough."""
        step = (times[-1] - times[0]) / (times.size - 1)
        uniform = np.allclose(np.diff(times), step, rtol=1e-6, atol=0)
        head = COARSE * _LEFT
        inspiral = int(np.searchsorted(times, T_DENSE)) - head - COARSE * (POINTS - _LEFT)
        blocks = inspiral // COARSE
        if not uniform or step * COARSE > 3.2 * (1 + 1e-6) or blocks < 1:
            return None
        coarse = times[: (blocks + POINTS - 1) * COARSE : COARSE]
        tail = times[head + blocks * COARSE :]
        return cls(
            coarse_times=np.concatenate([times[:head], coarse, tail]),
            head=head,
            blocks=blocks,
            size=times.size,
        )

    def upsample(self, values: Tensor, out: Tensor) -> None:
        """Complex64 (B, C) at ``coarse_times`` -> ``out``, complex64 (B, size), contiguous."""
        count = self.blocks + POINTS - 1
        head, coarse, tail = torch.tensor_split(values, (self.head, self.head + count), dim=1)
        out[:, : self.head] = head
        out[:, self.head + self.blocks * COARSE :] = tail
        weights = _weights(values.device)
        # Windows of POINTS complex values, as 2 * POINTS reals, that overlap in memory.
        pairs = torch.view_as_real(coarse.contiguous()).flatten(1)  # (B, 2 count)
        target = torch.view_as_real(out).flatten(1)
        first, last = 2 * self.head, 2 * (self.head + self.blocks * COARSE)
        for row, line in zip(target, pairs, strict=True):
            windows = line.unfold(0, 2 * POINTS, 2)  # (blocks, 2 POINTS)
            torch.mm(windows, weights, out=row[first:last].view(self.blocks, 2 * COARSE))


@functools.lru_cache
def _weights(device: torch.device) -> Tensor:
    """Lagrange weights (2 POINTS, 2 COARSE), acting alike on real and imaginary parts."""
    nodes = np.arange(POINTS, dtype=np.float64) - _LEFT
    x = np.arange(COARSE) / COARSE
    table = np.ones((POINTS, COARSE))
    for j in range(POINTS):
        for k in range(POINTS):
            if k != j:
                table[j] *= (x - nodes[k]) / (nodes[j] - nodes[k])
    return torch.from_numpy(np.kron(table, np.eye(2))).to(device, torch.float32)
