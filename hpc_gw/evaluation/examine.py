"""A network examined on waveforms of one engine, and the thresholds of its flag made from that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from hpc_gw.evaluation.outside import BINS, WATCHED, Calibration, Level, bins, mismatches, scores
from hpc_gw.evaluation.readings import EVERY, Bench, WhiteNoise, sigma_of
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.protocol import Engine

Ask = Callable[[np.ndarray], np.ndarray]
"""A network: complex h22 (B, G) on its times -> the five quantities (B, 5)."""

RATE = 1e-3
"""False alarms of waveforms inside of the domain."""

SNRS = (math.inf, 1000.0, 300.0, 100.0, 30.0, 10.0)
COUNTS = (8192, 2048)
"""Waveforms of a calibration: without noise, and at each other SNR."""

SEED = 20_200_424
"""Of a calibration's points and noise; other draws are to judge it by."""

_UNIT = 0.99
_ENOUGH = 20  # waveforms in a bin that has units of its own
_SMALLEST = 1e-7  # unit: rounding of overlaps in complex64
_LEAST_LIMIT = 0.2  # units
_BATCH = 64


class Examination(NamedTuple):
    """What a network makes of M waveforms."""

    answers: np.ndarray
    """(M, 5)"""

    mismatch: np.ndarray
    """1 - O' of input and answer, noise taken out, (M,)."""

    overlap: np.ndarray
    """O of the input without its noise and the waveform of the answer, (M,); 0 for no answer."""

    made: np.ndarray
    """Which of the points have a waveform, bool (N,), M of them true."""


class Examiner:
    """Answers and mismatches of waveforms of one engine, with white noise or without.

    Args:
        ask: the network.
        bench: the engine's waveforms as the network reads them.
        judge: makes the waveforms of answers, on ``bench.lattice``.
    """

    def __init__(self, ask: Ask, bench: Bench, judge: Engine) -> None:
        self._ask, self.bench, self.judge = ask, bench, judge
        self._noise: WhiteNoise | None = None

    def examine(
        self,
        points: np.ndarray,
        *,
        snr: float = math.inf,
        shift: float = 0.0,
        phase: bool = False,
        seed: int = 0,
    ) -> Examination:
        """The network on waveforms at points (N, 3).

        Args:
            snr: of white noise, see ``readings``.
            shift: [M] later than the network wants the waveform.
            phase: turn each by a phase, uniform in [0, 2 pi).
            seed: of noise and phases.
        """
        rng = np.random.default_rng((seed, 0 if math.isinf(snr) else round(1e3 * snr)))
        made, answers = [], [np.zeros((0, 5))]
        found, clean = [np.zeros(0)], [np.zeros(0)]
        for first in range(0, len(points), _BATCH):
            good, reading = self.bench.made(points[first : first + _BATCH], shift)
            made.append(good)
            if reading is None:
                continue
            read, given, energy = reading.read, reading.judged, np.zeros(len(reading.read))
            if phase:
                read = read * np.exp(2j * np.pi * rng.random(len(read)))[:, None]
            if math.isfinite(snr):
                read, given, energy = self._noisy(read, given, snr, rng)
            answers.append(self._ask(read))
            plain = mismatches(reading.judged, answers[-1], self.judge, every=EVERY)
            clean.append(1 - np.minimum(plain, 1.0))
            if math.isfinite(snr):
                plain = mismatches(given, answers[-1], self.judge, energy, every=EVERY)
            found.append(plain)
        columns = (np.concatenate(parts) for parts in (answers, found, clean, made))
        return Examination(*columns)

    def _noisy(
        self, read: np.ndarray, given: torch.Tensor, snr: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
        """Both with noise, and its expected energy in what is judged, (B,)."""
        if self._noise is None:
            self._noise = WhiteNoise(self.bench.grid, self.bench.lattice)
        sigma = sigma_of(given, snr)
        on_read, on_given = self._noise.draw(sigma, rng)
        energy = 2 * sigma**2 * self._noise.judged_gain * given.shape[1]
        return read + on_read, given + on_given, energy


def examiner(
    ask: Ask,
    grid: np.ndarray,
    engine: EngineConfig,
    peak: float,
    surrogate: EngineConfig | None = None,
) -> Examiner:
    """A network on waveforms of ``engine``; ``surrogate`` makes those of answers, the same if None.

    Args:
        ask: the network.
        grid: its times [M], (G,).
        peak: where it wants the largest amplitude [M].
    """
    bench = Bench(lambda times: load_engine(engine, times), grid, peak)
    return Examiner(ask, bench, load_engine(surrogate or engine, bench.lattice))


def calibrate(
    examiner: Examiner,
    *,
    rate: float = RATE,
    snrs: Sequence[float] = SNRS,
    counts: tuple[int, int] = COUNTS,
    seed: int = SEED,
    progress: Callable[[int], object] = lambda done: None,
) -> Calibration:
    """Thresholds from random waveforms inside of the domain; see ``outside``.

    Args:
        examiner: of the surrogate that the network was trained on.
        rate: of false alarms.
        snrs: the first is infinite, the others fall.
        counts: waveforms without noise, and at each other SNR.
        seed: of points and noise.
        progress: told how many waveforms were done since it was told last.
    """
    points = DrawsConfig(count=max(counts), seed=seed).parameters(np.arange(max(counts)))
    levels: list[Level] = []
    for snr in snrs:
        some = points[: counts[0] if math.isinf(snr) else counts[1]]
        answers, mismatch, _, made = examiner.examine(some, snr=snr, seed=seed)
        units = _units(some[made], answers, mismatch)
        found = scores(answers, mismatch, units)
        levels.append(
            Level(
                snr,
                len(answers),
                tuple(map(tuple, units.tolist())),
                (_limit(found.beyond, rate), _limit(found.mismatch, rate)),
            )
        )
        progress(len(some))
    return Calibration(rate, tuple(levels))


def _limit(score: np.ndarray, rate: float) -> float:
    """What half of ``rate`` exceeds; not 0, as where no answer leaves the domain."""
    return max(float(np.quantile(score, 1 - rate / 2, method="higher")), _LEAST_LIMIT)


def _units(points: np.ndarray, answers: np.ndarray, mismatch: np.ndarray) -> np.ndarray:
    """Errors of ``WATCHED`` and mismatches that 99 % stay below in each of ``BINS``, (bins, 5).

    Bins with few waveforms get what 99 % of all stay below.
    """
    size = np.abs(answers - with_effective_spins(points))[:, : len(WATCHED)]
    values = np.column_stack([size, mismatch])
    good = np.isfinite(values).all(axis=1)
    place = bins(answers[:, 0])
    found = []
    for one in range(len(BINS) - 1):
        rows = good & (place == one)
        rows = rows if rows.sum() >= _ENOUGH else good
        found.append(np.quantile(values[rows], _UNIT, axis=0) if rows.any() else np.ones(5))
    return np.asarray(np.maximum(np.array(found), _SMALLEST))
