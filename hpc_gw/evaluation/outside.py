"""Whether an input lies outside of a network's domain: told from its answer, and from the overlap.

A network answers anything. Two things betray a waveform from elsewhere:

1. ``beyond``: the answer itself lies outside of q in [1, 8], |s1|, |s2|, |sigma_eff| <= 0.8, by
   more than the network's error there: the largest excess of the four. (sigma_eff too, as it is
   known where the spins are not.)
2. ``mismatch``: 1 - O of the input with the waveform of the answer, that moved into the domain.
   White noise of known variance is taken out of the input's norm:
   O' = O |d| / sqrt(|d|^2 - E), E the energy that the noise has on average.

Each is measured in units of what 99 % of the domain's waveforms with such an answered q stay below
(near q = 1 spins are hardly known, at q = 5 well), and has a threshold at each signal-to-noise
ratio, which half the ``rate`` of them exceed. Between two ratios thresholds are linear in 1/SNR^2,
as mismatches by noise are, and those of errors in 1/SNR; no threshold falls as the noise grows.
However accurate the network, a mismatch of less than ``ALIKE`` is none: the models of one waveform
differ by as much.

Not all can be told. In more noise than that of the last level nothing is; and where waveforms of
the domain have overlaps below ``LOW_OVERLAP`` themselves, a high one says nothing (``tells``).

What neither can see: a spin of the lighter body that its waveform does not know. What is flagged by
its mismatch may also be inside, and of another kind than the waveforms of the calibration: of
another model, eccentric or precessing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from hpc_gw.constants import Q_MAX, Q_MIN, SPIN_MAX
from hpc_gw.errors import DataError
from hpc_gw.evaluation.evaluate import clip, domain
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.waveforms.columns import Columns
from hpc_gw.waveforms.lowpass import lowpass_matrix
from hpc_gw.waveforms.protocol import Engine

WATCHED = ("q", "s1", "s2", "sigma_eff")
"""Quantities whose bounds are watched: the first columns of an answer."""

BOUNDS = np.array([[Q_MIN, Q_MAX], *[[-SPIN_MAX, SPIN_MAX]] * 3])

BINS = (1.0, 1.1, 1.25, 2.0, 4.0, 6.5, math.inf)
"""Edges of the answered q between which errors and mismatches are gathered."""

ALIKE = 1e-3
"""Mismatch that is never outside: two good models of one waveform differ by as much."""

LOW_OVERLAP = 0.9
"""Below this the answer's waveform is not the one that was given, whatever the network."""

_LEAST_ENERGY = 1e-3  # share of an input's energy that noise leaves to the waveform at least


class Scores(NamedTuple):
    """How far inputs are from what a network knows, float64 (B,) each; infinite for no answer."""

    beyond: np.ndarray
    """Excess over the domain in units of the network's own error; 0 inside."""

    mismatch: np.ndarray
    """1 - O', noise taken out, in units of that of 99 % of such waveforms."""

    def over(self, limit: tuple[float, float]) -> np.ndarray:
        """The larger of both over its threshold, (B,): above 1 is outside."""
        return np.asarray(np.maximum(self.beyond / limit[0], self.mismatch / limit[1]))


