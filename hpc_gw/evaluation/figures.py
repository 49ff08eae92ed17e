"""Figures of an evaluation. Matplotlib is imported when a figure is drawn.

Each function takes arrays and returns a ``Figure`` of its own, without pyplot, so nothing
global changes. Overlaps are coloured by the logarithm of the mismatch 1 - O, and labelled
as overlaps.
"""

# ruff: noqa: PLC0415  (matplotlib is imported when a figure is drawn)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hpc_gw.constants import QUANTITIES
from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, GREEN, GREY, ORANGE
from hpc_gw.evaluation.statistics import failures_as_zero, q_slices, slice_label
from hpc_gw.evaluation.tables import overlap_number
from hpc_gw.files import published
from hpc_gw.manifold import physics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "q": "$q$",
    "s1": "$s_1$",
    "s2": "$s_2$",
    "sigma_eff": r"$\sigma_{\mathrm{eff}}$",
    "s_eff": r"$S_{\mathrm{eff}}$",
}


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

    @property
    def title(self) -> tuple[str, str]:
        """Overlap and parameters, for a line each or for one."""
        q, s1, s2 = self.parameters
        said = f"$q={q:.2f}$, $s_1={s1:.2f}$, $s_2={s2:.2f}$"
        return f"overlap {overlap_number(self.overlap)}", said


@panel.styled
def overlap_histogram(overlap: np.ndarray) -> Figure:
    """Histogram of all overlaps (N,), counts on a logarithmic axis (paper: figure A.12)."""
    value = failures_as_zero(overlap)
    figure = panel.new_figure(6.4, 3.0)
    ax = figure.subplots()
    panel.histogram(ax, value, panel.histogram_bins(value, 60))
    ax.set_xlabel("overlap")
    ax.set_ylabel("waveforms")
    ax.legend(loc="upper left")
    return figure


