"""The figure of ``hpc-gw stress``: errors and overlaps under stress, and the flag's ROC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpc_gw.constants import QUANTITIES
from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, GREEN, GREY, LABELS, ORANGE, SKY
from hpc_gw.evaluation.stress_results import Row, Stress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(zip(QUANTITIES, (BLUE, ORANGE, GREEN, GREY, SKY), strict=True))
FLOOR = 1e-7
"""Smallest mismatch that is drawn: below is the rounding of complex64."""

STYLES = ("-", "--", ":", "-.")


@panel.styled
def under_stress(found: Stress) -> Figure:
    """Errors and mismatches against shift, noise, and others; ROC by quantity and level."""
    figure = panel.new_figure(7.2, 7.4)
    grid = figure.subplots(3, 2)
    plain = next(row for row in found.rows if row.kind == "plain")
    shifts = [plain, *(row for row in found.rows if row.kind == "shift")]
    shifts.sort(key=lambda row: row.value or 0.0)
    noises = [row for row in found.rows if row.kind == "snr"]
    _errors(grid[0, 0], shifts, plain, "shift [M]", linear=True)
    _overlaps(grid[0, 1], shifts, plain, "shift [M]", linear=True)
    _errors(grid[1, 0], noises, plain, "SNR of white noise")
    _overlaps(grid[1, 1], noises, plain, "SNR of white noise")
    _files(grid[1, 1], [row for row in found.rows if row.kind == "file"])
    _kinds(grid[2, 0], [row for row in found.rows if row.kind in ("plain", "phase", "engine")])
    _roc(grid[2, 1], found)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=5, loc="outside upper center")
    return figure


def _scale(ax: Axes, label: str, linear: bool) -> None:
    ax.set_xscale("symlog", linthresh=0.1) if linear else ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(label)
    ax.grid(alpha=0.25)


def _errors(ax: Axes, rows: list[Row], plain: Row, label: str, *, linear: bool = False) -> None:
    """Medians of the errors' sizes against the stress, dotted where there is none."""
    medians = np.array([row.median_errors() for row in rows]).reshape(len(rows), len(QUANTITIES))
    for k, key in enumerate(QUANTITIES):
        colour = COLOURS[key]
        ax.plot([row.value or 0 for row in rows], medians[:, k], "o-", ms=3, color=colour,
                label=LABELS[key])  # fmt: skip
        ax.axhline(plain.median_errors()[k], color=colour, ls=":", lw=0.9)
    ax.set_ylabel("median |answer $-$ truth|")
    _scale(ax, label, linear)


def _overlaps(ax: Axes, rows: list[Row], plain: Row, label: str, *, linear: bool = False) -> None:
    """Median, quartiles and 95 % of 1 - O against the stress; dotted: the median without."""
    x = [row.value or 0 for row in rows]
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    ends = [np.quantile(np.maximum(1 - row.overlap, FLOOR), levels) for row in rows]
    if ends:
        low, first, median, third, high = np.array(ends).T
        ax.fill_between(x, low, high, color=BLUE, alpha=0.15, lw=0, label="5 to 95 %")
        ax.fill_between(x, first, third, color=BLUE, alpha=0.3, lw=0, label="quartiles")
        ax.plot(x, median, "o-", ms=3, color=BLUE, label="median")
        ax.legend()
    ax.axhline(max(float(np.median(1 - plain.overlap)), FLOOR), color=BLUE, ls=":", lw=0.9)
    ax.set_ylabel("1 $-$ overlap")
    _scale(ax, label, linear)


def _files(ax: Axes, rows: list[Row]) -> None:
    """Medians of 1 - O of noisy files, whose time and phase are looked for in the noise."""
    median = [max(float(np.median(1 - row.overlap)), FLOOR) for row in rows]
    ax.plot([row.value or 0 for row in rows], median, "s--", ms=3, color=ORANGE, label="of files")
    ax.legend()


def _kinds(ax: Axes, rows: list[Row]) -> None:
    """Median, quartiles, 5 % and 95 % of 1 - O for stresses without a number."""
    names = [row.label if row.kind == "engine" else row.kind for row in rows]
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    ends = [np.quantile(np.maximum(1 - row.overlap, FLOOR), levels) for row in rows]
    low, first, median, third, high = np.array(ends).T
    y = np.arange(len(rows))
    ax.hlines(y, low, high, color=BLUE, lw=1.2)
    ax.barh(y, third - first, 0.5, left=first, color=BLUE, alpha=0.5)
    ax.vlines(median, y - 0.25, y + 0.25, color="black", lw=1.4)
    ax.set_xscale("log")
    ax.set_yticks(y, names)
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.25)
    ax.set_xlabel("1 $-$ overlap")


def _roc(ax: Axes, found: Stress) -> None:
    """Detections against false alarms by quantity, all engines together, a line for each level."""
    for key, colour in (("q", BLUE), ("s1", ORANGE), ("s2", GREEN)):
        levels = sorted({cell.level for cell in found.cells if cell.quantity == key})
        for level, style in zip(levels, STYLES, strict=False):
            cells = [cell for cell in found.cells if cell.quantity == key and cell.level == level]
            alarms, detected = found.roc(cells)
            name = f"{LABELS[key]} {level:g}" if key == "q" else f"|{LABELS[key]}| {level:g}"
            ax.plot(np.maximum(alarms, 0.5 / len(found.inside)), detected, color=colour, ls=style,
                    label=name, drawstyle="steps-post")  # fmt: skip
    ax.axvline(found.calibration["rate"], color=GREY, lw=0.9)
    ax.set_xscale("log")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("false alarms inside of the domain")
    ax.set_ylabel("flagged outside, all engines")
    ax.grid(alpha=0.25)
    ax.legend(ncols=3, fontsize=6, loc="lower right", handlelength=1.6, columnspacing=0.8)
