"""Figures of waveforms: one alone, and truth against prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, ORANGE
from hpc_gw.evaluation.tables import overlap_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class WaveformPair:
    """A true waveform and the predicted one, already moved onto it in time and phase."""

    parameters: tuple[float, float, float]
    """True (q, s1, s2)."""

    overlap: float
    times: np.ndarray
    """Time in M, (T,)."""

    truth: np.ndarray
    """Re h22, (T,)."""

    prediction: np.ndarray
    """Re h22, (T,)."""

    answer: tuple[float, float, float] | None = None
    """Predicted (q, s1, s2), where it is to be shown."""

    @property
    def title(self) -> tuple[str, str]:
        """Overlap and parameters, for a line each or for one."""
        q, s1, s2 = self.parameters
        said = f"$q={q:.2f}$, $s_1={s1:.2f}$, $s_2={s2:.2f}$"
        return f"overlap {overlap_number(self.overlap)}", said


@panel.styled
def single_waveform(times: np.ndarray, h22: np.ndarray, title: str) -> Figure:
    """One waveform: Re h22 and |h22|, all of it and its merger (paper: figure 1).

    Args:
        times: (T,) in M.
        h22: complex (T,).
        title: of the figure.
    """
    figure = panel.new_figure(8.6, 2.9)
    whole, merger = figure.subplots(1, 2, sharey=True, width_ratios=[1.7, 1])
    for ax, window in ((whole, times <= times[-1]), (merger, times >= -300)):
        t, values = times[window], h22[window]
        ax.plot(t, values.real, color=BLUE, lw=0.8, label=r"Re $h_{22}$")
        ax.plot(t, np.abs(values), color=ORANGE, lw=1.0, label=r"$|h_{22}|$")
        ax.set_xlabel("time $t$ [M]")
        ax.margins(x=0.01)
    whole.set_ylabel("strain (geometric units)")
    whole.set_title(title, loc="left")
    figure.legend(*whole.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@panel.styled
def waveform_comparison(pairs: Sequence[WaveformPair], *, inspiral: float = -2000.0) -> Figure:
    """Truth against prediction, a row each: the inspiral and the merger of each pair."""
    figure = panel.new_figure(8.6, 0.6 + 1.7 * len(pairs))
    axes = figure.subplots(
        len(pairs), 2, sharex="col", sharey="row", squeeze=False, width_ratios=[1.7, 1]
    )
    for row, pair in zip(axes, pairs, strict=True):
        _draw_pair(row[0], pair, inspiral, -150.0)
        _draw_pair(row[1], pair, -150.0, 100.0)
        row[0].set_title(",  ".join(pair.title), loc="left")
        row[0].set_ylabel(r"Re $h_{22}$")
    for ax in axes[-1]:
        ax.set_xlabel("time $t$ [M]")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@panel.styled
def waveform_table(
    pairs: Sequence[Sequence[WaveformPair]], rows: Sequence[str], *, start: float = -600.0
) -> Figure:
    """Truth against prediction by overlap (rows) and mass ratio (columns) (paper: figure 11).

    Args:
        pairs: of each row, one for each column.
        rows: what each row is.
        start: first time that is drawn, in M.
    """
    columns = len(pairs[0])
    figure = panel.new_figure(3.15 * columns + 0.3, 0.5 + 1.95 * len(pairs))
    axes = figure.subplots(len(pairs), columns, sharex=True, sharey="col", squeeze=False)
    for line, name, row in zip(axes, rows, pairs, strict=True):
        for ax, pair in zip(line, row, strict=True):
            _draw_pair(ax, pair, start, 100.0)
            ax.set_title(_both(pair), fontsize=7.5, loc="left")
        line[0].set_ylabel(f"{name}\n" + r"Re $h_{22}$")
    for ax in axes[-1]:
        ax.set_xlabel("time $t$ [M]")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@panel.styled
def waveform_gallery(pairs: Sequence[WaveformPair]) -> Figure:
    """The mergers of many pairs as small multiples, four in a row."""
    rows, columns = panel.panels_shape(len(pairs), 4)
    figure = panel.new_figure(max(2.15 * columns, 4.0), 0.7 + 1.5 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for k, ax in enumerate(axes.flat):
        if k >= len(pairs):
            ax.set_visible(False)
            continue
        _draw_pair(ax, pairs[k], -150.0, 60.0)
        ax.set_title("\n".join(pairs[k].title), fontsize=7.5)
        panel.edge_labels(ax, k, (len(pairs), columns), "time $t$ [M]", r"Re $h_{22}$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _draw_pair(ax: Axes, pair: WaveformPair, start: float, end: float) -> None:
    window = (pair.times >= start) & (pair.times <= end)
    t = pair.times[window]
    ax.plot(t, pair.truth[window], color="black", lw=1.3, label="truth")
    ax.plot(t, pair.prediction[window], color=ORANGE, lw=1.0, ls=(0, (4, 1.5)), label="prediction")
    ax.margins(x=0.01)


def _both(pair: WaveformPair) -> str:
    """Overlap, true and predicted parameters in three lines."""
    lines = [pair.title[0]]
    for name, values in (("truth", pair.parameters), ("prediction", pair.answer)):
        if values is not None:
            q, s1, s2 = values
            lines.append(f"{name}:  $q={q:.3f}$,  $s_1={s1:.3f}$,  $s_2={s2:.3f}$")
    return "\n".join(lines)
