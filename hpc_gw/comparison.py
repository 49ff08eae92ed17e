"""A waveform beside that of its answer: their overlap, a drawing, and what a fit finds."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from hpc_gw.closer import FIT_SNR, CloserLook, Closest
from hpc_gw.constants import DT, T_MAX, T_MIN
from hpc_gw.errors import ConfigError
from hpc_gw.evaluation.evaluate import COARSE, clip, domain
from hpc_gw.evaluation.outside import overlap_of_noisy
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.waveforms.columns import Columns
from hpc_gw.waveforms.engines import (
    EngineConfig,
    LoadedEngine,
    engine_maker,
    surrogate_maker,
    surrogate_path,
)
from hpc_gw.waveforms.surrogate_file import read_surrogate
from hpc_gw.waveforms.timegrid import TimeGrid


@dataclass(frozen=True, eq=False)
class Given:
    """A waveform as the network reads it.

    Attributes:
        real: Re h22 on the last times of the network's grid, (samples,).
        columns: the waveform itself; None for a row of a set, which keeps too little of it.
        notes: what was done to it.
        claims, claimant: as of ``answer.Answer``.
    """

    real: np.ndarray
    columns: Columns | None
    notes: tuple[str, ...]
    claims: dict[str, float]
    claimant: str


class Likeness(NamedTuple):
    """How much a waveform is like that of its answer."""

    overlap: float
    """In [0, 1], the input's white noise taken out; NaN where there is no answer."""

    span: tuple[float, float]
    """Times [M] over which it was taken."""

    engine: str
    checksum: str
    """Of the engine."""


class Comparer:
    """Waveforms beside those of their answers.

    A surrogate's file is read once, now; what is made for one waveform serves the next, if that
    has the same span.

    Args:
        config: the engine that makes the waveforms of answers.

    Raises:
        SurrogateError: the file is missing, truncated or of another layout.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        data = read_surrogate(surrogate_path(config.file)) if config.kind == "surrogate" else None
        make = engine_maker(config) if data is None else surrogate_maker(data)
        self._grid = grid = TimeGrid().times()

        @functools.lru_cache(maxsize=1)
        def engine(first: int, end: int, every: int) -> LoadedEngine:
            return make(grid[first:end:every], None)

        @functools.lru_cache(maxsize=1)
        def look(start: float, end: float) -> CloserLook:
            return CloserLook(config, start, end, data)

        self._engine, self._look = engine, look

    def likeness(
        self, waveform: Given, values: dict[str, float], plot: Path | None = None
    ) -> Likeness:
        """Overlap of a waveform with that of the answer ``values`` on the paper's grid.

        For a row of a set the engine makes the waveform of its truth too. Of a noisy waveform
        each 16th sample is looked at, which a filter leaves: the others only for the plot.
        """
        columns, first, last = waveform.columns, 0, self._grid.size
        if columns is not None:
            first = int(np.searchsorted(self._grid, columns.times[0]))
            last = int(np.searchsorted(self._grid, columns.times[-1], side="right"))
        noisy = columns is not None and columns.noise.sigma > 0
        every = round(COARSE / DT) if noisy and plot is None else 1
        source = self._engine(first, last, every)
        answer, _ = clip(point(values), domain(source))
        span = float(self._grid[first]), float(self._grid[last - 1])
        if not np.isfinite(answer).all():
            return Likeness(float("nan"), span, source.name, source.checksum)
        made = source.h22(answer).to(torch.complex128)
        times, score = source.times, float("nan")
        if noisy:
            assert columns is not None
            some = round(COARSE / DT) // every
            score = overlap_of_noisy(columns, made[:, ::some], times[::some], DT)
        if not noisy or plot is not None:
            if columns is not None:
                given = CubicSpline(columns.times, columns.h22)(times)
            else:
                given = source.h22(point(waveform.claims))[0].to(torch.complex128).numpy()
            found = overlap(torch.from_numpy(given)[None, :], made)
            score = score if noisy else float(found.overlap[0])
            if plot is not None:
                shift = float(found.shift[0]) * DT
                turned = made[0].numpy() * np.exp(-1j * float(found.phase[0]))
                moved = np.interp(times + shift, times, turned.real)
                _draw(plot, values, score, times, given.real, moved)
        # Without its noise a waveform is no larger than with it, so that O' can exceed 1.
        return Likeness(min(score, 1.0), span, source.name, source.checksum)

    def closer(
        self, waveform: Given, values: dict[str, float], score: float, *, refine: bool
    ) -> tuple[Closest | None, tuple[float, float, float] | None]:
        """The fit, if asked for, and how far the better of both answers can move unseen.

        The better one is the fit's if it converged and overlaps more than ``score``.
        """
        if self._config.kind != "surrogate" and not refine:
            return None, None
        columns, start = waveform.columns, point(values)
        ends = (columns.times[0], columns.times[-1]) if columns else (T_MIN, T_MAX)
        look = self._look(max(float(ends[0]), T_MIN), min(float(ends[1]), T_MAX))
        if not np.isfinite(start).all():
            return None, None
        closest = look.fit(columns or point(waveform.claims), start) if refine else None
        if closest is not None and closest.converged and closest.overlap > score:
            start = point(closest.values)
        q, s1, s2 = look.reach(start).tolist()
        return closest, (q, s1, s2)


def check_fit(waveform: Given, where: str) -> None:
    """Refuse the fit of a waveform that is too noisy for it.

    Raises:
        ConfigError: its noise hides what a fit looks for.
    """
    noise = waveform.columns.noise if waveform.columns else None
    if noise is not None and noise.snr < FIT_SNR:
        raise ConfigError(
            f"{where}: white noise, SNR {noise.snr:.3g}: --refine needs {FIT_SNR:g} at least, for "
            f"a fit to converge; leave it out, or give a waveform with less noise"
        )


def point(values: Mapping[str, float]) -> np.ndarray:
    """(q, s1, s2) for an engine, float64 (1, 3)."""
    return np.array([[values["q"], values["s1"], values["s2"]]])


def _draw(
    plot: Path,
    values: dict[str, float],
    score: float,
    times: np.ndarray,
    given: np.ndarray,
    made: np.ndarray,
) -> None:
    from hpc_gw.evaluation.figures import WaveformPair, save, waveform_comparison  # noqa: PLC0415

    where = (values["q"], values["s1"], values["s2"])
    figure = waveform_comparison([WaveformPair(where, score, times, given, made)])
    for text, name in zip(figure.legends[0].texts, ("input", "answer"), strict=True):
        text.set_text(name)
    save(figure, plot.parent, plot.stem, (plot.suffix[1:].lower(),))
