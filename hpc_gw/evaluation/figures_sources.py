"""What figures need of a waveform engine: pairs to compare, overlaps with whole slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.interpolate import RegularGridInterpolator
from torch import Tensor

from hpc_gw.constants import Q_MAX, Q_MIN, SPIN_MAX
from hpc_gw.evaluation.evaluate import clip, domain
from hpc_gw.evaluation.figures_manifold import EffectiveMap, Point, SpinMaps
from hpc_gw.evaluation.figures_waveforms import WaveformPair
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.evaluation.records import Overlaps, Predictions
from hpc_gw.evaluation.statistics import failures_as_zero, q_slices
from hpc_gw.manifold import physics
from hpc_gw.waveforms.protocol import Engine

SYSTEMS: tuple[Point, ...] = (
    (1.0, 0.8, -0.8),
    (6.00, 0.40, -0.40),
    (7.12, 0.70, -0.30),
    (7.92, -0.70, -0.70),
)
"""(q, s1, s2) of figures 5 and 6 of arXiv:2004.09524."""

SPINS = np.linspace(-0.794, 0.790, 34)
"""Every second spin of the paper's test grid."""

MAP_STEP = 1.6
"""Sampling of the waveforms behind a map [M]: h22 ends near 0.3 rad/M, Nyquist is 2.0 rad/M."""

BATCH = 64
"""Waveforms that a map makes at once: few enough for the cache."""

ROUGH = 0.9
"""Overlaps of a map below this are not searched for between samples."""

RIDGE = 0.6
"""Overlaps of an effective map below this are interpolated between every third point."""

LEVELS = ("highest", "median", r"$2\sigma$ below the mean")
"""Rows of the paper's figure 11."""


def waveform_pairs(
    predictions: Predictions, overlaps: Overlaps, engine: Engine, rows: Sequence[int]
) -> list[WaveformPair]:
    """Re h22 at truth and prediction of some rows, the prediction moved by its t_c and phi_c."""
    times, inside = engine.times, domain(engine)
    pairs = []
    for i in rows:
        truth = predictions.truth[i : i + 1, :3]
        answer, _ = clip(predictions.prediction[i : i + 1, :3], inside)
        with torch.no_grad():
            h, s = (engine.h22(p)[0].cpu().numpy() for p in (truth, answer))
        at = times + overlaps.t_c[i]
        turned = s * np.exp(-1j * overlaps.phi_c[i])
        moved = np.interp(at, times, turned.real, left=0.0, right=0.0)
        pairs.append(
            WaveformPair(
                _point(truth[0]),
                float(overlaps.overlap[i]),
                times,
                h.real,
                moved,
                _point(predictions.prediction[i]),
            )
        )
    return pairs


