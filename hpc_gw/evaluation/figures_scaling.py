"""The figure of scaling: what many ranks or GPUs gain, beside the paper's own numbers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, GREEN, GREY, ORANGE, RED, SKY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER_HOURS: Mapping[int, float] = {1: 30 * 24.0, 64: 12.4, 1536: 1.2}
"""Training time [h] on that many V100: one ("1 month, about 30 days"), HAL, and Summit (LAMB)."""

PAPER_EFFICIENCY: Mapping[int, float] = {6144: 0.80}
"""Efficiency of the throughput measured on that many V100 (Summit)."""

Points = Sequence[tuple[int, float]]
"""(GPUs or ranks, speed-up over one), measured."""

_PURPLE = "#CC79A7"  # the next of Okabe and Ito's colours
_STYLES = tuple(zip((BLUE, GREEN, ORANGE, SKY, _PURPLE, RED), "os^Dvp", strict=True))


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
    for (name, points), (colour, marker) in zip(
        (measured or {}).items(), itertools.cycle(_STYLES), strict=False
    ):
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


@panel.styled
def measured_scaling(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A sweep's speed-up and efficiency on its own axes, and beside the paper's (figure 7).

    Args:
        rows: of a sweep's summary: what, kind, ranks, and speed_up and efficiency with their
            ``_interval``; rows without these are left out.
    """
    figure = panel.new_figure(8.6, 3.6)
    axes = figure.subplots(1, 3)
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if "speed_up" in row:
            curves.setdefault(f"{row['what']}, {row['kind']}", []).append(row)
    most = max((row["ranks"] for curve in curves.values() for row in curve), default=1)
    for number, ((name, curve), (colour, marker)) in enumerate(
        zip(curves.items(), itertools.cycle(_STYLES), strict=False)
    ):
        shift = 1 + 0.02 * (number - (len(curves) - 1) / 2)  # so that no point hides another
        count = np.array([row["ranks"] for row in curve], dtype=float)
        for ax, key, unit in (
            (axes[0], "speed_up", 1), (axes[1], "efficiency", 100), (axes[2], "speed_up", 1),
        ):  # fmt: skip
            middle = unit * np.array([row[key] for row in curve])
            ends = unit * np.array([row[f"{key}_interval"] for row in curve]).T
            ax.errorbar(
                count * (shift if ax is not axes[2] else 1),
                middle,
                np.abs(ends - middle),
                color=colour,
                marker=marker,
                ms=4.5,
                capsize=2,
                label=name,
            )
    for (name, points), marker in zip(paper_speed_up().items(), "PX", strict=True):
        count, gain = np.array(points, dtype=float).T
        axes[2].plot(
            count, gain, ls="none", marker=marker, ms=7, mfc="none", mec=GREY, mew=1.4, label=name
        )
    ends = np.array([1.0, max(2.0, most)])
    axes[0].plot(ends, ends, color=GREY, lw=0.8, ls="--", label="ideal")
    axes[1].axhline(100, color=GREY, lw=0.8, ls="--")
    axes[2].plot([1, 1e4], [1, 1e4], color=GREY, lw=0.8, ls="--")
    ticks = sorted({row["ranks"] for curve in curves.values() for row in curve} | {1})
    for ax in axes[:2]:
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.set_xlim(0.85, 1.18 * ends[1])
        ax.set_xlabel("ranks, this sweep")
    axes[0].set_yscale("log", base=2)
    axes[0].set_yticks(ticks, [str(tick) for tick in ticks])
    axes[0].set_ylabel("speed-up")
    axes[1].set_ylim(0, 118)
    axes[1].set_ylabel("efficiency [%]")
    axes[2].set(
        xscale="log", yscale="log", xlim=(0.7, 1.2e4), ylim=(0.4, 1.2e4),
        xlabel="ranks, and the paper's V100", ylabel="speed-up",
    )  # fmt: skip
    for ax in axes:
        ax.grid(alpha=0.25)
    handles = dict(zip(*axes[2].get_legend_handles_labels()[::-1], strict=True))
    handles |= dict(zip(*axes[0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3)
    return figure


@panel.styled
def forecast_scaling(rows: Sequence[Mapping[str, Any]], machine: str) -> Figure:
    """Forecast efficiency and time to train over GPUs, with bands, and the paper's points.

    Args:
        rows: of a forecast: gpus, compression, efficiency and hours with their ``_band``.
        machine: its name.
    """
    figure = panel.new_figure(8.6, 3.5)
    left, right = figure.subplots(1, 2)
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        curves.setdefault(row["compression"], []).append(row)
    for (name, curve), (colour, marker) in zip(
        curves.items(), itertools.cycle(_STYLES), strict=False
    ):
        curve.sort(key=lambda row: row["gpus"])
        count = np.array([row["gpus"] for row in curve], dtype=float)
        for ax, key, unit in ((left, "efficiency", 100), (right, "hours", 1)):
            low, high = unit * np.array([row[f"{key}_band"] for row in curve]).T
            ax.fill_between(count, low, high, color=colour, alpha=0.18, lw=0)
            middle = unit * np.array([row[key] for row in curve])
            ax.plot(count, middle, color=colour, marker=marker, ms=4.5, label=f"{machine}, {name}")
    hollow = {"ls": "none", "ms": 7, "mfc": "none", "mec": GREY, "mew": 1.4}
    share = np.array(list(PAPER_EFFICIENCY.items()), dtype=float).T
    left.plot(share[0], 100 * share[1], marker="X", label="paper: throughput, Summit", **hollow)
    hours = np.array(list(PAPER_HOURS.items()), dtype=float).T[:, 1:]
    right.plot(hours[0], hours[1], marker="P", label="paper: whole trainings", **hollow)
    left.axhline(100, color=GREY, lw=0.8, ls="--")
    left.set_ylim(0, 118)
    left.set_ylabel("efficiency [%]")
    right.set_yscale("log")
    right.set_ylabel("time to train [h]")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("GPUs")
        ax.grid(alpha=0.25)
    handles = dict(zip(*left.get_legend_handles_labels()[::-1], strict=True))
    handles |= dict(zip(*right.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3)
    return figure
