"""What a trained network says of a waveform from a file, and how well its answer fits it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from hpc_gw.constants import Q_MAX, Q_MIN, QUANTITIES, SPIN_MAX
from hpc_gw.errors import ConfigError
from hpc_gw.evaluation.evaluate import clip, domain
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.pretrained import answers_of, load_card, load_network
from hpc_gw.waveforms.columns import Columns, onto_grid, read_columns
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.timegrid import TimeGrid

LOW_OVERLAP = 0.9
"""Below this the answer's waveform is not the one that was given: 0.4 % of the paper's test set."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A network's answer for one waveform."""

    file: str
    values: dict[str, float]
    """(q, s1, s2, sigma_eff, s_eff) by name."""

    intervals: dict[str, tuple[float, float]]
    """Ends of the central 90 % by name, from the card; empty without a card, and for h+ alone."""

    overlap: float
    span: tuple[float, float]
    """Times [M] over which the overlap was taken."""

    engine: str
    notes: tuple[str, ...]
    """What was done to the input."""

    warnings: tuple[str, ...]
    """Why not to trust the answer."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "file": self.file,
            **self.values,
            "intervals_90": {key: list(ends) for key, ends in self.intervals.items()},
            "overlap": self.overlap if np.isfinite(self.overlap) else None,
            "overlap_span": list(self.span),
            "engine": self.engine,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        lines = [self.file]
        for key, value in self.values.items():
            ends = self.intervals.get(key)
            shown = f"  [{ends[0]:8.4f}, {ends[1]:8.4f}]" if ends else ""
            lines.append(f"  {key:<9} = {value:8.4f}{shown}")
        if self.intervals:
            lines.append(
                "  in brackets: where the truth lies for 90 % of the waveforms with such an answer"
            )
        lines.append(
            f"  overlap   = {self.overlap:8.4f}  with the waveform of this answer over "
            f"[{self.span[0]:.0f}, {self.span[1]:.0f}] M ({self.engine})"
        )
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  WARNING: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def ask(
    files: list[Path],
    checkpoint: Path | None,
    engine: EngineConfig,
    *,
    extend: bool = False,
    plot: Path | None = None,
) -> list[Answer]:
    """What a network, the shipped one by default, says of the waveforms in files.

    Args:
        files: see ``waveforms.columns``.
        checkpoint: of the network.
        engine: makes the waveform of the answer.
        extend: continue waveforms that begin too late.
        plot: draw input and answer, of one file, as .png or .pdf.

    Raises:
        DataError: a file cannot be used.
        CheckpointError: the checkpoint cannot be used.
        ConfigError: a plot of several files, or in a format that cannot be drawn.
    """
    if plot is not None and (len(files) > 1 or plot.suffix.lower() not in (".png", ".pdf")):
        raise ConfigError(f"--plot {plot}: takes one waveform, and writes .png or .pdf")
    network, card = load_network(checkpoint), load_card(checkpoint)
    peak = float((card or {}).get("files", {}).get("peak", 0.0))
    read = [read_columns(file) for file in files]
    ready = [
        onto_grid(columns, network.grid.times(), peak=peak, extend=extend, where=str(file))
        for file, columns in zip(files, read, strict=True)
    ]
    answers = []
    for file, columns, (h22, notes) in zip(files, read, ready, strict=True):
        row = answers_of(network, h22[None, :])[0].tolist()
        values = dict(zip(QUANTITIES, row, strict=True))
        score, span, name = _judge(columns, values, engine, plot)
        answers.append(
            Answer(
                file=str(file),
                values=values,
                intervals={} if columns.analytic else intervals(values, card),
                overlap=score,
                span=span,
                engine=name,
                notes=notes,
                warnings=_warnings(values, score),
            )
        )
    return answers


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
    columns: Columns, values: dict[str, float], engine: EngineConfig, plot: Path | None
) -> tuple[float, tuple[float, float], str]:
    """Overlap of a waveform with that of the answer on the paper's grid, its span, the engine."""
    times = TimeGrid().times()
    times = times[(times >= columns.times[0]) & (times <= columns.times[-1])]
    source = load_engine(engine, times)
    answer, _ = clip(np.array([[values["q"], values["s1"], values["s2"]]]), domain(source))
    span, name = (float(times[0]), float(times[-1])), source.name
    if not np.isfinite(answer).all():
        return float("nan"), span, name
    given = CubicSpline(columns.times, columns.h22)(times)
    made = source.h22(answer).to(torch.complex128)
    found = overlap(torch.from_numpy(given)[None, :], made)
    score = float(found.overlap[0])
    if plot is not None:
        shift = float(found.shift[0]) * (times[1] - times[0])
        turned = made[0].numpy() * np.exp(-1j * float(found.phase[0]))
        _draw(plot, values, score, times, given.real, np.interp(times + shift, times, turned.real))
    return score, span, name


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


def _warnings(values: dict[str, float], score: float) -> tuple[str, ...]:
    found = []
    box = {"q": (Q_MIN, Q_MAX), "s1": (-SPIN_MAX, SPIN_MAX), "s2": (-SPIN_MAX, SPIN_MAX)}
    for key, (low, high) in box.items():
        if not low <= values[key] <= high:
            found.append(
                f"{key} = {values[key]:.4f} lies outside of the trained domain [{low:g}, {high:g}]"
            )
    if not score >= LOW_OVERLAP:  # NaN is low
        found.append(
            f"overlap {score:.4f} < {LOW_OVERLAP:g}: the answer does not describe this waveform"
        )
    return tuple(found)
