"""A network under stress: random phase, shifts in time, noise, other engines, other parameters.

Inside of the domain, each stress is one change to the same random waveforms, read as files are:

- ``phase``: each waveform is turned by a phase, uniform in [0, 2 pi), after it was read;
- ``shift``: the waveform is put so much later than the network wants it, its phase at the first
  sample being 0 again, as that of a file is;
- ``snr``: white noise, see ``evaluation.readings``; time and phase are those of the waveform
  without noise: what it costs to find them in the noise comes on top;
- ``engine``: waveforms of another model at the same points.

Outside, q, s1, s2 or all are moved out of the domain, and the flag of ``evaluation.outside`` is
asked. The surrogate's own waveforms there are extrapolations of its fits, smooth, but beyond what
these are good for; other engines are made for such parameters.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hpc_gw.config import to_dict
from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import DataError, ParameterError
from hpc_gw.evaluation.examine import SEED, SNRS, Examination, Examiner, calibrate, examiner
from hpc_gw.evaluation.outside import Calibration
from hpc_gw.evaluation.readings import Bench
from hpc_gw.evaluation.stress_results import Cell, Row, Stress
from hpc_gw.files import sha256, write_json
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.pretrained import Reader, answers_of, checkpoint_path, load_card
from hpc_gw.provenance import recipe
from hpc_gw.waveforms.engines import EngineConfig, surrogate_path
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import read_surrogate

COUNT = 400
SHIFTS = (0.1, 0.3, 1.0, 3.0, 10.0)
OUT = {"q": (8.2, 8.5, 9.0, 10.0), "s1": (0.82, 0.85, 0.9, 0.95), "s2": (0.82, 0.85, 0.9, 0.95)}
"""How far quantities are moved out of the domain; spins to either side."""

CORNER = 9.0, 0.9
"""q, and the size of both spins, where all are out."""

WIDE = ((1.0, 10.5), (-0.96, 0.96), (-0.96, 0.96))
"""Bounds of the surrogate's extrapolation."""

FRESH = 8
"""Waveforms inside for the false alarms, for each of ``count``; outside, 1/8 in each cell."""

QUICK = 48
"""``count`` of a quick run, which has fewer shifts and noises too."""

COUNTS = {False: (8192, 2048), True: (1024, 128)}
"""Waveforms of a calibration that is made on the way, quick or not."""


def stress(
    checkpoint: Path | None = None,
    *,
    count: int | None = None,
    seed: int = 0,
    engines: Sequence[EngineConfig] = (),
    surrogate: EngineConfig | None = None,
    quick: bool = False,
    calibrated: bool = False,
    progress: bool = True,
) -> Stress:
    """Put a network, the shipped one by default, under stress.

    Args:
        checkpoint: of the network.
        count: random waveforms of each stress.
        seed: of waveforms, phases and noise.
        engines: other models to ask for waveforms.
        surrogate: makes waveforms and those of answers; the default surrogate if None.
        quick: few waveforms and steps.
        calibrated: make the flag's thresholds anew, and write them into the card.
        progress: show a bar.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        MissingDependencyError: an engine's package is not installed.
        ParameterError: less than 8 waveforms, or a negative seed.
    """
    count = count or (QUICK if quick else COUNT)
    if count < FRESH or seed < 0:
        raise ParameterError(f"{count} waveforms of seed {seed}: need at least {FRESH}, seed >= 0")
    reader = Reader(checkpoint_path(checkpoint))
    weights, peak = reader.path, reader.peak
    own, grid = surrogate or EngineConfig(), reader.network.grid.times()
    ask = functools.partial(answers_of, reader.network)
    others: dict[str, Examiner] = {
        config.kind: examiner(ask, grid, config, peak, own) for config in engines
    }
    inside = examiner(ask, grid, own, peak)
    wide = Bench(functools.partial(extrapolating, own), grid, peak)
    known = None if calibrated else reader.known
    bar = tqdm(desc="stress", unit=" waveforms", disable=not progress)
    with bar:
        source = "card"
        if known is None:
            source = "made on the way"
            known = calibrate(inside, counts=COUNTS[quick], progress=bar.update)
            if calibrated:
                write_calibration(weights, known)
        test = _Test(known, count, seed, bar.update)
        rows = test.rows(inside, others, quick)
        fresh = test.fresh(inside)
        extended = Examiner(ask, wide, inside.judge)
        outer = {"surrogate, extrapolated": extended, **others}
        cells = tuple(cell for name, one in outer.items() for cell in test.cells(name, one))
    settings = {
        "count": count,
        "seed": seed,
        "quick": quick,
        "engines": to_dict([own, *engines]),
        "names": {name: one.bench.engine.name for name, one in outer.items()},
        "peak": peak,
        "calibration_seed": SEED,
    }
    inputs = {weights.name: sha256(weights), "surrogate": inside.judge.checksum}
    said = {"source": source, **known.to_dict()}
    return Stress(rows, fresh, cells, said, recipe(config=settings, inputs=inputs))


