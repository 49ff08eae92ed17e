"""What a trained network says of a waveform from a file, and how well its answer fits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from hpc_gw.closer import CloserLook, Closest
from hpc_gw.constants import DT, Q_MIN, QUANTITIES, T_MAX, T_MIN
from hpc_gw.errors import ConfigError
from hpc_gw.evaluation.degeneracy import describe
from hpc_gw.evaluation.doubts import doubts
from hpc_gw.evaluation.evaluate import COARSE, clip, domain
from hpc_gw.evaluation.outside import overlap_of_noisy
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.pretrained import (
    DEFAULT,
    FOR_FILES,
    Network,
    Reader,
    answers_of,
    checkpoint_path,
    pretrained_path,
)
from hpc_gw.shard_row import read_row, row_of
from hpc_gw.waveforms.columns import Columns, onto_grid
from hpc_gw.waveforms.engines import SURROGATES, EngineConfig, LoadedEngine, load_engine
from hpc_gw.waveforms.readers import ReadOptions, read_waveform
from hpc_gw.waveforms.timegrid import TimeGrid

ROW_NOTE = (
    "a row of a set, on the network's own grid; the overlap is with the waveform of its truth"
)

EXTENDED = 0.6
"""Waveforms that begin in this last share of the grid's time before the peak get a note if they
are continued."""

LONG_NOTE = (
    "the brackets know of no continuation: they hold for quasi-circular orbits, and are too "
    "narrow for an eccentricity above 0.001"
)


STRANGE_NOTE = "no flag: the thresholds of the network's card are of another surrogate"


@dataclass(frozen=True, eq=False)
class Answer:
    """A network's answer for one waveform."""

    file: str
    network: str
    """Name of the checkpoint's file."""

    values: dict[str, float]
    """(q, s1, s2, sigma_eff, s_eff) by name."""

    intervals: dict[str, tuple[float, float]]
    """Ends of the central 90 % by name, from the card; empty without a card, and for h+ alone."""

    claims: dict[str, float]
    """What the file says of itself, by name; of a row of a set: its truth."""

    claimant: str
    """Who says so: ``file`` or ``truth``."""

    overlap: float
    span: tuple[float, float]
    """Times [M] over which the overlap was taken."""

    engine: str
    closest: Closest | None
    """After a fit of the waveform from this answer on, where that was asked for."""

    reach: tuple[float, float, float] | None
    """How far q, s1, s2 can move with overlap at least 0.999; None if the engine cannot tell."""

    notes: tuple[str, ...]
    """What was done to the input."""

    warnings: tuple[str, ...]
    """Why not to trust the answer."""

    outside: bool | None = None
    """Whether the waveform is outside of what the network knows; None where the card does not say
    how to tell."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "file": self.file,
            "network": self.network,
            **self.values,
            "intervals_90": {key: list(ends) for key, ends in self.intervals.items()},
            "claims": dict(self.claims),
            "overlap": self.overlap if np.isfinite(self.overlap) else None,
            "overlap_span": list(self.span),
            "engine": self.engine,
            "refined": None if self.closest is None else asdict(self.closest),
            "reach_at_0.999": None if self.reach is None else list(self.reach),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "outside": self.outside,
        }

    def __str__(self) -> str:
        lines = [f"{self.file}  ({self.network})"]
        for key, value in self.values.items():
            ends = self.intervals.get(key)
            shown = f"  [{ends[0]:8.4f}, {ends[1]:8.4f}]" if ends else ""
            said = f"  {self.claimant}: {self.claims[key]:8.4f}" if key in self.claims else ""
            lines.append(f"  {key:<9} = {value:8.4f}{shown}{said}")
        if self.intervals:
            lines.append(
                "  in brackets: where the truth lies for 90 % of the waveforms with such an answer"
            )
        lines.append(
            f"  overlap   = {self.overlap:8.4f}  with the waveform of this answer over "
            f"[{self.span[0]:.0f}, {self.span[1]:.0f}] M ({self.engine})"
        )
        if self.closest is not None:
            said = ", ".join(f"{key} = {value:.4f}" for key, value in self.closest.values.items())
            failed = "" if self.closest.converged else "; NOT CONVERGED, see --help"
            lines.append(f"  refined:   {said}; overlap {self.closest.overlap:.6f}{failed}")
        if self.reach is not None:
            lines.append(f"  {describe(np.array(self.reach))}")
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  WARNING: {warning}" for warning in self.warnings]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class _Input:
    """A waveform as the network reads it.

    Attributes:
        real: Re h22 on the last times of the network's grid, (samples,).
        columns: the waveform itself; None for a row of a set, which keeps too little of it.
        notes: what was done to it.
        claims, claimant: as of ``Answer``.
    """

    real: np.ndarray
    columns: Columns | None
    notes: tuple[str, ...]
    claims: dict[str, float]
    claimant: str


def ask(
    files: Sequence[str | Path],
    checkpoint: Path | None,
    engine: EngineConfig,
    *,
    extend: bool = False,
    plot: Path | None = None,
    refine: bool = False,
    options: ReadOptions | None = None,
) -> list[Answer]:
    """What a network says of waveforms.

    Args:
        files: ``FILE``, ``FILE.h5:DATASET`` (``waveforms.readers``), or ``FOLDER:ROW`` of a set.
        checkpoint: of the network; by default a shipped one, for files or for rows of sets.
        engine: makes the waveform of the answer.
        extend: continue waveforms that begin too late.
        plot: draw input and answer, of one waveform, as .png or .pdf.
        refine: fit each waveform from the network's answer on; both are told, never mixed.
        options: how to read files.

    Raises:
        DataError: a file cannot be used.
        CheckpointError: the checkpoint cannot be used.
        ConfigError: an option does not apply; a plot of several waveforms, or in a format that
            cannot be drawn.
    """
    if plot is not None and (len(files) > 1 or plot.suffix.lower() not in (".png", ".pdf")):
        raise ConfigError(f"--plot {plot}: takes one waveform, and writes .png or .pdf")
    paths = [_network_for(str(file), checkpoint) for file in files]
    readers = {path: Reader(path) for path in set(paths)}
    chosen = [readers[path] for path in paths]
    read = [
        _input(str(file), reader.network, reader.peak, extend, options or ReadOptions())
        for file, reader in zip(files, chosen, strict=True)
    ]
    answers = []
    for file, given, reader in zip(files, read, chosen, strict=True):
        row = answers_of(reader.network, given.real[None, :])[0].tolist()
        values = dict(zip(QUANTITIES, row, strict=True))
        score, span, judge = _judge(given, values, engine, plot)
        columns = given.columns
        closest, reach = _closer(given, values, engine, refine)
        judged = engine.kind in SURROGATES
        # h+ alone is read approximately, which no calibration knows.
        told, notes = None if columns and columns.analytic else reader.known, given.notes
        if told and judged and told.surrogate != judge.checksum:
            told, notes = None, (*notes, STRANGE_NOTE)
        snr = columns.noise.snr if columns else float("inf")
        outside, why = doubts(row, score if judged else None, told, snr)
        answers.append(
            Answer(
                file=str(file),
                network=reader.path.name,
                values=values,
                intervals={} if columns and columns.analytic else intervals(values, reader.card),
                claims=given.claims,
                claimant=given.claimant,
                overlap=score,
                span=span,
                engine=judge.name,
                closest=closest,
                reach=reach,
                notes=notes,
                warnings=(columns.doubts if columns else ()) + why,
                outside=outside,
            )
        )
    return answers


def _network_for(file: str, checkpoint: Path | None) -> Path:
    """The checkpoint that reads ``file``, unless one is given."""
    if checkpoint is None:
        return pretrained_path(FOR_FILES if row_of(file) is None else DEFAULT)
    return checkpoint_path(checkpoint)


def _input(spec: str, network: Network, peak: float, extend: bool, options: ReadOptions) -> _Input:
    """A waveform from a file, or a row of a set."""
    found, claimant = row_of(spec), "file"
    if found is None:
        columns = read_waveform(spec, options)
        claims = dict(columns.claims)
        if {"q", "s1", "s2"} <= {*claims}:
            row = with_effective_spins(_point(claims))[0].tolist()
            claims |= dict(zip(QUANTITIES, row, strict=True))
    else:
        if options != ReadOptions():
            raise ConfigError(
                f"{spec}: is a row of a set, without --order, --total-mass and --distance, which "
                f"are for waveform files"
            )
        row = read_row(*found, network.grid, network.model.cone)
        claims, claimant = row.truth, "truth"
        if row.real is not None:
            return _Input(row.real, None, (ROW_NOTE,), claims, claimant)
        assert row.columns is not None
        columns = row.columns
    grid = network.grid.times()
    h22, notes = onto_grid(columns, grid, peak=peak, extend=extend, where=spec)
    if columns.times[0] + peak > EXTENDED * grid[0] and extend:
        notes += (LONG_NOTE,)
    return _Input(h22.real, columns, notes, claims, claimant)


def intervals(
    values: dict[str, float], card: dict[str, Any] | None
) -> dict[str, tuple[float, float]]:
    """Where 90 % of the truths lie about such an answer; empty without a card."""
    for part in (card or {}).get("files", {}).get("by_predicted_q", []):
        if part["q_low"] <= values["q"] and (
            part["q_high"] is None or values["q"] < part["q_high"]
        ):
            found = {
                key: (values[key] - high, values[key] - low)
                for key, (low, high) in part["errors"].items()
            }
            found["q"] = (max(Q_MIN, found["q"][0]), max(Q_MIN, found["q"][1]))
            return found
    return {}


def _judge(
    waveform: _Input, values: dict[str, float], engine: EngineConfig, plot: Path | None
) -> tuple[float, tuple[float, float], LoadedEngine]:
    """Overlap of a waveform with that of the answer on the paper's grid, its span, the engine.

    For a row of a set the engine makes the waveform of its truth too.
    """
    times, columns = TimeGrid().times(), waveform.columns
    if columns is not None:
        times = times[(times >= columns.times[0]) & (times <= columns.times[-1])]
    source = load_engine(engine, times)
    answer, _ = clip(_point(values), domain(source))
    span = float(times[0]), float(times[-1])
    if not np.isfinite(answer).all():
        return float("nan"), span, source
    if columns is not None:
        given = CubicSpline(columns.times, columns.h22)(times)
    else:
        given = source.h22(_point(waveform.claims))[0].to(torch.complex128).numpy()
    made = source.h22(answer).to(torch.complex128)
    found = overlap(torch.from_numpy(given)[None, :], made)
    score = float(found.overlap[0])
    if columns is not None and columns.noise.sigma > 0:
        every = round(COARSE / DT)
        score = overlap_of_noisy(columns, made[:, ::every], times[::every], DT)
    if plot is not None:
        shift = float(found.shift[0]) * (times[1] - times[0])
        turned = made[0].numpy() * np.exp(-1j * float(found.phase[0]))
        _draw(plot, values, score, times, given.real, np.interp(times + shift, times, turned.real))
    return score, span, source


def _closer(
    waveform: _Input, values: dict[str, float], engine: EngineConfig, refine: bool
) -> tuple[Closest | None, tuple[float, float, float] | None]:
    """The best fit, if asked for, and how far the better of both answers can move unseen."""
    if engine.kind != "surrogate" and not refine:
        return None, None
    columns = waveform.columns
    span = (columns.times[0], columns.times[-1]) if columns else (T_MIN, T_MAX)
    look, start = CloserLook(engine, *map(float, span)), _point(values)
    if not np.isfinite(start).all():
        return None, None
    given = columns or _point(waveform.claims)
    closest = look.fit(given, start) if refine else None
    q, s1, s2 = look.reach(_point(closest.values) if closest else start).tolist()
    return closest, (q, s1, s2)


def _point(values: dict[str, float]) -> np.ndarray:
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

    point = (values["q"], values["s1"], values["s2"])
    figure = waveform_comparison([WaveformPair(point, score, times, given, made)])
    for text, name in zip(figure.legends[0].texts, ("input", "answer"), strict=True):
        text.set_text(name)
    save(figure, plot.parent, plot.stem, (plot.suffix[1:].lower(),))