@panel.styled
def overlap_by_q(q: np.ndarray, overlap: np.ndarray, *, panels: int = 9) -> Figure:
    """Overlap histograms of up to ``panels`` slices of q, first to last (paper: figure 9)."""
    value = failures_as_zero(overlap)
    chosen = _spread(q_slices(q), panels)
    rows, columns = panel.panels_shape(len(chosen))
    figure = panel.new_figure(max(2.9 * columns, 4.5), 0.5 + 1.75 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    bins = panel.histogram_bins(np.maximum(value, np.quantile(value, 0.005)), 40)
    for k, ax in enumerate(axes.flat):
        if k >= len(chosen):
            ax.set_visible(False)
            continue
        low, high, members = chosen[k]
        panel.histogram(ax, value[members], bins)
        ax.set_title(f"{slice_label(low, high)}  ({len(members):,})")
        ax.legend(loc="upper left", fontsize=7, handlelength=1.4)
        _edge_labels(ax, k, (len(chosen), columns), "overlap", "waveforms")
    return figure


@panel.styled
def overlap_trend(q: np.ndarray, overlap: np.ndarray) -> Figure:
    """Mean, median and lower quartile of the overlap in each slice of q."""
    slices = q_slices(q)
    centre = [float(np.mean(q[members])) for _, _, members in slices]
    values = [failures_as_zero(overlap[members]) for _, _, members in slices]
    figure = panel.new_figure(6.4, 2.8)
    ax = figure.subplots()
    ax.axhline(0.99, color=GREY, lw=0.9, ls="--", label="0.99")
    for name, colour, marker, y in (
        ("median", BLUE, "o", [np.median(v) for v in values]),
        ("mean", ORANGE, "s", [np.mean(v) for v in values]),
        ("lower quartile", GREEN, "v", [np.quantile(v, 0.25) for v in values]),
    ):
        ax.plot(centre, y, color=colour, marker=marker, ms=3.5, label=name)
    ax.set_xlabel("mass ratio $q$")
    ax.set_ylabel("overlap")
    ax.legend(loc="best", ncols=2)
    ax.grid(alpha=0.25)
    return figure


@panel.styled
def error_maps(truth: np.ndarray, prediction: np.ndarray, *, panels: int = 3) -> Figure:
    """\\|prediction - truth\\| over (s1, s2) for sample slices of q (paper: figure 8).

    Args:
        truth, prediction: (N, 5), columns ``QUANTITIES``; rows that failed are crossed out.
    """
    chosen = _spread(q_slices(truth[:, 0]), panels)
    error = np.abs(prediction - truth)
    rows, columns = len(QUANTITIES), len(chosen)
    figure = panel.new_figure(2.5 * columns + 1.0, 1.95 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for i, name in enumerate(QUANTITIES):
        finite = error[np.isfinite(error[:, i]), i]
        top = float(np.quantile(finite, 0.99)) if finite.size else 0.0
        for j, (low, high, members) in enumerate(chosen):
            ax = axes[i, j]
            spins = truth[members, 1], truth[members, 2]
            dots = panel.spin_map(ax, *spins, error[members, i], vmin=0, vmax=top or 1.0)
            if i == 0:
                ax.set_title(slice_label(low, high))
            _edge_labels(ax, i * columns + j, (rows * columns, columns), "$s_1$", "$s_2$")
        label = f"$|$Δ{LABELS[name]}$|$"
        figure.colorbar(dots, ax=axes[i, :], label=label, extend="max", aspect=12)
    return figure


@panel.styled
def overlap_maps(truth: np.ndarray, overlap: np.ndarray, *, panels: int = 6) -> Figure:
    """Overlap over (s1, s2) by slice of q, and over (sigma_eff, eta) (paper: figure 10).

    Args:
        truth: (N, 5), columns ``QUANTITIES``.
        overlap: (N,); failures are crossed out.
    """
    slices = _spread(q_slices(truth[:, 0]), panels)
    rows, columns = panel.panels_shape(len(slices))
    figure = panel.new_figure(max(2.5 * columns + 1.0, 5.0), 2.15 * rows + 2.9)
    halves: Any = figure.subfigures(2, 1, height_ratios=[2.15 * rows, 2.9])
    upper, lower = halves
    axes = upper.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    mismatch, norm = 1 - overlap, panel.mismatch_norm()
    for k, ax in enumerate(axes.flat):
        if k >= len(slices):
            ax.set_visible(False)
            continue
        low, high, members = slices[k]
        spins = truth[members, 1], truth[members, 2]
        dots = panel.spin_map(ax, *spins, mismatch[members], norm=norm)
        ax.set_title(slice_label(low, high))
        _edge_labels(ax, k, (len(slices), columns), "$s_1$", "$s_2$")
    panel.overlap_bar(upper, dots, axes)
    ax = lower.subplots()
    dots = panel.spin_map(ax, truth[:, 3], physics.eta(truth[:, 0]), mismatch, norm=norm, area=3)
    ax.set_title("all waveforms")
    ax.set_xlabel(LABELS["sigma_eff"])
    ax.set_ylabel(r"$\eta$")
    panel.overlap_bar(lower, dots, ax)
    return figure


@panel.styled
def waveform_comparison(pairs: Sequence[WaveformPair], *, inspiral: float = -2000.0) -> Figure:
    """Truth against prediction: the inspiral and the merger of each pair (paper: figure 11)."""
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
        ax.plot(t, values.real, color=panel.BLUE, lw=0.8, label=r"Re $h_{22}$")
        ax.plot(t, np.abs(values), color=ORANGE, lw=1.0, label=r"$|h_{22}|$")
        ax.set_xlabel("time $t$ [M]")
        ax.margins(x=0.01)
    whole.set_ylabel("strain (geometric units)")
    whole.set_title(title, loc="left")
    figure.legend(*whole.get_legend_handles_labels(), loc="outside upper right", ncols=2)
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
        _edge_labels(ax, k, (len(pairs), columns), "time $t$ [M]", r"Re $h_{22}$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@panel.styled
def training_curve(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses and learning rate over the steps of a training log.

    Args:
        records: rows of the log with any of the keys step, epoch, loss, val_loss, lr; a row
            is left out of a curve whose key it lacks.
    """
    figure = panel.new_figure(6.4, 4.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1])
    along = next((key for key in ("step", "epoch") if any(key in r for r in records)), "")
    for ax, key, name, style in (
        (upper, "loss", "training", {"color": BLUE}),
        (upper, "val_loss", "validation", {"color": ORANGE, "marker": "o", "ms": 3.5}),
        (lower, "lr", "learning rate", {"color": GREY}),
    ):
        rows = [(r.get(along, i), r.get(key)) for i, r in enumerate(records)]
        points = np.array([(x, y) for x, y in rows if _is_number(x) and _is_number(y)])
        if len(points):
            ax.plot(points[:, 0], points[:, 1], label=name, **style)
        if len(points) and (points[:, 1] > 0).all():
            ax.set_yscale("log")
    upper.set_ylabel("loss")
    lower.set_ylabel("learning rate")
    lower.set_xlabel(along or "record")
    if upper.get_legend_handles_labels()[0]:
        upper.legend()
    for ax in (upper, lower):
        ax.grid(alpha=0.25)
    return figure


def save(
    figure: Figure, folder: Path, name: str, kinds: Sequence[str] = ("png", "pdf")
) -> list[Path]:
    """Publish ``folder/name.png`` (160 dpi) and ``folder/name.pdf`` atomically."""
    from matplotlib import rc_context

    paths = [Path(folder) / f"{name}.{kind}" for kind in kinds]
    for path in paths:
        with published(path) as temporary, rc_context(panel.STYLE):
            figure.savefig(temporary, format=path.suffix[1:], dpi=160)
        figure.set_layout_engine("none")  # the layout is found once, and kept
    return paths


def _draw_pair(ax: Axes, pair: WaveformPair, start: float, end: float) -> None:
    window = (pair.times >= start) & (pair.times <= end)
    t = pair.times[window]
    ax.plot(t, pair.truth[window], color="black", lw=1.3, label="truth")
    ax.plot(t, pair.prediction[window], color=ORANGE, lw=1.0, ls=(0, (4, 1.5)), label="prediction")
    ax.margins(x=0.01)


def _edge_labels(ax: Axes, k: int, shape: tuple[int, int], x: str, y: str) -> None:
    """Label panel ``k`` at the lower and left edges only; shape: (panels, columns)."""
    count, columns = shape
    bottom = k + columns >= count
    ax.tick_params(labelbottom=bottom)
    if bottom:
        ax.set_xlabel(x)
    if k % columns == 0:
        ax.set_ylabel(y)


T = TypeVar("T")


def _spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of the items, evenly from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))
