"""A network under stress: random phase, shifts in time, noise, other engines, other parameters.

Inside of the domain, each stress is one change to the same random waveforms, read as files are:

- ``phase``: each waveform is turned by a phase, uniform in [0, 2 pi), after it was read;
- ``shift``: the waveform is put so much later than the network wants it, its phase at the first
  sample being 0 again, as that of a file is;
- ``snr``: white noise, see ``evaluation.readings``; time and phase are those of the waveform
  without noise;
- ``file``: the same noise in a file, of which ``hpc-gw predict`` has to find time and phase in it;
- ``engine``: waveforms of another model at the same points.

Outside, q, s1, s2 or all are moved out of the domain, and the flag of ``evaluation.outside`` is
asked. The surrogate's own waveforms there are extrapolations of its fits, smooth, but beyond what
these are good for; other engines are made for such parameters.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hpc_gw.config import to_dict
from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import ConfigError, DataError, ParameterError, StorageError
from hpc_gw.evaluation.examine import COUNTS as CALIBRATION
from hpc_gw.evaluation.examine import (
    SEED,
    Examination,
    Examiner,
    calibrate,
    card_entry,
    coarsest,
    examiner,
)
from hpc_gw.evaluation.outside import Calibration, surrogate_of
from hpc_gw.evaluation.readings import Bench
from hpc_gw.evaluation.stress_results import Cell, Row, Stress
from hpc_gw.files import sha256, write_json
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.pretrained import (
    FOR_FILES,
    Reader,
    answers_of,
    checkpoint_path,
    load_card,
    pretrained_path,
)
from hpc_gw.provenance import recipe
from hpc_gw.waveforms.engines import EngineConfig, surrogate_path
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import read_surrogate

COUNT = 400
SHIFTS = (0.1, 0.3, 1.0, 3.0, 10.0)
NOISES = (1000.0, 300.0, 100.0, 30.0, 10.0)
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

COUNTS = {False: CALIBRATION, True: (1024, 64)}
"""Waveforms of a calibration that is made on the way, quick (at a coarser rate) or not."""

FIRST_SEED = 1 << 40
"""Of the random waveforms: above the seeds of jobs, of cards and of calibrations."""

PARTS = "rows", "fresh", "cells"
"""What has random waveforms of its own."""

SEEDS = 1 << 60
"""So many seeds may be asked for."""


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
    """Put a network under stress.

    Args:
        checkpoint: of the network, or the name of a shipped one; by default the one for files.
        count: random waveforms of each stress.
        seed: of waveforms, phases and noise.
        engines: other models to ask for waveforms.
        surrogate: makes waveforms and those of answers; the default surrogate if None.
        quick: few waveforms and steps.
        calibrated: make the flag's thresholds anew, and write them into the card.
        progress: show a bar.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigError: thresholds of a quick run, or of another surrogate than the card's.
        DataError: thresholds are to be written into the card of another checkpoint.
        MissingDependencyError: an engine's package is not installed.
        ParameterError: less than 8 waveforms, an impossible seed, an engine without any waveform.
    """
    count = waveform_count(count, seed, quick=quick, calibrated=calibrated)
    reader = Reader(
        pretrained_path(FOR_FILES) if checkpoint is None else checkpoint_path(checkpoint)
    )
    weights, peak = reader.path, reader.peak
    own, grid = surrogate or EngineConfig(), reader.network.grid.times()
    if calibrated:
        check_card(weights, read_surrogate(surrogate_path(own.file)).checksum)
    ask = functools.partial(answers_of, reader.network)
    others: dict[str, Examiner] = {
        config.kind: examiner(ask, grid, config, peak, own) for config in engines
    }
    inside = examiner(ask, grid, own, peak)
    wide = Bench(functools.partial(extrapolating, own), grid, peak)
    known = None if calibrated else reader.known
    if known is not None and known.surrogate != inside.judge.checksum:
        known = None
    bar = tqdm(desc="stress", unit=" waveforms", disable=not progress)
    with bar:
        source = "card"
        if known is None:
            source, counts = "made on the way", COUNTS[quick]
            rate = coarsest(min(counts))
            known = calibrate(inside, rate=rate, counts=counts, progress=bar.update)
            if calibrated:
                write_calibration(weights, known, peak=peak, counts=list(counts))
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
    inputs |= {kind: one.bench.engine.checksum for kind, one in others.items()}
    said = {"source": source, **known.to_dict()}
    return Stress(_name(weights), rows, fresh, cells, said, recipe(config=settings, inputs=inputs))


def extrapolating(config: EngineConfig, times: np.ndarray) -> SurrogateEngine:
    """The surrogate of ``config`` with its fits taken on to ``WIDE``, beyond what they are for."""
    data = read_surrogate(surrogate_path(config.file))
    return SurrogateEngine(replace(data, bounds=WIDE), times)


def waveform_count(count: int | None, seed: int, *, quick: bool, calibrated: bool) -> int:
    """How many waveforms each stress gets where ``count`` were asked for.

    Raises:
        ConfigError: thresholds of a quick run.
        ParameterError: less than 8 waveforms, or an impossible seed.
    """
    if quick and calibrated:
        raise ConfigError(
            f"--quick --calibrate: {COUNTS[True][1]} waveforms are too few for a card's "
            f"thresholds; leave one of both out"
        )
    if count is None:
        count = QUICK if quick else COUNT
    if count < FRESH or not 0 <= seed < SEEDS:
        raise ParameterError(
            f"{count} waveforms of seed {seed}: need at least {FRESH}, 0 <= seed < {SEEDS:,}"
        )
    return count


def check_card(weights: Path, surrogate: str) -> dict[str, Any]:
    """The card beside a checkpoint that thresholds of a surrogate may go into, or the start of one.

    Raises:
        ConfigError: its thresholds, or else its network, are of another surrogate.
        DataError: there is a card of another checkpoint.
        StorageError: the folder cannot be written.
    """
    path, card = weights.with_suffix(".json"), load_card(weights)
    if card is None and path.is_file():
        raise DataError(f"{path}: is not the card of {weights.name}; move it away first")
    there = surrogate_of(card)
    if there not in (None, surrogate):
        raise ConfigError(
            f"--calibrate: {path} is of the surrogate {there[:12]}, not of {surrogate[:12]}; give "
            f"that one with --surrogate, or calibrate a copy of the checkpoint without a card"
        )
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"{path}: cannot be written; calibrate a copy of the checkpoint")
    return card or {"sha256": sha256(weights)}


def write_calibration(weights: Path, known: Calibration, **config: Any) -> Path:
    """Put a flag's thresholds into the card beside a checkpoint, a new one if there is none.

    Args:
        weights: the checkpoint.
        known: the thresholds, of one surrogate.
        config: what they were made with, for their recipe.

    Raises:
        ConfigError, DataError, StorageError: as ``check_card``.
    """
    surrogate = known.surrogate or "unknown"
    card = check_card(weights, surrogate)
    entry = card_entry(known, {weights.name: sha256(weights), "surrogate": surrogate}, **config)
    write_json(weights.with_suffix(".json"), {**card, "outside": entry})
    return weights.with_suffix(".json")


def seed_of(seed: int, part: str) -> int:
    """Seed of one of a run's ``PARTS``: none that a job, a card or another run has."""
    return FIRST_SEED + len(PARTS) * seed + PARTS.index(part)


