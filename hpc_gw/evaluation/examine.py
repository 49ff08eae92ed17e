"""A network examined on waveforms of one engine, and the thresholds of its flag made from that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.outside import BINS, WATCHED, Calibration, Level, bins, mismatches, scores
from hpc_gw.evaluation.readings import EVERY, Bench, Files, Reading, WhiteNoise, sigma_of
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.provenance import recipe
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.protocol import Engine

Ask = Callable[[np.ndarray], np.ndarray]
"""A network: complex h22 (B, G) on its times -> the five quantities (B, 5)."""

RATE = 1e-3
"""False alarms of waveforms inside of the domain."""

SNRS = (math.inf, 1000.0, 300.0)
"""Of a calibration's waveforms. In more noise than the last the merger of a file is found so badly
(docs/robustness.md) that nothing is told."""

COUNTS = (8192, 2048)
"""Waveforms of a calibration: without noise, and at each other SNR. 1,999 are the least."""

SEED = 20_200_424
"""Of a calibration's points and noise; other draws are to judge it by."""

_UNIT = 0.99
_ENOUGH = 20  # waveforms in a bin that has units of its own
_SMALLEST = 1e-7  # unit: rounding of overlaps in complex64
_LEAST_LIMIT, _MOST_LIMIT = 0.2, 1e6  # units; JSON has no infinity
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

    read: np.ndarray
    """Which of the waveforms can be read, bool (M,): not all noisy files can."""


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
        files: bool = False,
        seed: int = 0,
    ) -> Examination:
        """The network on waveforms at points (N, 3).

        Args:
            snr: of white noise, see ``readings``.
            shift: [M] later than the network wants the waveform.
            phase: turn each by a phase, uniform in [0, 2 pi).
            files: time, phase and strength of the noise are looked for in it, as in a file;
                without noise, all waveforms are read as files are.
            seed: of noise and phases.
        """
        rng = np.random.default_rng((seed, 0 if math.isinf(snr) else round(1e3 * snr)))
        parts: list[tuple[np.ndarray, ...]] = [
            (np.zeros((0, 5)), np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))
        ]
        made = []
        for first in range(0, len(points), _BATCH):
            good, reading = self.bench.made(points[first : first + _BATCH], shift)
            made.append(good)
            if reading is None:
                continue
            if phase:
                turn = np.exp(2j * np.pi * rng.random(len(reading.read)))[:, None]
                reading = reading._replace(read=reading.read * turn)
            parts.append(self._judged(reading, self._noisy(reading, snr, files, rng)))
        answers, found, clean, read = (np.concatenate(rows) for rows in zip(*parts, strict=True))
        return Examination(answers, found, clean, np.concatenate(made), read)

    def _judged(self, clean: Reading, noisy: Files | None) -> tuple[np.ndarray, ...]:
        """Answers (B, 5), mismatches, overlaps without noise, and which were read, (B,) each."""
        count = len(clean.read)
        if noisy is None:
            answers, good = self._ask(clean.read), np.ones(count, dtype=bool)
        else:
            answers, good = np.full((count, 5), np.nan), noisy.good
            if good.any():
                answers[good] = self._ask(noisy.read)
        plain = mismatches(clean.judged, answers, self.judge, every=EVERY)
        found = plain
        if noisy is not None:
            found = np.full(count, np.inf)
            rows = noisy.judged, answers[good], self.judge, noisy.energy
            found[good] = mismatches(*rows, every=EVERY)
        return answers, found, 1 - np.minimum(plain, 1.0), good

    def _noisy(
        self, clean: Reading, snr: float, files: bool, rng: np.random.Generator
    ) -> Files | None:
        """The same with noise; None where there is none."""
        if math.isinf(snr):
            return None
        given, sigma = clean.judged, sigma_of(clean.judged, snr)
        if files:
            return self.bench.files(clean.h22, sigma, rng)
        if self._noise is None:
            self._noise = WhiteNoise(self.bench.grid, self.bench.lattice)
        on_read, on_given = self._noise.draw(sigma, rng)
        energy = 2 * sigma**2 * self._noise.judged_gain * given.shape[1]
        good = np.ones(len(given), dtype=bool)
        return Files(good, clean.read + on_read, given + on_given, energy)


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
    """Thresholds from random waveforms inside of the domain, read as files are; see ``outside``.

    Args:
        examiner: of the surrogate that the network was trained on.
        rate: of false alarms.
        snrs: the first is infinite, the others fall.
        counts: waveforms without noise, and at each other SNR.
        seed: of points and noise.
        progress: told how many waveforms were done since it was told last.

    Raises:
        ParameterError: too few waveforms for such a rate.
    """
    for count in counts:
        rank(count, rate)  # before any work
    points = DrawsConfig(count=max(counts), seed=seed).parameters(np.arange(max(counts)))
    levels: list[Level] = []
    for snr in snrs:
        some = points[: counts[0] if math.isinf(snr) else counts[1]]
        found = examiner.examine(some, snr=snr, files=True, seed=seed)
        answers, mismatch = found.answers[found.read], found.mismatch[found.read]
        if 2 * len(answers) < len(some):
            raise ParameterError(
                f"SNR {snr:g}: {len(some) - len(answers):,} of {len(some):,} noisy waveforms "
                f"cannot be read; calibrate at higher SNR"
            )
        units = _units(some[found.made][found.read], answers, mismatch)
        place = rank(len(some), rate)
        both = scores(answers, mismatch, units)
        levels.append(
            Level(
                snr,
                len(answers),
                tuple(map(tuple, units.tolist())),
                (_limit(both.beyond, place), _limit(both.mismatch, place)),
            )
        )
        progress(len(some))
    return Calibration(rate, tuple(levels), examiner.judge.checksum)


def coarsest(count: int) -> float:
    """The rate of false alarms, ``RATE`` or more, that ``count`` waveforms suffice for."""
    return max(RATE, 2 / (count + 1))


def rank(count: int, rate: float) -> int:
    """Which of ``count`` scores, by size, from 1, a fresh one exceeds at half of ``rate`` at most.

    That of conformal prediction: ceil((n + 1)(1 - rate / 2)), as a fresh score is the k-th of n + 1
    as likely as any other of them (arXiv:2107.07511, section 1).

    Raises:
        ParameterError: there would have to be more scores.
    """
    found = math.ceil((count + 1) * (1 - rate / 2) - 1e-9)
    if found > count:
        raise ParameterError(
            f"{count:,} waveforms for {rate:.2%} false alarms: half of them need at least "
            f"{math.ceil(2 / rate - 1e-9) - 1:,} at each SNR"
        )
    return found


def _limit(score: np.ndarray, place: int) -> float:
    """The ``place``-th of the scores, or the last; not 0, as where no answer leaves the domain."""
    found = float(np.sort(score)[min(place, len(score)) - 1])
    return min(max(found, _LEAST_LIMIT), _MOST_LIMIT)


def card_entry(known: Calibration, inputs: dict[str, str], **config: Any) -> dict[str, Any]:
    """What a card says under ``outside``: the thresholds, and how they were made.

    Args:
        known: made with ``SEED``.
        inputs: names of files to their SHA-256.
        config: what they were made with.
    """
    made = recipe(config={"seed": SEED, **config}, inputs=inputs)
    return {**known.to_dict(), "recipe": made}


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
