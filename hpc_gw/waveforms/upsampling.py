"""Multirate time grids: h22 on coarse lattices in the inspiral, interpolated to every sample.

The frequency of h22 grows from 0.03/M to 0.8/M, so an even grid is oversampled 30-fold at its
beginning. Before ``T_DENSE`` the waveform is evaluated on lattices that get finer with time; an
8-point Lagrange interpolation gives all samples of a lattice interval as one small product.

Everything is counted from the last sample, and lattices are interpolated in pieces of fixed
size. The grid's last samples alone are thus made of the same calls on the same numbers as in
the whole grid, and equal them bit for bit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

LATTICES = ((0.8, -400.0), (3.2, -2000.0), (6.4, -1e9))
"""Largest spacing of each lattice [M], and the time where it begins [M], latest first.

Measured at 8 corners and 24 other points of the domain, in double precision: the interpolation
is within 6e-8 of h22 just before each lattice ends, and better elsewhere.
"""

T_DENSE = -20.0
"""From here on [M] every sample is evaluated: h22 varies fast, and so do the spline's pieces."""

POINTS = 8
"""Points of the Lagrange interpolation; three lattice intervals lie on each side."""

BLOCKS = 640
"""Most lattice intervals in a piece: on the paper's grid, 2.6 MB for 16 waveforms."""

_LEFT = POINTS // 2 - 1


@dataclasses.dataclass(frozen=True)
class Piece:
    """Consecutive samples interpolated together: ``blocks`` lattice intervals of ``stride``.

    ``end`` samples follow it in the grid. It may begin before the grid does.
    """

    stride: int
    blocks: int
    end: int

    @property
    def begin(self) -> int:
        """Samples from this piece's first to the grid's last."""
        return self.end + self.blocks * self.stride

    def lattice(self) -> np.ndarray:
        """Where it needs the waveform, counted in samples back from the grid's last, int64."""
        first = self.begin - 1 + _LEFT * self.stride
        return first - self.stride * np.arange(self.blocks + POINTS - 1)


@dataclasses.dataclass(frozen=True, eq=False)
class MultirateGrid:
    """How a grid is composed of interpolated pieces and directly evaluated samples.

    Attributes:
        coarse_times: where the waveform is evaluated [M], float64 (C,): the points of each piece,
            then the ``dense`` samples.
        pieces: in time order; none where the times are not uniform or already coarse.
        dense: samples at the end that are evaluated directly.
        size: samples of the grid.
    """

    coarse_times: np.ndarray
    pieces: tuple[Piece, ...]
    dense: int
    size: int

    @classmethod
    def for_times(cls, times: np.ndarray, zero: float) -> MultirateGrid:
        """The grid for ``times``, the last samples of a grid that begins at ``zero`` [M].

        What it does at a sample depends on ``zero``, the last two times and the sample's place
        before them; on no other time. Lattices may begin before ``zero``.
        """
        step = _step(times, zero)
        if step is None:
            return cls(times, (), times.size, times.size)
        pieces, dense = _compose(float(times[-1]), step, times.size)
        # From the end and ``step`` alone, so that they are the whole grid's to the last bit.
        lattices = [times[-1] - step * piece.lattice() for piece in pieces]
        return cls(
            coarse_times=np.concatenate([*lattices, times[times.size - dense :]]),
            pieces=pieces,
            dense=dense,
            size=times.size,
        )

    def upsample(self, values: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Values at ``coarse_times`` -> pieces of the grid in time order.

        The values, float32, are the last C columns of (B, >= C). Each piece comes as its place
        in the grid and its samples, float32 (B, samples).
        """
        first = values.shape[1] - self.coarse_times.size
        for piece in self.pieces:
            count = piece.blocks + POINTS - 1
            samples = _interpolate(values[:, first : first + count], piece.stride)
            begin = self.size - piece.begin
            yield slice(max(begin, 0), self.size - piece.end), samples[:, max(-begin, 0) :]
            first += count
        if self.dense:
            yield slice(self.size - self.dense, self.size), values[:, first:]


def _step(times: np.ndarray, zero: float) -> float | None:
    """The sampling interval [M], None where ``times`` are not uniform.

    Where they are the last samples of a uniform grid that begins at ``zero``, it is the same
    number for any count of them.
    """
    mean = (times[-1] - times[0]) / (times.size - 1)
    if not np.allclose(np.diff(times), mean, rtol=1e-6, atol=0):
        return None
    intervals = (times[-1] - zero) / (times[-1] - times[-2])
    if abs(intervals - round(intervals)) > 1e-3:  # ``zero`` is no sample: nothing to agree with
        return float(mean)
    return float((times[-1] - zero) / round(intervals))


def _compose(last: float, step: float, size: int) -> tuple[tuple[Piece, ...], int]:
    """The pieces of a grid of ``size`` samples ending at ``last`` [M], and its dense samples."""

    def since(time: float) -> int:
        return max(math.floor((last - time) / step) + 1, 0)

    pieces: list[Piece] = []
    covered = dense = since(T_DENSE)
    for spacing, begin in LATTICES:
        stride = 2 ** max(math.floor(math.log2(spacing / step * (1 + 1e-6))), 0)
        wanted = since(begin)
        if stride == 1:  # nothing to interpolate
            covered = dense = max(covered, wanted)
        while covered < min(wanted, size):
            blocks = min(BLOCKS, -(-(wanted - covered) // stride))
            pieces.append(Piece(stride, blocks, covered))
            covered = pieces[-1].begin
    return tuple(reversed(pieces)), min(dense, size)


def _interpolate(lattice: Tensor, stride: int) -> Tensor:
    """Float32 (B, blocks + POINTS - 1) -> (B, blocks * stride)."""
    weights = _weights(stride, lattice.device)
    if lattice.is_cuda:  # where a convolution may be rounded to TF32
        return (lattice.unfold(1, POINTS, 1) @ weights.T).flatten(1)
    # oneDNN's convolution is twice as fast as a product here. With the channel's index running
    # fastest in memory, channels are the samples of an interval, and the result is in order.
    rows, count = lattice.shape
    image = lattice.contiguous().as_strided((rows, 1, 1, count), (count, 1, count, 1))
    samples = torch.conv2d(image, weights[:, None, None])  # (B, stride, 1, blocks)
    return samples.permute(0, 2, 3, 1).reshape(rows, -1)


@functools.lru_cache
def _weights(stride: int, device: torch.device) -> Tensor:
    """Lagrange weights, float32 (stride, POINTS)."""
    nodes = np.arange(POINTS, dtype=np.float64) - _LEFT
    x = np.arange(stride) / stride
    table = np.ones((stride, POINTS))
    for j in range(POINTS):
        for k in range(POINTS):
            if k != j:
                table[:, j] *= (x - nodes[k]) / (nodes[j] - nodes[k])
    return torch.from_numpy(table).to(device, torch.float32)