def _name(weights: Path) -> str:
    """What a checkpoint is called: a shipped one by its name, another by its path."""
    return weights.stem if weights.parent == pretrained_path().parent else str(weights)


class _Test:
    """The waveforms of one run, and what is done with them."""

    def __init__(
        self, known: Calibration, count: int, seed: int, done: Callable[[int], Any]
    ) -> None:
        self._known, self._count, self._seed, self._done = known, count, seed, done
        self._points = self._drawn(count, "rows")

    def rows(self, inside: Examiner, others: dict[str, Examiner], quick: bool) -> tuple[Row, ...]:
        """Every stress inside of the domain."""
        sizes = SHIFTS[1::2] if quick else SHIFTS
        shifts = [*(-size for size in sizes[::-1]), *sizes]
        noises, files = (some[:: 2 if quick else 1] for some in (NOISES, NOISES[:3]))
        # First, as one may have no waveform at all.
        engines = [self._row(one, "engine", name, None) for name, one in others.items()]
        found = [
            self._row(inside, "plain", "", None),
            self._row(inside, "phase", "random in [0, 2π)", None, phase=True),
            *(self._row(inside, "shift", f"{x:+g}", x, shift=x) for x in shifts),
            *(self._row(inside, "snr", f"{x:g}", x, snr=x) for x in noises),
            *(self._row(inside, "file", f"{x:g}", x, snr=x, files=True) for x in files),
        ]
        return (*found, *engines)

    def _row(
        self, one: Examiner, kind: str, label: str, value: float | None, **options: Any
    ) -> Row:
        found = one.examine(self._points, seed=seed_of(self._seed, "rows"), **options)
        self._done(self._count)
        truth = with_effective_spins(self._points[found.made])
        snr = options.get("snr", math.inf)
        flagged = found.read & self._known.outside(found.answers, found.mismatch, snr)
        told = found.read & (flagged | self._known.tells(found.answers[:, 0], snr))
        missing = int((~found.made).sum())
        return Row(kind, label, value, found.answers - truth, found.overlap, flagged, told, missing)

    def fresh(self, inside: Examiner) -> np.ndarray:
        """Severities of waveforms inside that nothing was made with."""
        points = self._drawn(FRESH * self._count, "fresh")
        found = inside.examine(points)
        self._done(len(points))
        return np.asarray(np.maximum(*self._scores(found)))

    def cells(self, name: str, one: Examiner) -> list[Cell]:
        """The flag on one engine's waveforms out of the domain; cells without any are left out."""
        count = self._count // FRESH
        points = self._drawn(count, "cells")
        signs = np.random.default_rng(seed_of(self._seed, "cells")).choice(
            [-1.0, 1.0], size=(count, 2)
        )
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

    def _drawn(self, count: int, part: str) -> np.ndarray:
        """Random points inside of the domain, float64 (count, 3)."""
        population = DrawsConfig(count=count, seed=seed_of(self._seed, part))
        return population.parameters(np.arange(count))

    def _scores(self, found: Examination) -> tuple[np.ndarray, np.ndarray]:
        """Both scores over their thresholds, (M,)."""
        scores, limit = self._known.scores(found.answers, found.mismatch)
        return scores.beyond / limit[0], scores.mismatch / limit[1]


def _moved(points: np.ndarray, signs: np.ndarray, key: str, level: float) -> np.ndarray:
    """Points (N, 3) with one quantity out of the domain; ``signs`` (N, 2) of spins."""
    column = QUANTITIES.index(key)
    moved: np.ndarray = points.copy()
    moved[:, column] = level if column == 0 else level * signs[:, column - 1]
    return moved
