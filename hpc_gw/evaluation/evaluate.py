"""Predictions to overlaps: make both waveforms again, and compare them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.noise import NoiseConfig, overlap_in_noise
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.evaluation.records import Overlaps, Predictions
from hpc_gw.manifold.physics import sigma_eff
from hpc_gw.waveforms.protocol import Engine

COARSE = 1.6
"""Spacing [M] that waveforms are compared at first; see ``overlap`` for what that costs."""

CERTIFIED = 1e-6
"""Pairs whose bound is above this are compared again at twice as many samples."""

BATCH = 64
"""Waveform pairs at once: two of 6,332 complex64 samples each at ``COARSE``, 6 MB."""

_PHYSICAL = np.array([[1.0, np.inf], [-1.0, 1.0], [-1.0, 1.0]])
"""Domain of (q, s1, s2) that no engine leaves, whatever its own ``bounds``."""


class Judge:
    """Overlaps on one time grid, of waveforms that are made on the coarsest that will do.

    Args:
        make: an engine on given times [M].
        times: the grid that is meant, uniform; the paper's as a rule.
        noise: of a detector; without, overlaps are the paper's, in flat noise.

    Raises:
        ParameterError: the grid is not uniform.
    """

    def __init__(
        self,
        make: Callable[[np.ndarray], Engine],
        times: np.ndarray,
        noise: NoiseConfig | None = None,
    ) -> None:
        step = float(times[1] - times[0])
        if not np.allclose(np.diff(times), step, rtol=1e-6, atol=0):
            raise ParameterError("overlaps are taken on equally spaced times; use a uniform grid")
        self._make, self._times, self.step = make, times, step
        self.noise = noise or NoiseConfig()
        every = 2 ** max(0, int(np.floor(np.log2(COARSE / step * (1 + 1e-9)))))
        self.coarsest = min(every, 2 ** int(np.log2(max(times.size // 64, 1))))
        self._engines: dict[int, Engine] = {}
        self.bounds = domain(self.engine(self.coarsest))

    @property
    def name(self) -> str:
        """The engine's name."""
        return self.engine(self.coarsest).name

    @property
    def checksum(self) -> str:
        """The engine's checksum."""
        return self.engine(self.coarsest).checksum

    def engine(self, every: int = 1) -> Engine:
        """The engine on each ``every``-th time of the grid, from the first."""
        if every not in self._engines:
            self._engines[every] = self._make(self._times[::every])
        return self._engines[every]

    def compare(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Overlap, its bound, t_c [M] and phi_c [rad] of waveform pairs: (B, 3) x2 -> (4, B).

        Bounds above ``CERTIFIED`` are brought down by finer times, as far as the grid goes.
        """
        found = self._compare(one, other, self.coarsest)
        every = self.coarsest // 2
        while every and (loose := np.flatnonzero(found[1] > CERTIFIED)).size:
            found[:, loose] = self._compare(one[loose], other[loose], every)
            every //= 2
        return found

    def _compare(self, one: np.ndarray, other: np.ndarray, every: int) -> np.ndarray:
        engine, parts = self.engine(every), []
        size = max(1, BATCH * every // self.coarsest)
        for first in range(0, len(one), size):
            rows = slice(first, first + size)
            pair = engine.h22(one[rows]), engine.h22(other[rows])
            if self.noise.curve == "flat":
                value = overlap(*pair, every=every)
            else:
                value = overlap_in_noise(*pair, self.step * every, self.noise)
            columns = (value.overlap, value.bound, value.shift * (self.step * every), value.phase)
            parts.append(torch.stack(columns).cpu().numpy())
        return np.concatenate(parts, axis=1)


@torch.no_grad()
def compute_overlaps(predictions: Predictions, judge: Judge) -> Overlaps:
    """Overlap of the waveform at each prediction with the waveform at the truth.

    A finite prediction outside of the engine's domain is moved to the nearest point inside,
    column by column, and marked ``clipped``; see ``domain``. A prediction that is not finite
    gives NaN: a failure.

    Raises:
        ParameterError: a truth is outside the engine's domain.
    """
    answer, clipped = clip(predictions.prediction[:, :3], judge.bounds)
    usable = np.flatnonzero(np.isfinite(answer).all(axis=1))
    found = np.full((4, len(predictions)), np.nan)
    if usable.size:
        found[:, usable] = judge.compare(predictions.truth[usable, :3], answer[usable])
    value, bound, t_c, phi_c = found
    return Overlaps(predictions.row, value, bound, t_c, phi_c, clipped)


def domain(engine: Engine) -> np.ndarray:
    """Bounds (3, 2) of (q, s1, s2) inside which the engine answers: physical, and its own."""
    own = np.asarray(getattr(engine, "bounds", _PHYSICAL), dtype=np.float64)
    low = np.maximum(own[:, 0], _PHYSICAL[:, 0])
    return np.stack([low, np.minimum(own[:, 1], _PHYSICAL[:, 1])], axis=1)


def clip(parameters: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, 3) moved into ``bounds`` (3, 2), and which of them (N,) were moved.

    q first, then the spins along the line of constant sigma_eff, which the waveform sees far better
    than the spins' difference: so the waveform of the moved row stays as close as it can. A row
    whose sigma_eff no spins inside have goes to the nearest point. NaN and infinities stay as they
    are, and do not count as moved.
    """
    finite = np.isfinite(parameters)
    nearest = np.where(finite, np.clip(parameters, bounds[:, 0], bounds[:, 1]), parameters)
    outside = (finite & (nearest != parameters)).any(axis=1) & finite.all(axis=1)
    inside = nearest.copy()
    inside[outside] = _along_sigma(parameters[outside], nearest[outside], bounds)
    moved = (finite & (inside != parameters)).any(axis=1)
    return inside, moved & finite.all(axis=1)


def _along_sigma(rows: np.ndarray, nearest: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """``nearest`` (N, 3), its spins replaced by those inside with the sigma_eff of ``rows``."""
    q, sigma = nearest[:, 0], sigma_eff(*rows.T)
    (low_1, high_1), (low_2, high_2) = bounds[1], bounds[2]
    # s1 = sigma + d / (1 + q), s2 = sigma - q d / (1 + q), both inside.
    low = (1 + q) * np.maximum(low_1 - sigma, (sigma - high_2) / q)
    high = (1 + q) * np.minimum(high_1 - sigma, (sigma - low_2) / q)
    difference = np.clip(rows[:, 1] - rows[:, 2], low, high)
    spins = np.stack((sigma + difference / (1 + q), sigma - q * difference / (1 + q)), axis=1)
    found = np.where((low <= high)[:, None], spins, nearest[:, 1:])
    return np.column_stack((q, np.clip(found, bounds[1:, 0], bounds[1:, 1])))  # of rounding
