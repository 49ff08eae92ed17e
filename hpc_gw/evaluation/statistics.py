"""The numbers of the paper's Table 1, Appendix A and figure 9. Pure NumPy.

Failures are counted and never dropped. A failed overlap (NaN) counts in each count, and as
0, the worst, in every mean and quantile. A failed prediction has an error without bound, on
whichever side makes the number worse: such a quantile is ``None`` (JSON knows no infinity).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hpc_gw.constants import QUANTITIES
from hpc_gw.evaluation.records import Results
from hpc_gw.manifold import physics

STATISTICS = ("min", "q1", "median", "q3", "max")
"""Columns of Table 1."""

THRESHOLDS = (0.97, 0.90, 0.85)
"""Overlaps whose tails are counted (arXiv:2004.09524, appendix A)."""

PAPER_SOURCE = "Khan, Huerta & Das, arXiv:2004.09524"

PAPER_TOTAL = 197_516
"""Waveforms of the paper's test set."""

PAPER_TABLE_1: Mapping[str, tuple[float, float, float, float, float]] = {
    "q": (-0.074, -0.010, -0.004, 0.002, 0.188),
    "s1": (-0.687, -0.006, 0.002, 0.009, 0.441),
    "s2": (-0.466, -0.010, -0.000, 0.009, 0.767),
    "sigma_eff": (-0.074, -0.004, 0.002, 0.008, 0.098),
    "s_eff": (-0.516, -0.037, -0.004, 0.032, 0.493),
    "overlap": (0.278, 0.986, 0.995, 0.999, 1.000),
}
"""(min, Q1, median, Q3, max) of prediction - truth, and of the overlap (Table 1)."""

PAPER_COUNTS: Mapping[float, int] = {0.97: 18_315, 0.90: 817, 0.85: 181}
"""Waveforms at or below each overlap, of ``PAPER_TOTAL`` (appendix A)."""

MAX_SLICES = 64
"""More distinct mass ratios than this are gathered into bins of width 1."""


@dataclass(frozen=True)
class Slice:
    """Overlaps of one slice of mass ratio, ``q_low <= q < q_high`` (equal for one grid value)."""

    q_low: float
    q_high: float
    count: int
    failures: int
    mean: float
    median: float
    minimum: float

    @property
    def label(self) -> str:
        """``q = 4.08`` or ``4 ≤ q < 5``."""
        return slice_label(self.q_low, self.q_high)


