"""Waveforms of an engine as a network reads them from files, and as its answers are judged by.

A network knows its own times, ``grid``; its answers are judged on each 16th sample of the paper's
grid (``overlap``). White noise is drawn once, for both, so that an answer and its overlap
feel the same noise.

Signal-to-noise ratio: rho^2 = sum h^2 / sigma^2 over h = Re h22 on the paper's 101,300 samples,
each with white noise of variance sigma^2; Im h22, which overlaps look at and networks do not,
has noise of its own of the same variance. A network that reads coarser samples is given what a
careful user would give it: the noise of the paper's rate behind ``waveforms.lowpass``, whose output
has the variance sigma^2 dt / D, D the local spacing that is filtered for. 101,300 draws a waveform
are not needed for that: all that passes lies below the Nyquist frequency of a lattice of 0.4 M,
whose white noise of variance sigma^2 dt / 0.4 M is the same in that band. The covariances of both
ways are compared in tests/unit/test_stress.py.

``WhiteNoise`` is what reaches the network's samples where time and phase are known. ``Bench.files``
makes the noisy file itself, and reads it by the functions that ``hpc-gw predict`` reads files by:
the noise is estimated, and time and phase are looked for in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from hpc_gw.constants import DT, T_MAX, T_MIN
from hpc_gw.errors import DataError, ParameterError
from hpc_gw.evaluation.evaluate import COARSE
from hpc_gw.waveforms.columns import Columns, columns_of, onto_grid, peak_time
from hpc_gw.waveforms.lowpass import FINER, HALF_WIDTH, lowpass_matrix, spacing, widths
from hpc_gw.waveforms.protocol import Engine

FINE = 0.4
"""Spacing [M] of the waveforms that are read, and of the noise's lattice."""

ROOM = 60.0, 6.8
"""M before and after the paper's grid: for shifts of 10 M, and peaks that are looked for in noise,
which may be found early."""

EVERY = round(COARSE / DT)
"""Overlaps are taken on each so many-th sample of the paper's grid."""


class Reading(NamedTuple):
    """Waveforms of B points."""

    read: np.ndarray
    """On the network's times, complex128 (B, G): positive at the first."""

    judged: torch.Tensor
    """On ``Bench.lattice``, complex64 (B, T)."""

    h22: np.ndarray
    """On ``Bench.times``, complex64 (B, N)."""


class Files(NamedTuple):
    """Noisy files of B points, as ``hpc-gw predict`` reads them; F of them can be read."""

    good: np.ndarray
    """Which can be read, bool (B,)."""

    read: np.ndarray
    """On the network's times, complex128 (F, G)."""

    judged: torch.Tensor
    """On ``Bench.lattice``, filtered, complex64 (F, T)."""

    energy: np.ndarray
    """Sum of \\|noise\\|^2 in that by what the files tell of their noise, (F,)."""