@dataclass(frozen=True)
class Level:
    """What a network is worth at one signal-to-noise ratio.

    Attributes:
        snr: infinite without noise.
        waveforms: that it was measured on.
        units: errors of ``WATCHED`` and mismatch that 99 % stay below, for each of ``BINS``.
        limit: thresholds of ``Scores``.
    """

    snr: float
    waveforms: int
    units: tuple[tuple[float, ...], ...]
    limit: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """When a waveform is said to be outside.

    Attributes:
        rate: of false alarms that the thresholds are made for.
        levels: by falling SNR, the first without noise.
        surrogate: checksum of what made the waveforms of the answers; None where it is not known.
    """

    rate: float
    levels: tuple[Level, ...]
    surrogate: str | None = None

    def at(self, snr: float) -> Level:
        """Units and thresholds at any signal-to-noise ratio, between those that are known."""
        known = [1 / level.snr**2 for level in self.levels]
        wanted = min(max(1 / snr**2, known[0]), known[-1]) if snr > 0 else known[-1]

        def between(values: np.ndarray) -> np.ndarray:
            flat = values.reshape(len(known), -1).T
            found = np.array([np.interp(wanted, known, row) for row in flat])
            return found.reshape(values.shape[1:])

        limits = np.array([level.limit for level in self.levels])  # (levels, 2)
        scale = limits[:, None, [0] * len(WATCHED) + [1]]
        least = np.array([level.units for level in self.levels]) * scale  # (levels, bins, 5)
        least = np.maximum.accumulate(least, axis=0)
        # Errors grow as 1/SNR, so that their squares are linear here.
        least[..., :-1] **= 2
        found, limit = between(least), between(limits)
        found[:, :-1] **= 0.5
        found[:, -1] = np.maximum(found[:, -1], ALIKE)
        units = found / limit[[0] * len(WATCHED) + [1]]
        return Level(snr, 0, tuple(map(tuple, units.tolist())), (float(limit[0]), float(limit[1])))

    def tells(self, q: np.ndarray, snr: float = math.inf) -> np.ndarray:
        """Where it says something of an input that it is not flagged, by answered q (B,): bool.

        In noise beyond the last level's it never does, nor where inputs of the domain themselves
        have overlaps below ``LOW_OVERLAP``.
        """
        if not self.covers(snr):
            return np.zeros(len(q), dtype=bool)
        level = self.at(snr)
        least = np.array(level.units)[bins(q), -1] * level.limit[1]
        return np.asarray(least <= 1 - LOW_OVERLAP)

    def covers(self, snr: float) -> bool:
        """Whether there is no more noise than in the last level."""
        return snr >= self.levels[-1].snr

    def scores(
        self, answers: np.ndarray, mismatch: np.ndarray, snr: float = math.inf
    ) -> tuple[Scores, tuple[float, float]]:
        """Scores of answers (B, 5) with mismatches (B,), and their thresholds."""
        level = self.at(snr)
        return scores(answers, mismatch, np.array(level.units)), level.limit

    def outside(
        self, answers: np.ndarray, mismatch: np.ndarray, snr: float = math.inf
    ) -> np.ndarray:
        """Which inputs, with answers (B, 5) and mismatches (B,), are outside, bool (B,).

        Others may be so too where ``tells`` is false.
        """
        if not self.covers(snr):
            return np.zeros(len(answers), dtype=bool)
        found, limit = self.scores(answers, mismatch, snr)
        return np.asarray(found.over(limit) > 1)

    def least_overlap(self, q: float, snr: float = math.inf) -> float:
        """Overlap below which a waveform with such an answered q is said to be outside."""
        level = self.at(snr)
        return 1 - level.limit[1] * level.units[int(bins(np.array([q]))[0])][-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite SNR is null."""
        return {
            "rate": self.rate,
            "surrogate": self.surrogate,
            "units_of": [*WATCHED, "mismatch"],
            "by_predicted_q": list(BINS[:-1]),
            "levels": [
                {
                    "snr": level.snr if math.isfinite(level.snr) else None,
                    "waveforms": level.waveforms,
                    "units_99": [[float(f"{x:.4g}") for x in row] for row in level.units],
                    "limit": [float(f"{x:.6g}") for x in level.limit],
                }
                for level in self.levels
            ],
        }

    @classmethod
    def of_card(cls, card: Mapping[str, Any] | None) -> Calibration | None:
        """What a card says under ``outside``; None where it says nothing.

        Thresholds that do not name their surrogate are taken for those of the card's ``engine``.

        Raises:
            DataError: it says something else.
        """
        said = (card or {}).get("outside")
        if said is None:
            return None
        try:
            levels = tuple(
                Level(
                    math.inf if part["snr"] is None else float(part["snr"]),
                    int(part["waveforms"]),
                    tuple(tuple(map(float, row)) for row in part["units_99"]),
                    (float(part["limit"][0]), float(part["limit"][1])),
                )
                for part in said["levels"]
            )
            rate = float(said["rate"])
            _check(rate, levels)
            return cls(rate, levels, surrogate_of(card))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"the card's 'outside' cannot be read ({type(error).__name__}: {error}); make it "
                f"anew with hpc-gw stress --calibrate"
            ) from error


def surrogate_of(card: Mapping[str, Any] | None) -> str | None:
    """Checksum of the surrogate that a card's thresholds are of, else of its ``engine``, or None.

    What cannot be read counts as nothing.
    """
    for part, key in (("outside", "surrogate"), ("engine", "sha256")):
        said = (card or {}).get(part)
        if isinstance(said, Mapping) and isinstance(said.get(key), str):
            return str(said[key])
    return None


def _check(rate: float, levels: tuple[Level, ...]) -> None:
    """``ValueError`` unless these can be thresholds."""
    if not 0 < rate < 1:
        raise ValueError(f"rate {rate:g}: need 0 < rate < 1")
    snrs = [level.snr for level in levels]
    falling = all(0 < low < high for high, low in itertools.pairwise(snrs))
    if not snrs or snrs[0] != math.inf or not falling:
        raise ValueError(f"SNR {snrs}: need null first, then falling ones")
    shape = len(BINS) - 1, len(WATCHED) + 1
    for level in levels:
        if np.shape(level.units) != shape:
            raise ValueError(f"units_99 of shape {np.shape(level.units)}: need {shape}")
        numbers = np.append(level.units, level.limit)
        if not (np.isfinite(numbers) & (numbers > 0)).all():
            raise ValueError("units_99 and limit: need finite numbers above 0")


def bins(q: np.ndarray) -> np.ndarray:
    """Which of ``BINS`` answered mass ratios (B,) lie in, int64 (B,)."""
    return np.clip(np.searchsorted(BINS, q, side="right") - 1, 0, len(BINS) - 2)


def scores(answers: np.ndarray, mismatch: np.ndarray, units: np.ndarray) -> Scores:
    """Scores of answers (B, 5) with mismatches (B,), in ``units`` (bins, 5)."""
    watched = answers[:, : len(WATCHED)]
    excess = np.maximum(np.maximum(BOUNDS[:, 0] - watched, watched - BOUNDS[:, 1]), 0.0)
    unit = units[bins(watched[:, 0])]
    beyond = (excess / unit[:, :-1]).max(axis=1)
    good = np.isfinite(answers).all(axis=1)
    return Scores(np.where(good, beyond, np.inf), np.where(good, mismatch / unit[:, -1], np.inf))


def mismatches(
    given: torch.Tensor,
    answers: np.ndarray,
    judge: Engine,
    noise_energy: np.ndarray | float = 0.0,
    *,
    every: int,
) -> np.ndarray:
    """1 - O' (B,) of inputs and answers; infinite where there is no answer.

    Args:
        given: the inputs on each ``every``-th sample of the paper's grid, complex (B, T).
        answers: (B, 5).
        judge: makes the waveforms of the answers on these samples.
        noise_energy: sum of \\|noise\\|^2 that is expected of an input, (B,).
    """
    inside, _ = clip(answers[:, :3], domain(judge))
    good = np.isfinite(inside).all(axis=1)
    found = np.full(len(answers), np.inf)
    if good.any():
        some = given[torch.from_numpy(good)]
        made = judge.h22(inside[good]).to(some.dtype)
        value = overlap(some, made, every=every).overlap.numpy()
        energy = some.abs().double().square().sum(dim=1).numpy()
        share = np.broadcast_to(noise_energy, found.shape)[good] / energy
        found[good] = 1 - without_noise(value, share)
    return np.where(np.isnan(found), np.inf, found)


def without_noise(value: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Overlaps (B,) as they would be without noise, ``share`` of the inputs' energy (B,)."""
    return np.asarray(value / np.sqrt(np.maximum(1 - share, _LEAST_ENERGY)))


def overlap_of_noisy(columns: Columns, made: torch.Tensor, times: np.ndarray, dt: float) -> float:
    """O' of a noisy waveform and that of its answer.

    Args:
        columns: the input; sampled no more finely than ``times``, its noise stays in its norm.
        made: h22 of the answer on ``times``, complex (1, T).
        times: each so many-th of a grid of ``dt`` [M], (T,), inside of the input.
    """
    step = float(times[1] - times[0])
    matrix = lowpass_matrix(columns.times, times, np.full(times.size, step))
    given = torch.from_numpy(matrix @ columns.h22)[None]
    found = overlap(given, made.to(torch.complex128), every=round(step / dt)).overlap.numpy()
    noise = 2 * columns.noise.sigma**2 * float(matrix.power(2).sum())
    share = np.array([noise / float(given.abs().square().sum())])
    return float(without_noise(found, share)[0])
