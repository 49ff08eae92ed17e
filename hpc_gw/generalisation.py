"""A network, trained on a surrogate, judged on waveforms of other models of binaries.

For random points theta, and each engine E, the network reads h_E(theta) as it reads a file, and
answers theta'. Three overlaps keep apart what is the surrogate's and what is the network's:

- ``surrogate``: O(h_E(theta), h_sur(theta)), how far the two models are from each other;
- ``parameters``: O(h_sur(theta), h_sur(theta')), what the errors of the answer cost by themselves;
- ``answer``: O(h_E(theta), h_sur(theta')), what a user sees who makes the answer's waveform.

The surrogate is judged first, as an engine like the others: its ``surrogate`` overlap is 1, and
its other two are the network's error on the waveforms that it knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hpc_gw.config import to_dict
from hpc_gw.constants import DT, N_TIMES, Q_MAX, Q_MIN, QUANTITIES, SPIN_MAX, T_MIN
from hpc_gw.errors import DataError, ParameterError
from hpc_gw.evaluation.evaluate import clip, domain
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.files import sha256
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.pretrained import (
    FOR_FILES,
    Network,
    Reader,
    answers_of,
    checkpoint_path,
    pretrained_path,
)
from hpc_gw.provenance import recipe
from hpc_gw.waveforms.columns import Columns, onto_grid, peak_time
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.surrogate import check_rows

OVERLAPS = ("surrogate", "parameters", "answer")
"""Columns of ``Judgement.overlaps``."""

QUARTILES = (0.25, 0.5, 0.75)

ROOM = 5.0, 2.0
"""M that are computed before and after what is read, for a peak that is not quite at 0."""

PLASTIC = 1.2207440846057596
"""The root of x^4 = x + 1: its powers are the steps of the most even sequence known in 3D."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the network makes of one engine's waveforms at N points."""

    kind: str
    name: str
    checksum: str
    overlaps: np.ndarray
    """float64 (N, 3), columns ``OVERLAPS``; 0 where the network gave no finite answer, NaN where
    the engine has no waveform."""

    errors: np.ndarray
    """float64 (N, 5), answer - truth, columns ``QUANTITIES``; infinite and NaN likewise."""

    clipped: int
    """Answers that were moved into the surrogate's domain before their waveform was made."""

    @property
    def made(self) -> np.ndarray:
        """Which points (N,) the engine has a waveform at."""
        return np.asarray(~np.isnan(self.overlaps[:, 0]))

    @property
    def failures(self) -> int:
        """Waveforms that the network gave no finite answer for."""
        return int(np.isinf(self.errors).any(axis=1).sum())

    def quartiles(self, kind: str) -> tuple[float, float, float]:
        """Q1, median and Q3 of one of ``OVERLAPS``, over the waveforms that were made."""
        values = self.overlaps[self.made, OVERLAPS.index(kind)]
        low, median, high = np.quantile(values, QUARTILES)
        return float(low), float(median), float(high)

    def error_medians(self, quantity: str) -> tuple[float, float]:
        """Median of \\|answer - truth\\|, and of answer - truth, the bias; inf if failures rule."""
        values = self.errors[self.made, QUANTITIES.index(quantity)]
        return float(np.median(np.abs(values))), float(np.median(values))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without NaN."""
        medians = {key: self.error_medians(key) for key in QUANTITIES}
        return {
            "kind": self.kind,
            "name": self.name,
            "checksum": self.checksum,
            "waveforms": int(self.made.sum()),
            "without_waveform": int((~self.made).sum()),
            "failures": self.failures,
            "clipped": self.clipped,
            "overlap_quartiles": {key: list(self.quartiles(key)) for key in OVERLAPS},
            "abs_error_median": {key: _finite(value[0]) for key, value in medians.items()},
            "error_median": {key: _finite(value[1]) for key, value in medians.items()},
            "overlaps": [[_finite(x) for x in row] for row in self.overlaps.tolist()],
            "errors": [[_finite(x) for x in row] for row in self.errors.tolist()],
        }


@dataclass(frozen=True, eq=False)
class Generalisation:
    """Judgements of one network at the same points; the surrogate's own comes first."""

    points: np.ndarray
    """float64 (N, 3), rows (q, s1, s2)."""

    judgements: tuple[Judgement, ...]
    recipe: dict[str, Any]

    network: str
    """Name of the checkpoint's file."""

    notes: tuple[str, ...] = ()
    """What is to be known of the network."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "network": self.network,
            "notes": list(self.notes),
            "quantities": list(QUANTITIES),
            "overlaps": list(OVERLAPS),
            "points": self.points.tolist(),
            "engines": [judgement.to_dict() for judgement in self.judgements],
            **self.recipe,
        }

    def to_markdown(self) -> str:
        """Quartiles of the mismatches 1 - O, medians of the errors, and what they are of."""
        lines = [
            "| engine | surrogate | parameters | answer |",
            "|:---|---:|---:|---:|",
        ]
        for found in self.judgements:
            cells = (_mismatches(found.quartiles(key)) for key in OVERLAPS)
            lines.append(f"| {found.kind} | {' | '.join(cells)} |")
        lines += ["", "| engine | Δq | Δs1 | Δs2 | Δσ_eff | ΔS_eff |"]
        lines += ["|:---|---:|---:|---:|---:|---:|"]
        for found in self.judgements:
            medians = (found.error_medians(key) for key in QUANTITIES)
            cells = (f"{size:.4f} ({bias:+.4f})" for size, bias in medians)
            lines.append(f"| {found.kind} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", *(f"- {line}" for line in self._remarks())])

    def _remarks(self) -> list[str]:
        said = [
            f"{len(self.points):,} points theta = (q, s1, s2), evenly spread; theta' is the "
            f"answer of {self.network} to the engine's waveform h_E(theta).",
            "First table: lower quartile / median / upper quartile of 1 - overlap; surrogate: of "
            "h_E(theta) and h_sur(theta), parameters: of h_sur(theta) and h_sur(theta'), answer: "
            "of h_E(theta) and h_sur(theta').",
            "Second table: median of |answer - truth|, in brackets the median of answer - truth.",
            *(f"{note}." for note in self.notes),
        ]
        for found in self.judgements:
            counts = (
                (int((~found.made).sum()), "points without a waveform, left out"),
                (found.failures, "waveforms without an answer, an overlap of 0"),
                (found.clipped, "answers moved into the surrogate's domain for their waveform"),
            )
            more = "".join(f"; {count:,} {what}" for count, what in counts if count)
            said.append(f"{found.kind}: {found.name}{more}.")
        return said


def random_points(count: int, seed: int = 0) -> np.ndarray:
    """Evenly spread points (q, s1, s2) in the surrogate's domain, float64 (count, 3).

    An additive recurrence from a random start, x_n = x_0 + n (g^-1, g^-2, g^-3) modulo 1, with
    g = ``PLASTIC``; uniform in (q, s1, s2), and fewer points are a prefix of more.

    Raises:
        ParameterError: less than one point, or a negative seed.
    """
    if count < 1 or seed < 0:
        raise ParameterError(f"{count} points of seed {seed}: need at least 1, and a seed >= 0")
    start = np.random.default_rng(seed).random(3)
    unit = (start + np.arange(count)[:, None] * PLASTIC ** -np.arange(1.0, 4.0)) % 1
    low, high = np.array([[Q_MIN, Q_MAX], [-SPIN_MAX, SPIN_MAX], [-SPIN_MAX, SPIN_MAX]]).T
    return np.asarray(low + (high - low) * unit)


def generalise(
    engines: Sequence[EngineConfig],
    points: np.ndarray,
    checkpoint: Path | None = None,
    *,
    surrogate: EngineConfig | None = None,
    batch: int = 8,
    progress: bool = True,
) -> Generalisation:
    """Judge a network on the waveforms of other engines.

    Args:
        engines: what makes the waveforms that the network reads.
        points: float64 (N, 3), rows (q, s1, s2).
        checkpoint: of the network; by default the shipped one that reads files.
        surrogate: makes the waveforms of truths and answers; the default surrogate if None.
        batch: waveforms at once.
        progress: show a bar for each engine.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: its card cannot be read.
        MissingDependencyError: an engine's package is not installed.
        ParameterError: a point outside the surrogate's domain or the physical one, or an engine
            that has a waveform at none of them.
    """
    weights = checkpoint_path(checkpoint) if checkpoint else pretrained_path(FOR_FILES)
    reader = Reader(weights)
    network, peak = reader.network, reader.peak
    own = surrogate or EngineConfig()
    first = min(network.grid.t_min, T_MIN) - ROOM[0]
    lead = int(np.ceil((T_MIN - first) / DT))
    times = T_MIN + DT * np.arange(-lead, N_TIMES + round(ROOM[1] / DT))
    judge = load_engine(own, times[lead : lead + N_TIMES])
    points = check_rows(points, domain(judge), judge.name)
    configs = [own, *(engine for engine in engines if engine != own)]
    loaded = [load_engine(config, times) for config in configs]
    found = []
    for config, engine in zip(configs, loaded, strict=True):
        desk = _Desk(engine, judge, network, peak, lead)
        found.append(desk.judged(config.kind, points, batch=batch, progress=progress))
    inputs = {weights.name: sha256(weights), "surrogate": judge.checksum}
    settings = {"engines": to_dict(configs), "points": len(points), "peak": peak}
    made_by = recipe(config=settings, inputs=inputs)
    return Generalisation(points, tuple(found), made_by, weights.name, reader.notes)


@dataclass(frozen=True, eq=False)
class _Desk:
    """One engine before the network and the surrogate that judges both."""

    engine: Engine
    judge: Engine
    """On the paper's times."""

    network: Network
    peak: float
    """Where the network wants the peak [M]."""

    lead: int
    """Samples of the engine before the judge's first."""

    def judged(self, kind: str, points: np.ndarray, *, batch: int, progress: bool) -> Judgement:
        overlaps = np.full((len(points), len(OVERLAPS)), np.nan)
        errors = np.full((len(points), len(QUANTITIES)), np.nan)
        clipped, refusal = 0, None
        bar = tqdm(total=len(points), desc=kind, unit=" waveforms", disable=not progress)
        with bar:
            for start in range(0, len(points), batch):
                every = np.arange(start, min(start + batch, len(points)))
                rows, h22, error = self._waveforms(points, every)
                refusal = refusal or error
                if rows.size:
                    overlaps[rows], errors[rows], moved = self._judged(points[rows], h22)
                    clipped += moved
                bar.update(every.size)
        if refusal and np.isnan(overlaps).all():
            raise refusal
        return Judgement(kind, self.engine.name, self.engine.checksum, overlaps, errors, clipped)

    def _waveforms(
        self, points: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, torch.Tensor, ParameterError | None]:
        """Rows (M,) that have a waveform, their h22 (M, T), and why another has none."""
        try:
            return rows, self.engine.h22(points[rows]), None
        except ParameterError as error:
            if len(rows) == 1:
                return rows[:0], torch.empty(0), error
        parts = [self._waveforms(points, row) for row in rows[:, None]]
        made = [(row, h22) for row, h22, _ in parts if row.size]
        refusal = next(error for _, _, error in parts if error)
        if not made:
            return rows[:0], torch.empty(0), refusal
        kept, waveforms = zip(*made, strict=True)
        return np.concatenate(kept), torch.cat(waveforms), refusal

    def _judged(self, points: np.ndarray, h22: torch.Tensor) -> tuple[np.ndarray, np.ndarray, int]:
        """Overlaps (M, 3), errors (M, 5), and how many answers were clipped."""
        truth = with_effective_spins(points)
        answer = answers_of(self.network, np.stack([self._read(row) for row in h22.numpy()]))
        inside, moved = clip(answer[:, :3], domain(self.judge))
        good = np.isfinite(answer).all(axis=1)
        given = h22[:, self.lead : self.lead + self.judge.times.size]
        true = self.judge.h22(points)
        overlaps = np.zeros((len(points), len(OVERLAPS)))
        overlaps[:, 0] = overlap(given, true).overlap.numpy()
        if good.any():
            made = self.judge.h22(inside[good])
            overlaps[good, 1] = overlap(true[good], made).overlap.numpy()
            overlaps[good, 2] = overlap(given[good], made).overlap.numpy()
        errors = np.where(good[:, None], answer - truth, np.inf)
        return overlaps, errors, int(moved[good].sum())

    def _read(self, h22: np.ndarray) -> np.ndarray:
        """h22 (T,) of the engine as the network gets it from a file."""
        times = self.engine.times
        columns = Columns(times - peak_time(times, h22), h22.astype(np.complex128))
        return onto_grid(columns, self.network.grid.times(), peak=self.peak)[0]


def _mismatches(overlaps: tuple[float, float, float]) -> str:
    """Quartiles of 1 - O, from the lower to the upper, two digits each."""
    return " / ".join(f"{1 - value:.1e}" for value in reversed(overlaps))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def read_overlaps(path: Path) -> dict[str, np.ndarray]:
    """Overlaps (N,) of input and answer by engine, from the JSON of ``hpc-gw compare``.

    Raises:
        DataError: the file is missing or something else.
    """
    try:
        content = json.loads(Path(path).read_text())
        place = content["overlaps"].index("answer")
        found = {
            engine["kind"]: np.array(engine["overlaps"], dtype=np.float64)[:, place]
            for engine in content["engines"]
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{path}: not the JSON of a comparison ({type(error).__name__}); make it with hpc-gw "
            f"compare -o {path}"
        ) from error
    return found