@dataclass(frozen=True)
class Summary:
    """What a run's overlaps and errors come to."""

    engine: str
    total: int
    failures: int
    """Overlaps that are NaN."""

    clipped: int
    """Predictions that were moved into the engine's domain before their waveform was made."""

    mean_overlap: float
    table: Mapping[str, tuple[float | None, ...]]
    """(min, Q1, median, Q3, max) of each error, keys ``QUANTITIES``, and of ``overlap``."""

    counts: Mapping[float, int]
    """Waveforms at or below each of ``THRESHOLDS``, failures among them."""

    slices: tuple[Slice, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the paper's beside them."""
        return {
            **asdict(self),
            "table": {
                key: dict(zip(STATISTICS, row, strict=True)) for key, row in self.table.items()
            },
            "counts": {f"{limit:.2f}": count for limit, count in self.counts.items()},
            "slices": [asdict(part) for part in self.slices],
            "paper": {
                "source": PAPER_SOURCE,
                "total": PAPER_TOTAL,
                "table": {
                    key: dict(zip(STATISTICS, row, strict=True))
                    for key, row in PAPER_TABLE_1.items()
                },
                "counts": {f"{limit:.2f}": count for limit, count in PAPER_COUNTS.items()},
            },
        }


def summary(results: Results) -> Summary:
    """Table 1, the counts and the slices of a run, of the network alone."""
    predictions, overlaps = results.predictions, results.overlaps
    value = failures_as_zero(overlaps.overlap)
    error = predictions.prediction - predictions.truth  # (N, 5)
    table = {name: quantiles_of_error(error[:, i]) for i, name in enumerate(QUANTITIES)}
    table["overlap"] = tuple(float(x) for x in np.quantile(value, _LEVELS)) if value.size else _NONE
    return Summary(
        engine=results.engine,
        total=len(overlaps),
        failures=int(np.isnan(overlaps.overlap).sum()),
        clipped=int(overlaps.clipped.sum()),
        mean_overlap=float(value.mean()) if value.size else 0.0,
        table=table,
        counts={limit: int((value <= limit).sum()) for limit in THRESHOLDS},
        slices=by_slice(predictions.truth[:, 0], overlaps.overlap),
    )


def refined_summary(results: Results) -> Summary | None:
    """The same of the refined answers; ``None`` where there are none."""
    refined, predictions = results.refined, results.predictions
    if refined is None:
        return None
    overlaps = dataclasses.replace(
        results.overlaps,
        overlap=refined.overlap,
        clipped=np.zeros(len(results), dtype=bool),
    )
    answers = dataclasses.replace(
        predictions, prediction=physics.with_effective_spins(refined.parameters)
    )
    return summary(Results(answers, overlaps, engine=results.engine))


def failures_as_zero(overlap: np.ndarray) -> np.ndarray:
    """Overlaps with NaN, a failure, as 0, the worst."""
    return np.where(np.isnan(overlap), 0.0, overlap)


_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_NONE: tuple[None, ...] = (None,) * len(_LEVELS)


def quantiles_of_error(error: np.ndarray) -> tuple[float | None, ...]:
    """(min, Q1, median, Q3, max) of errors (N,); ``None`` where failures leave it unbounded.

    Each quantile is taken with the failures at -infinity and at +infinity. If both are
    finite, the one farther from the median of the others is kept.
    """
    failed = ~np.isfinite(error)
    if failed.all():
        return _NONE
    centre = float(np.median(error[~failed]))
    ends = []
    for side in (-np.inf, np.inf):
        ordered = np.sort(np.where(failed, side, error))
        place = np.asarray(_LEVELS) * (len(ordered) - 1)
        low, high = ordered[np.floor(place).astype(int)], ordered[np.ceil(place).astype(int)]
        with np.errstate(invalid="ignore"):
            ends.append(np.where(low == high, low, low + (high - low) * (place % 1)))
    worse = np.where(np.abs(ends[0] - centre) > np.abs(ends[1] - centre), ends[0], ends[1])
    both = np.isfinite(ends[0]) & np.isfinite(ends[1])
    return tuple(float(x) if ok else None for x, ok in zip(worse, both, strict=True))


def q_slices(q: np.ndarray) -> list[tuple[float, float, np.ndarray]]:
    """(q_low, q_high, rows) by grid value, or by bins of width 1 where q is scattered."""
    values = np.unique(np.round(q, 6))
    if 0 < len(values) <= min(MAX_SLICES, max(1, len(q) // 4)):
        return [(float(v), float(v), np.flatnonzero(np.abs(q - v) < 1e-5)) for v in values]
    return [
        (float(low), float(low + 1), rows)
        for low in (np.unique(np.floor(q)))
        if (rows := np.flatnonzero(np.floor(q) == low)).size
    ]


def slice_label(q_low: float, q_high: float) -> str:
    """``q = 4.08`` for a grid value, ``4 ≤ q < 5`` for a bin."""
    if q_low == q_high:
        return f"q = {q_low:.2f}"
    return f"{q_low:g} ≤ q < {q_high:g}"


def by_slice(q: np.ndarray, overlap: np.ndarray) -> tuple[Slice, ...]:
    """Mean, median and minimum of the overlap in each slice of ``q``, both of shape (N,)."""
    slices = []
    for low, high, rows in q_slices(q):
        value = failures_as_zero(overlap[rows])
        slices.append(
            Slice(
                q_low=low,
                q_high=high,
                count=len(rows),
                failures=int(np.isnan(overlap[rows]).sum()),
                mean=float(value.mean()),
                median=float(np.median(value)),
                minimum=float(value.min()),
            )
        )
    return tuple(slices)