def extrapolating(config: EngineConfig, times: np.ndarray) -> SurrogateEngine:
    """The surrogate of ``config`` with its fits taken on to ``WIDE``, beyond what they are for."""
    data = read_surrogate(surrogate_path(config.file))
    return SurrogateEngine(replace(data, bounds=WIDE), times)


def write_calibration(weights: Path, known: Calibration) -> Path:
    """Put a flag's thresholds into the card beside a checkpoint, a new one if there is none.

    Raises:
        DataError: there is a card of another checkpoint.
    """
    path, card = weights.with_suffix(".json"), load_card(weights)
    if card is None and path.is_file():
        raise DataError(f"{path}: is not the card of {weights.name}; move it away first")
    write_json(path, {**(card or {"sha256": sha256(weights)}), "outside": known.to_dict()})
    return path


class _Test:
    """The waveforms of one run, and what is done with them."""

    def __init__(
        self, known: Calibration, count: int, seed: int, done: Callable[[int], Any]
    ) -> None:
        self._known, self._count, self._seed, self._done = known, count, seed, done
        self._points = _points(count, seed)

    def rows(self, inside: Examiner, others: dict[str, Examiner], quick: bool) -> tuple[Row, ...]:
        """Every stress inside of the domain."""
        sizes = SHIFTS[1::2] if quick else SHIFTS
        shifts = [*(-size for size in sizes[::-1]), *sizes]
        noises = [snr for snr in SNRS if math.isfinite(snr)][:: 2 if quick else 1]
        found = [
            self._row(inside, "plain", "", None),
            self._row(inside, "phase", "random in [0, 2π)", None, phase=True),
            *(self._row(inside, "shift", f"{x:+g}", x, shift=x) for x in shifts),
            *(self._row(inside, "snr", f"{x:g}", x, snr=x) for x in noises),
            *(self._row(one, "engine", name, None) for name, one in others.items()),
        ]
        return tuple(found)

    def _row(
        self, one: Examiner, kind: str, label: str, value: float | None, **options: Any
    ) -> Row:
        found = one.examine(self._points, seed=self._seed, **options)
        self._done(self._count)
        truth = with_effective_spins(self._points[found.made])
        flagged = self._known.outside(found.answers, found.mismatch, options.get("snr", math.inf))
        missing = int((~found.made).sum())
        return Row(kind, label, value, found.answers - truth, found.overlap, flagged, missing)

    def fresh(self, inside: Examiner) -> np.ndarray:
        """Severities of waveforms inside that nothing was made with."""
        points = _points(FRESH * self._count, self._seed + 1)
        found = inside.examine(points)
        self._done(len(points))
        return np.asarray(np.maximum(*self._scores(found)))

    def cells(self, name: str, one: Examiner) -> list[Cell]:
        """The flag on one engine's waveforms out of the domain; cells without any are left out."""
        count = self._count // FRESH
        points = _points(count, self._seed + 2)
        signs = np.random.default_rng((self._seed, 2)).choice([-1.0, 1.0], size=(count, 2))
        plans = [
            (key, level, _moved(points, signs, key, level))
            for key, levels in OUT.items()
            for level in levels
        ]
        corner = np.column_stack([np.full(count, CORNER[0]), CORNER[1] * signs])
        found = []
        for key, level, where in [*plans, ("all", CORNER[1], corner)]:
            result = one.examine(where)
            self._done(count)
            if result.made.any():
                found.append(Cell(name, key, level, *self._scores(result)))
        return found

    def _scores(self, found: Examination) -> tuple[np.ndarray, np.ndarray]:
        """Both scores over their thresholds, (M,)."""
        scores, limit = self._known.scores(found.answers, found.mismatch)
        return scores.beyond / limit[0], scores.mismatch / limit[1]


def _points(count: int, seed: int) -> np.ndarray:
    """Random points inside of the domain, float64 (count, 3)."""
    return DrawsConfig(count=count, seed=seed).parameters(np.arange(count))


def _moved(points: np.ndarray, signs: np.ndarray, key: str, level: float) -> np.ndarray:
    """Points (N, 3) with one quantity out of the domain; ``signs`` (N, 2) of spins."""
    column = QUANTITIES.index(key)
    moved: np.ndarray = points.copy()
    moved[:, column] = level if column == 0 else level * signs[:, column - 1]
    return moved
