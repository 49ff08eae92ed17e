"""What a trained network says of a waveform from a file, and how well its answer fits it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_gw.closer import Closest
from hpc_gw.comparison import Comparer, Given, check_fit, point
from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import ConfigError
from hpc_gw.evaluation.degeneracy import describe
from hpc_gw.evaluation.doubts import doubts
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
from hpc_gw.waveforms.columns import onto_grid
from hpc_gw.waveforms.engines import SURROGATES, EngineConfig
from hpc_gw.waveforms.readers import ReadOptions, read_waveform

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
    """Of the input and the waveform of this answer, at most 1; where the input has white noise
    (``snr``), as it would be without. NaN where there is no answer."""

    span: tuple[float, float]
    """Times [M] over which the overlap was taken."""

    engine: str
    closest: Closest | None
    """After a fit of the waveform from this answer on, where that was asked for."""

    reach: tuple[float, float, float] | None
    """How far q, s1, s2 can move from the better of both answers with overlap at least 0.999; None
    if the engine cannot tell."""

    notes: tuple[str, ...]
    """What was done to the input."""

    warnings: tuple[str, ...]
    """Why not to trust the answer."""

    outside: bool | None = None
    """Whether the waveform is outside of what the network knows; None where the card does not say
    how to tell."""

    snr: float = math.inf
    """Signal-to-noise ratio of the input's white noise; infinite without."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, None for numbers that are not finite."""
        found = {
            "file": self.file,
            "network": self.network,
            **self.values,
            "intervals_90": {key: list(ends) for key, ends in self.intervals.items()},
            "claims": dict(self.claims),
            "overlap": self.overlap,
            "snr": self.snr,
            "overlap_span": list(self.span),
            "engine": self.engine,
            "refined": None if self.closest is None else asdict(self.closest),
            "reach_at_0.999": None if self.reach is None else list(self.reach),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "outside": self.outside,
        }
        return {key: _finite(value) for key, value in found.items()}

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
        noise = "" if math.isinf(self.snr) else "without its noise, "
        lines.append(
            f"  overlap   = {self.overlap:8.4f}  {noise}with the waveform of this answer over "
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
        refine: fit each waveform from the network's answer on; both are told, never mixed. White
            noise may be little only.
        options: how to read files.

    Raises:
        DataError: a file cannot be used, or a card.
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
    if refine:
        for file, given in zip(files, read, strict=True):
            check_fit(given, str(file))
    comparer = Comparer(engine)
    answers = []
    for file, given, reader in zip(files, read, chosen, strict=True):
        row = answers_of(reader.network, given.real[None, :])[0].tolist()
        values = dict(zip(QUANTITIES, row, strict=True))
        score, span, name, checksum = comparer.likeness(given, values, plot)
        columns = given.columns
        closest, reach = comparer.closer(given, values, score, refine=refine)
        judged = engine.kind in SURROGATES
        # h+ alone is read approximately, which no calibration knows.
        told, notes = None if columns and columns.analytic else reader.known, given.notes
        if told and judged and told.surrogate != checksum:
            told, notes = None, (*notes, STRANGE_NOTE)
        snr = columns.noise.snr if columns else float("inf")
        outside, why = doubts(row, score if judged else None, told, snr)
        answers.append(
            Answer(
                file=str(file),
                network=reader.path.name,
                values=values,
                intervals={} if columns and columns.analytic else reader.files.intervals(values),
                claims=given.claims,
                claimant=given.claimant,
                overlap=score,
                span=span,
                engine=name,
                closest=closest,
                reach=reach,
                notes=notes + reader.notes,
                warnings=(columns.doubts if columns else ()) + why,
                outside=outside,
                snr=snr,
            )
        )
    return answers


def _network_for(file: str, checkpoint: Path | None) -> Path:
    """The checkpoint that reads ``file``, unless one is given."""
    if checkpoint is None:
        return pretrained_path(FOR_FILES if row_of(file) is None else DEFAULT)
    return checkpoint_path(checkpoint)


def _input(spec: str, network: Network, peak: float, extend: bool, options: ReadOptions) -> Given:
    """A waveform from a file, or a row of a set."""
    found, claimant = row_of(spec), "file"
    if found is None:
        columns = read_waveform(spec, options)
        claims = dict(columns.claims)
        if {"q", "s1", "s2"} <= {*claims}:
            row = with_effective_spins(point(claims))[0].tolist()
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
            return Given(row.real, None, (ROW_NOTE,), claims, claimant)
        assert row.columns is not None
        columns = row.columns
    grid = network.grid.times()
    h22, notes = onto_grid(columns, grid, peak=peak, extend=extend, where=spec)
    if columns.times[0] + peak > EXTENDED * grid[0] and extend:
        notes += (LONG_NOTE,)
    return Given(h22.real, columns, notes, claims, claimant)


def _finite(value: Any) -> Any:
    """A value for JSON, which has neither NaN nor infinity: None stands for them, anywhere."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