def sample_rows(overlap: np.ndarray) -> tuple[int, int, int] | None:
    """Rows of the highest, the median and the 2-sigma-low overlap of (N,), for figure 11.

    The last one's overlap is the nearest to the mean less two standard deviations, failures
    counted as 0. ``None`` where every row failed.
    """
    value = failures_as_zero(overlap)
    order = np.argsort(value, kind="stable")
    order = order[np.isfinite(overlap[order])]
    if not order.size:
        return None
    low = int(np.argmin(np.abs(value[order] - (value.mean() - 2 * value.std()))))
    return int(order[-1]), int(order[len(order) // 2]), int(order[low])


def slices_near(q: np.ndarray, wanted: Sequence[float]) -> list[np.ndarray]:
    """Rows of the slices of ``q`` (N,) that lie nearest to the wanted ones, each slice once."""
    slices = q_slices(q)
    centre = np.array([(low + high) / 2 for low, high, _ in slices])
    chosen = {int(np.argmin(np.abs(centre - value))) for value in wanted}
    return [slices[k][2] for k in sorted(chosen)]


def overlap_map(
    engine: Engine, point: Point, q: float, s1_grid: np.ndarray, s2_grid: np.ndarray
) -> np.ndarray:
    """Overlap of the waveform at ``point`` with those of one slice: (A, B) for A s1 and B s2."""
    s1, s2 = np.meshgrid(s1_grid, s2_grid, indexing="ij")
    rows = np.stack([np.full(s1.size, q), s1.ravel(), s2.ravel()], axis=1)
    return np.asarray(_against(engine, point, rows).reshape(s1.shape))


def spin_maps(
    engine: Engine, point: Point, *, spins: np.ndarray = SPINS, step: float = 0.16
) -> SpinMaps:
    """Three slices over the spins: the one of ``point``, and those ``step`` away in q.

    Where the domain ends, all three lie on this side of the end.
    """
    low, high = domain(engine)[0]
    first = -1 + (point[0] - step < low) - (point[0] + step > high)
    slices = tuple(point[0] + (first + k) * step for k in range(3))
    maps = [overlap_map(engine, point, q, spins, spins) for q in slices]
    return SpinMaps(point, slices, spins, spins, np.stack(maps))


def effective_map(
    engine: Engine, point: Point, *, shape: tuple[int, int] = (67, 82), every: int = 3
) -> EffectiveMap:
    """The best overlap at each (eta, sigma_eff), over three ways to share the spin.

    Every third point of both is computed first; what lies between is interpolated, and computed
    where that gives at least ``RIDGE``.
    """
    eta = np.linspace(physics.eta(Q_MAX), physics.eta(Q_MIN), shape[0])
    sigma = np.linspace(-SPIN_MAX, SPIN_MAX, shape[1])
    knots = tuple(axis[:: min(every, len(axis) - 1)] for axis in (eta, sigma))
    knots = tuple(
        np.append(k, axis[-1]) if k[-1] < axis[-1] else k
        for k, axis in zip(knots, (eta, sigma), strict=True)
    )
    places = np.stack(np.meshgrid(*knots, indexing="ij"), axis=-1)
    coarse = _best(engine, point, places.reshape(-1, 2)).reshape(places.shape[:2])
    fine = np.stack(np.meshgrid(eta, sigma, indexing="ij"), axis=-1)
    found = RegularGridInterpolator(knots, coarse)(fine)
    near = found >= RIDGE
    found[near] = _best(engine, point, fine[near])
    return EffectiveMap(point, eta, sigma, found)


def _best(engine: Engine, point: Point, places: np.ndarray) -> np.ndarray:
    """The best overlap at some (eta, sigma_eff), (N, 2), over three ways to share the spin.

    s1 = sigma + d/q, s2 = sigma - d; d takes the ends of what the domain holds, and the value
    nearest to that of ``point``.
    """
    q, sigma = mass_ratio(places[:, 0]), places[:, 1]
    own = physics.sigma_eff(*point) - point[2]
    low = np.maximum(sigma - SPIN_MAX, -q * (SPIN_MAX + sigma))
    high = np.minimum(sigma + SPIN_MAX, q * (SPIN_MAX - sigma))
    best = np.zeros(len(q))
    for d in (low, high, np.clip(own, low, high)):
        rows, _ = clip(np.stack([q, sigma + d / q, sigma - d], axis=1), domain(engine))
        best = np.fmax(best, _against(engine, point, rows))
    return best


def mass_ratio(eta: np.ndarray) -> np.ndarray:
    """q = m1/m2 >= 1 of a symmetric mass ratio of at most 1/4."""
    lighter = (1 - np.sqrt(np.maximum(1 - 4 * eta, 0.0))) / 2
    return np.asarray(1 / lighter - 1)


class Thinned:
    """Every n-th sample of another engine; answers the ``Engine`` protocol."""

    def __init__(self, engine: Engine, step: float = MAP_STEP) -> None:
        self.engine = engine
        self.every = max(1, round(step / float(engine.times[1] - engine.times[0])))
        self.times = engine.times[:: self.every]
        self.name, self.checksum = engine.name, engine.checksum
        self.bounds = domain(engine)

    def h22(self, parameters: np.ndarray | Tensor) -> Tensor:
        """Complex64 h22, shape (B, T)."""
        return self.engine.h22(parameters)[:, :: self.every].contiguous()


@torch.no_grad()
def _against(engine: Engine, point: Point, rows: np.ndarray) -> np.ndarray:
    """Overlaps of the waveform at ``point`` with those at ``rows`` (N, 3).

    Below ``ROUGH`` they are those of the best whole sample, which needs no search between
    samples: too low by at most 3e-4 as measured at ``MAP_STEP``.
    """
    inside, _ = clip(np.array([point]), domain(engine))
    one = engine.h22(inside)
    n = next_fast_len(2 * one.shape[1])
    spectrum = torch.fft.fft(one, n).conj_physical_()
    found = []
    for start in range(0, len(rows), BATCH):
        others = engine.h22(rows[start : start + BATCH])
        peak = torch.fft.ifft(torch.fft.fft(others, n).mul_(spectrum)).abs().amax(dim=1)
        value = (peak / (one.norm() * others.norm(dim=1))).double()
        near = torch.nonzero(~(value < ROUGH))[:, 0]  # NaN among them
        if near.numel():
            pairs = one.expand(len(near), -1).contiguous(), others[near]
            value[near] = overlap(*pairs).overlap.to(value)
        found.append(value.cpu())
    return np.asarray(torch.cat(found)) if found else np.empty(0)


def _point(row: np.ndarray) -> Point:
    q, s1, s2 = row[:3].tolist()
    return q, s1, s2
