"""What a network under stress did: records, and their tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import ParameterError

ERROR_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
OVERLAP_LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5)

TITLES = {
    "plain": "As trained",
    "phase": "Reference phase",
    "shift": "Shift in time [M]",
    "snr": "White noise, SNR",
    "file": "White noise in a file, SNR",
    "engine": "Engine",
}
"""Kinds of stress, in their order."""


@dataclass(frozen=True, eq=False)
class Row:
    """A network on N waveforms inside of its domain, under one stress.

    Attributes:
        kind: of ``TITLES``.
        label: the stress in words.
        value: as a number, where it is one.
        errors: answer - truth, (N, 5); not finite where there was no answer.
        overlap: of the undisturbed input and the waveform of the answer, (N,).
        flagged: which were said to be outside of the domain, bool (N,): false alarms.
        told: of which anything was said, bool (N,).
        without_waveform: points that the engine has none at.

    Raises:
        ParameterError: there is no waveform at all.
    """

    kind: str
    label: str
    value: float | None
    errors: np.ndarray
    overlap: np.ndarray
    flagged: np.ndarray
    told: np.ndarray
    without_waveform: int = 0

    def __post_init__(self) -> None:
        if not len(self.errors):
            raise ParameterError(
                f"{self.label or self.kind}: has no waveform at any of {self.without_waveform} "
                f"points of the domain; ask for more with --count, or for another --engine"
            )

    @property
    def failures(self) -> int:
        """Waveforms without an answer."""
        return int((~np.isfinite(self.errors)).any(axis=1).sum())

    def error_quantiles(self) -> np.ndarray:
        """Of answer - truth at ``ERROR_LEVELS``, (5, 5), rows ``QUANTITIES``, of the answers."""
        good = self.errors[np.isfinite(self.errors).all(axis=1)]
        if not len(good):
            return np.full((len(QUANTITIES), len(ERROR_LEVELS)), np.nan)
        return np.asarray(np.quantile(good, ERROR_LEVELS, axis=0).T)

    def median_errors(self) -> np.ndarray:
        """Medians of \\|answer - truth\\|, (5,), no answer being the worst."""
        size = np.where(np.isfinite(self.errors), np.abs(self.errors), np.inf)
        return np.asarray(np.median(size, axis=0))

    def overlap_quantiles(self) -> np.ndarray:
        """At ``OVERLAP_LEVELS``, (5,)."""
        return np.asarray(np.quantile(self.overlap, OVERLAP_LEVELS))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": self.kind,
            "label": self.label,
            "value": _finite(self.value),
            "waveforms": len(self.errors),
            "without_waveform": self.without_waveform,
            "failures": self.failures,
            "abs_error_median": dict(
                zip(QUANTITIES, map(_finite, self.median_errors()), strict=True)
            ),
            "error_quantiles": {
                key: {f"{level:g}": _finite(x) for level, x in zip(ERROR_LEVELS, row, strict=True)}
                for key, row in zip(QUANTITIES, self.error_quantiles(), strict=True)
            },
            "overlap_quantiles": {
                f"{level:g}": _finite(x)
                for level, x in zip(OVERLAP_LEVELS, self.overlap_quantiles(), strict=True)
            },
            "flagged": float(self.flagged.mean()),
            "told": float(self.told.mean()),
        }


@dataclass(frozen=True, eq=False)
class Cell:
    """The flag on M waveforms of one engine out of the domain, by one quantity and how far.

    Attributes:
        engine: its name.
        quantity: q, s1 or s2, the one that is out, or ``all`` three.
        level: its value; of spins, their size.
        beyond, mismatch: the scores over their thresholds, (M,): above 1 is flagged.
    """

    engine: str
    quantity: str
    level: float
    beyond: np.ndarray
    mismatch: np.ndarray

    @property
    def severity(self) -> np.ndarray:
        """The larger of both, (M,)."""
        return np.asarray(np.maximum(self.beyond, self.mismatch))

    def rates(self) -> tuple[float, float, float]:
        """Shares that are flagged by the answer, by the overlap, and by either."""
        scores = self.beyond, self.mismatch, self.severity
        answer, overlap, either = (float((score > 1).mean()) for score in scores)
        return answer, overlap, either

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        answer, overlap, either = self.rates()
        return {
            "engine": self.engine,
            "quantity": self.quantity,
            "level": self.level,
            "waveforms": len(self.beyond),
            "flagged_by_answer": answer,
            "flagged_by_overlap": overlap,
            "flagged": either,
        }


@dataclass(frozen=True, eq=False)
class Stress:
    """All of a network's stress.

    Attributes:
        network: its name.
        rows: inside of the domain.
        inside: severities of fresh waveforms inside of the domain, (K,), of the surrogate.
        cells: outside.
        calibration: the flag's thresholds, and where they are from.
        recipe: how this was made.
    """

    network: str
    rows: tuple[Row, ...]
    inside: np.ndarray
    cells: tuple[Cell, ...]
    calibration: dict[str, Any]
    recipe: dict[str, Any]

    def roc(self, cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
        """False alarms and detections, (K + 1,) each, as the threshold on the severity falls."""
        limits = np.concatenate([[np.inf], np.sort(self.inside)[::-1]])
        outside = np.concatenate([cell.severity for cell in cells])
        alarms = np.arange(len(limits)) / len(self.inside)
        return alarms, np.array([float((outside >= limit).mean()) for limit in limits])

    def detected(self, cells: Sequence[Cell], alarms: float) -> float:
        """Share of cells' waveforms that is flagged at a rate of false alarms inside."""
        limit = np.quantile(self.inside, 1 - alarms, method="higher")
        return float((np.concatenate([cell.severity for cell in cells]) > limit).mean())

    @property
    def false_alarms(self) -> float:
        """Share of fresh waveforms inside that is flagged."""
        return float((self.inside > 1).mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "network": self.network,
            "quantities": list(QUANTITIES),
            "inside_domain": [row.to_dict() for row in self.rows],
            "outside_domain": {
                "false_alarms": {"waveforms": len(self.inside), "flagged": self.false_alarms},
                "cells": [cell.to_dict() for cell in self.cells],
                "roc": self._rocs(),
            },
            "calibration": self.calibration,
            **self.recipe,
        }

    def _rocs(self) -> list[dict[str, Any]]:
        """Detections at some rates of false alarms, by engine, quantity and level."""
        rates = [rate for rate in (1e-3, 3e-3, 1e-2, 3e-2, 0.1) if rate * len(self.inside) >= 1]
        return [
            {
                "engine": cell.engine,
                "quantity": cell.quantity,
                "level": cell.level,
                "detected_at": {f"{rate:g}": self.detected([cell], rate) for rate in rates},
            }
            for cell in self.cells
        ]

    def to_markdown(self) -> str:
        """The tables of stress.md."""
        parts = [self._inside_table(), self._quartiles_table(), self._outside_table()]
        return "\n\n".join([f"# `{self.network}` under stress", *parts]) + "\n"

    def _inside_table(self) -> str:
        count = max((len(row.errors) for row in self.rows), default=0)
        heads = ["stress", "Δq", "Δs1", "Δs2", "Δσ_eff", "ΔS_eff", "1 − O median"]  # noqa: RUF001
        heads += ["O 5 %", "O lowest", "flagged", "told"]
        lines = [
            f"Medians of |answer − truth| over {count:,} random waveforms inside of the domain, "  # noqa: RUF001
            f"overlaps of the undisturbed input with the waveform of the answer, and the share "
            f"that is flagged as outside, all false alarms. Of how many the flag tells anything is "
            f"in the last column.",
            "",
            f"| {' | '.join(heads)} |",
            "|:---|" + "---:|" * (len(heads) - 1),
        ]
        for row in self.rows:
            low, _, five, _, middle = row.overlap_quantiles()
            cells = [f"{x:.4f}" for x in row.median_errors()]
            cells += [f"{1 - middle:.1e}", f"{five:.4f}", f"{low:.4f}"]
            flagged = f"{row.flagged.mean():.2%}" if row.told.any() else "–"  # noqa: RUF001
            cells += [flagged, f"{row.told.mean():.1%}"]
            lines.append(f"| {_title(row)} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", *self._remarks()])

    def _remarks(self) -> list[str]:
        return [
            f"- {_title(row)}: {count} {what}."
            for row in self.rows
            for count, what in (
                (row.failures, "waveforms without an answer"),
                (row.without_waveform, "points without a waveform, left out"),
            )
            if count
        ]

    def _quartiles_table(self) -> str:
        lines = [
            "Quartiles and extremes of answer − truth: lowest / lower quartile / median / upper "  # noqa: RUF001
            "quartile / highest.",
            "",
            "| stress | Δq | Δs1 | Δs2 | Δσ_eff | ΔS_eff |",
            "|:---|---:|---:|---:|---:|---:|",
        ]
        for row in self.rows:
            cells = (" / ".join(f"{x:+.3f}" for x in line) for line in row.error_quantiles())
            lines.append(f"| {_title(row)} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def _outside_table(self) -> str:
        lines = [
            f"The flag on waveforms out of the domain: by the answer / by the overlap / by either. "
            f"On {len(self.inside):,} fresh waveforms inside {self.false_alarms:.2%} were flagged; "
            f"the thresholds were made for {self.calibration['rate']:.2%}.",
            "",
            "| engine | out in | how far | waveforms | flagged |",
            "|:---|:---|---:|---:|---:|",
        ]
        for cell in self.cells:
            rates = " / ".join(f"{rate:.0%}" for rate in cell.rates())
            sign = "" if cell.quantity == "q" else "±"
            lines.append(
                f"| {cell.engine} | {cell.quantity} | {sign}{cell.level:g} | {len(cell.beyond)} | "
                f"{rates} |"
            )
        return "\n".join(lines)


def _title(row: Row) -> str:
    return f"{TITLES[row.kind]}: {row.label}" if row.label else TITLES[row.kind]


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
