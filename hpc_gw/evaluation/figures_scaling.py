"""The figure of scaling: what many ranks or GPUs gain, beside the paper's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, GREEN, GREY, ORANGE, SKY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER_HOURS: Mapping[int, float] = {1: 30 * 24.0, 64: 12.4, 1536: 1.2}
"""Training time [h] on that many V100: one ("1 month, about 30 days"), HAL, and Summit (LAMB)."""

PAPER_EFFICIENCY: Mapping[int, float] = {6144: 0.80}
"""Efficiency of the throughput measured on that many V100 (Summit)."""

Points = Sequence[tuple[int, float]]
"""(GPUs or ranks, speed-up over one), measured."""


def paper_speed_up() -> dict[str, Points]:
    """The paper's numbers as speed-ups over one V100, by how they were got."""
    one = PAPER_HOURS[1]
    trained = [(count, one / hours) for count, hours in PAPER_HOURS.items()]
    measured = [(count, count * share) for count, share in PAPER_EFFICIENCY.items()]
    return {
        "paper, V100: time of a whole training": trained,
        "paper, V100: throughput (80 % at 6144)": measured,
    }


@panel.styled
def speed_up(measured: Mapping[str, Points] | None = None, unit: str = "GPUs or ranks") -> Figure:
    """Speed-up and efficiency over GPUs or ranks, ours and the paper's (paper: figure 7).

    Args:
        measured: points of each of our runs by its name; none: the paper's points alone.
        unit: what is counted.
    """
    figure = panel.new_figure(8.6, 3.5)
    left, right = figure.subplots(1, 2)
    styles = zip((BLUE, GREEN, ORANGE, SKY), "os^D", strict=True)
    for (name, points), (colour, marker) in zip((measured or {}).items(), styles, strict=False):
        count, gain = np.array(sorted(points), dtype=float).T
        style = {"color": colour, "marker": marker, "ms": 4.5, "label": f"this package, {name}"}
        left.plot(count, gain, **style)
        right.plot(count, 100 * gain / count, **style)
    for (name, points), marker in zip(paper_speed_up().items(), "PX", strict=True):
        count, gain = np.array(points, dtype=float).T
        hollow = {"ls": "none", "marker": marker, "ms": 7, "mfc": "none", "mec": GREY, "mew": 1.4}
        left.plot(count, gain, label=name, **hollow)
        right.plot(count, 100 * gain / count, label=name, **hollow)
    for count, hours in PAPER_HOURS.items():
        time = f"{hours:g} h" if count > 1 else "1 month"
        left.annotate(
            time,
            (count, PAPER_HOURS[1] / hours),
            (7, -8),
            textcoords="offset points",
            fontsize=7.5,
            color="#555555",
        )
    ends = np.array([1, 10_000])
    left.plot(ends, ends, color=GREY, lw=0.8, ls="--", label="ideal")
    right.axhline(100, color=GREY, lw=0.8, ls="--", label="ideal")
    left.set_yscale("log")
    left.set_ylim(0.4, 12_000)
    left.set_ylabel("speed-up over one")
    right.set_ylabel("efficiency [%]")
    right.set_ylim(0, 118)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlim(0.8, 12_000)
        ax.set_xlabel(unit)
        ax.grid(alpha=0.25)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