class Bench:
    """One engine's waveforms, for one network.

    Args:
        make: an engine on given times [M].
        grid: the network's times [M], (G,).
        peak: where the network wants the largest |h22| [M].
    """

    def __init__(self, make: Callable[[np.ndarray], Engine], grid: np.ndarray, peak: float) -> None:
        self.grid, self.peak = grid, peak
        # Files are filtered only where they are finer than what a sample is filtered for.
        coarse = FINER * float(widths(grid).min()) >= FINE
        self.step = step = FINE if coarse else DT
        lead = round((T_MIN - (min(T_MIN, float(grid[0])) - ROOM[0])) / step)
        count = lead + round((max(T_MAX, float(grid[-1])) + ROOM[1] - T_MIN) / step)
        self.times = T_MIN + step * (np.arange(count) - lead)
        end = lead + -(-round((T_MAX - T_MIN) / DT) // round(step / DT))
        self._judged = slice(lead, end, round(COARSE / step))
        self._filter: csr_array | None = None
        self.lattice = self.times[self._judged]
        self.engine = make(self.times)

    def waveforms(self, points: np.ndarray, shift: float = 0.0) -> Reading:
        """h22 at points (B, 3), put ``shift`` [M] later than the network wants it.

        Raises:
            ParameterError: the engine has no waveform at one of the points.
        """
        h22 = self.engine.h22(points)
        read = np.stack([self._read(row, shift) for row in h22.numpy()])
        return Reading(read, h22[:, self._judged].contiguous(), h22.numpy())

    def made(self, points: np.ndarray, shift: float = 0.0) -> tuple[np.ndarray, Reading | None]:
        """Which of the points (B,) have a waveform, and those; None if there is none."""
        try:
            return np.ones(len(points), dtype=bool), self.waveforms(points, shift)
        except ParameterError:
            if len(points) == 1:
                return np.zeros(1, dtype=bool), None
        parts = [self.made(point[None], shift) for point in points]
        good = np.concatenate([one for one, _ in parts])
        rows = [found for _, found in parts if found is not None]
        if not rows:
            return good, None
        read = np.concatenate([row.read for row in rows])
        fine = np.concatenate([row.h22 for row in rows])
        return good, Reading(read, torch.cat([row.judged for row in rows]), fine)

    def files(self, h22: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> Files:
        """Noisy files of waveforms ``h22`` (B, N) on ``times``, read as any file is.

        Args:
            h22: without noise.
            sigma: of Re h22 and of Im h22 a sample of the paper's grid, (B,).
            rng: of the noise.
        """
        white = rng.standard_normal((2, *h22.shape))
        noisy = h22 + (white[0] + 1j * white[1]) * (sigma * np.sqrt(DT / self.step))[:, None]
        if self._filter is None:
            width = np.full(self.lattice.size, COARSE)
            self._filter = lowpass_matrix(self.times, self.lattice, width)
        good, read, found = np.zeros(len(h22), dtype=bool), [], []
        for number, row in enumerate(noisy):
            try:
                columns = columns_of(self.times, row, "file")
                read.append(onto_grid(columns, self.grid, peak=self.peak)[0])
            except DataError:
                continue
            good[number] = True
            found.append(columns.noise.sigma)
        judged = (self._filter @ noisy[good].T).T.astype(np.complex64)
        energy = 2 * np.square(found) * float(self._filter.power(2).sum())
        rows = np.reshape(read, (int(good.sum()), self.grid.size))
        return Files(good, rows, torch.from_numpy(judged).contiguous(), energy)

    def _read(self, h22: np.ndarray, shift: float) -> np.ndarray:
        columns = Columns(self.times - peak_time(self.times, h22), h22.astype(np.complex128))
        return onto_grid(columns, self.grid, peak=self.peak + shift)[0]


class WhiteNoise:
    """White noise of the paper's rate, as it arrives at a network's times and at the judge's.

    Args:
        grid: the network's times [M], (G,). Where they are no coarser than the paper's grid, each
            sample has the noise of one, and nothing is filtered.
        lattice: the judge's times [M], (T,), evenly spaced.

    Attributes:
        read_gain: variance of each sample of the network over sigma^2, (G,).
        judged_gain: the mean of that over the judge's samples.
    """

    def __init__(self, grid: np.ndarray, lattice: np.ndarray) -> None:
        width = widths(grid)
        self._direct = float(spacing(grid).min()) < 2 * DT
        step = DT if self._direct else min(FINE, FINER * float(width.min()))
        self._step = step
        coarse = np.full(lattice.size, float(lattice[1] - lattice[0]))
        room = HALF_WIDTH * max(float(width[0]), coarse[0]) + step
        end = HALF_WIDTH * max(float(width[-1]), coarse[0]) + step
        start = min(grid[0], lattice[0]) - step * np.ceil(room / step)
        self._times = start + step * np.arange(
            int(np.ceil((max(grid[-1], lattice[-1]) + end - start) / step))
        )
        self._read = self._nearest(grid) if self._direct else self._filter(grid, width)
        self._judged = self._filter(lattice, coarse)
        self.read_gain = self._gain(self._read)
        self.judged_gain = float(self._gain(self._judged).mean())

    def draw(self, sigma: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, torch.Tensor]:
        """Noise of the network's samples, (B, G), and of the judge's, (B, T), both complex.

        Args:
            sigma: of Re h22 and of Im h22 a sample of the paper's grid, (B,).
        """
        white = rng.standard_normal((2, len(sigma), self._times.size))
        white = (white[0] + 1j * white[1]) * (sigma * np.sqrt(DT / self._step))[:, None]
        judged = torch.from_numpy((self._judged @ white.T).T.astype(np.complex64))
        return np.asarray((self._read @ white.T).T), judged.contiguous()

    def _filter(self, grid: np.ndarray, width: np.ndarray) -> csr_array:
        return lowpass_matrix(self._times, grid, width)

    def _nearest(self, grid: np.ndarray) -> csr_array:
        column = np.rint((grid - self._times[0]) / self._step).astype(np.int64)
        shape = (grid.size, self._times.size)
        return csr_array((np.ones(grid.size), (np.arange(grid.size), column)), shape=shape)

    def _gain(self, matrix: csr_array) -> np.ndarray:
        return np.asarray(matrix.power(2).sum(axis=1)).ravel() * (DT / self._step)


def sigma_of(judged: torch.Tensor, snr: float) -> np.ndarray:
    """Standard deviation (B,) of the noise a sample of the paper's grid; 0 for an infinite SNR.

    Args:
        judged: h22 on each ``EVERY``-th sample of that grid, (B, T).
    """
    power = EVERY * judged.real.double().square().sum(dim=1).numpy()
    return np.asarray(np.sqrt(power) / snr)
