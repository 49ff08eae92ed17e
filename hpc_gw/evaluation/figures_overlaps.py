"""Figures of overlaps: histograms, maps, the tail, and one set of overlaps against another.

A failed overlap (NaN) counts as 0 in histograms, means and quantiles, and is a red cross on
a map. Overlaps are coloured by the logarithm of the mismatch 1 - O, and labelled as overlaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, GREEN, GREY, LABELS, ORANGE, SKY
from hpc_gw.evaluation.statistics import (
    PAPER_COUNTS,
    PAPER_TABLE_1,
    PAPER_TOTAL,
    failures_as_zero,
    q_slices,
    slice_label,
)
from hpc_gw.manifold import physics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOW = 0.85
"""Overlaps below this are drawn one by one in the paper's figure A.12."""

NEXT = 0.97
"""Overlaps up to this are grey dots beside those."""

FLOOR = 1e-7
"""Mismatches below this are drawn as this: the rounding of complex64 waveforms."""


@panel.styled
def overlap_histogram(overlap: np.ndarray) -> Figure:
    """Histogram of all overlaps (N,), counts on a logarithmic axis (paper: figure A.12, right)."""
    figure = panel.new_figure(6.4, 3.0)
    _whole_histogram(figure.subplots(), failures_as_zero(overlap))
    return figure


@panel.styled
def low_overlaps(truth: np.ndarray, overlap: np.ndarray, *, limit: float = LOW) -> Figure:
    """The test points with overlap < ``limit``, and the histogram of all (paper: figure A.12).

    Args:
        truth: (N, 5), columns ``QUANTITIES``.
        overlap: (N,); failures are low, and crossed out.
    """
    value = failures_as_zero(overlap)
    low = np.flatnonzero(value < limit)
    beside = np.flatnonzero((value >= limit) & (value <= NEXT))
    figure = panel.new_figure(8.8, 3.1)
    *maps, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    for ax, k, name in zip(maps, (1, 2), ("s1", "s2"), strict=True):
        label = f"{limit:g} to {NEXT:g} ({len(beside):,})"
        ax.scatter(truth[beside, 0], truth[beside, k], s=3, color=GREY, lw=0, label=label)
        points = truth[low, 0], truth[low, k]
        mismatch = np.where(np.isnan(overlap[low]), np.nan, 1 - value[low])
        norm = panel.mismatch_norm(1 - limit, 1.0)
        dots = panel.spin_map(ax, *points, mismatch, norm=norm, area=0.5)
        ax.set_xlabel(LABELS["q"])
        ax.set_ylabel(LABELS[name])
        ax.set_xlim(0.9, 8.1)
        ax.set_ylim(-0.86, 0.86)
    ticks = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, limit)
    panel.overlap_bar(figure, dots, maps, ticks, orientation="horizontal", aspect=40)
    maps[1].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), handletextpad=0.1)
    maps[0].set_title(
        f"{len(low):,} of {len(value):,} below {limit:g}\n"
        f"(paper: {PAPER_COUNTS[LOW]:,} of {PAPER_TOTAL:,} below {LOW:g})",
        loc="left",
    )
    _whole_histogram(right, value)
    return figure


@panel.styled
def overlap_by_q(q: np.ndarray, overlap: np.ndarray, *, panels: int = 9) -> Figure:
    """Overlap histograms of up to ``panels`` slices of q, first to last (paper: figure 9)."""
    value = failures_as_zero(overlap)
    chosen = panel.spread(q_slices(q), panels)
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
        panel.edge_labels(ax, k, (len(chosen), columns), "overlap", "waveforms")
    return figure


@panel.styled
def overlap_trend(q: np.ndarray, overlap: np.ndarray) -> Figure:
    """Mean, median and lower quartile of the overlap in each slice of q, with the paper's 0.99."""
    slices = q_slices(q)
    centre = [float(np.mean(q[members])) for _, _, members in slices]
    values = [failures_as_zero(overlap[members]) for _, _, members in slices]
    figure = panel.new_figure(6.4, 2.8)
    ax = figure.subplots()
    said = "paper: mean and median at least this (but for q ~ 8)"
    ax.axhline(0.99, color=GREY, lw=0.9, ls="--", label=said)
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
def overlap_maps(truth: np.ndarray, overlap: np.ndarray, *, panels: int = 6) -> Figure:
    """Overlap over (s1, s2) by slice of q, and over (sigma_eff, eta) (paper: figure 10).

    Args:
        truth: (N, 5), columns ``QUANTITIES``.
        overlap: (N,); failures are crossed out.
    """
    slices = panel.spread(q_slices(truth[:, 0]), panels)
    rows, columns = panel.panels_shape(len(slices))
    figure = panel.new_figure(max(2.3 * columns + 1.0, 5.0), 2.15 * rows + 3.2)
    halves: Any = figure.subfigures(2, 1, height_ratios=[2.15 * rows, 3.2])
    _draw_slices(halves[0], slices, truth, overlap, columns)
    lower = halves[1]
    ax = lower.subplots()
    points = truth[:, 3], physics.eta(truth[:, 0])
    dots = panel.cell_map(ax, *points, 1 - overlap, norm=panel.norm_of(overlap))
    ax.set_title("all waveforms: the lowest overlap in each place")
    ax.set_xlabel(LABELS["sigma_eff"])
    ax.set_ylabel(LABELS["eta"])
    panel.overlap_bar(lower, dots, ax)
    return figure


@panel.styled
def overlap_slices(truth: np.ndarray, overlap: np.ndarray) -> Figure:
    """Overlap over (s1, s2) in every slice of q: each point of the test set (paper: figure 10).

    Args:
        truth: (N, 5), columns ``QUANTITIES``.
        overlap: (N,); failures are crossed out.
    """
    slices = q_slices(truth[:, 0])
    columns = next((c for c in (11, 10, 9, 8, 7, 6) if len(slices) % c == 0), 8)
    rows, columns = panel.panels_shape(len(slices), columns)
    figure = panel.new_figure(max(1.13 * columns + 1.0, 4.0), 0.6 + 1.28 * rows)
    _draw_slices(figure, slices, truth, overlap, columns)
    return figure


@panel.styled
def mismatch_curves(overlaps: Mapping[str, np.ndarray]) -> Figure:
    """Share of the waveforms at or below each overlap, a curve for each name (N may differ)."""
    figure = panel.new_figure(6.4, 3.3)
    ax = figure.subplots()
    colours = (BLUE, ORANGE, GREEN, SKY, "#CC79A7", "#E69F00", "black")
    floor = 1e-3
    for k, (name, overlap) in enumerate(overlaps.items()):
        value = np.sort(failures_as_zero(overlap))
        share = np.arange(1, len(value) + 1) / len(value)
        median = f"{np.median(value):.5f}" if np.median(value) < 1 - 1e-5 else "> 0.99999"
        label = f"{name}: median {median} ({len(value):,})"
        # drawn to the last point where it is a step, whatever the size of the set
        keep = np.unique(np.geomspace(1, len(value), 2000).round().astype(int)) - 1
        x = np.maximum(1 - value, FLOOR)[keep]
        ax.step(x, share[keep], color=colours[k % len(colours)], label=label, where="post")
        floor = min(floor, float(x.min()))
    panel.overlap_ticks(ax, "x", floor, 1.0)
    ax.set_yscale("log")
    ax.set_xlabel("overlap")
    ax.set_ylabel("share of waveforms at or below")
    ax.grid(alpha=0.25)
    ax.legend(loc="lower right", fontsize=7.5)
    return figure


@panel.styled
def refined_overlaps(network: np.ndarray, refined: np.ndarray, converged: np.ndarray) -> Figure:
    """The network's overlap (N,) against that after a fit of the waveform, and both as curves."""
    figure = panel.new_figure(8.6, 3.4)
    left, right = figure.subplots(1, 2)
    before, after = (np.maximum(1 - failures_as_zero(o), FLOOR) for o in (network, refined))
    drawn = left.hexbin(
        before, after, xscale="log", yscale="log", gridsize=55, bins="log", mincnt=1, cmap="cividis"
    )
    drawn.set_rasterized(True)
    left.plot([FLOOR, 1], [FLOOR, 1], color=GREY, lw=0.9, ls="--")
    panel.overlap_ticks(left, "x", FLOOR, 1.0)
    panel.overlap_ticks(left, "y", FLOOR, 1.0)
    left.tick_params(axis="x", rotation=40)
    left.set_xlabel("overlap, network alone")
    left.set_ylabel("overlap, refined")
    left.set_title(
        f"{int((~converged).sum()):,} of {len(converged):,} did not converge", loc="left"
    )
    figure.colorbar(drawn, ax=left, label="waveforms")
    for name, x, colour in (("network alone", before, BLUE), ("refined", after, ORANGE)):
        value = np.sort(x)[::-1]
        share = np.arange(1, len(x) + 1) / max(len(x), 1)
        keep = np.unique(np.geomspace(1, max(len(x), 1), 2000).round().astype(int)) - 1
        right.step(value[keep], share[keep], color=colour, label=name, where="post")
    panel.overlap_ticks(right, "x", FLOOR, 1.0)
    right.tick_params(axis="x", rotation=40)
    right.set_yscale("log")
    right.set_xlabel("overlap")
    right.set_ylabel("share of waveforms at or below")
    right.grid(alpha=0.25)
    right.legend(loc="lower right")
    return figure


def _whole_histogram(ax: Axes, value: np.ndarray) -> None:
    """All overlaps, with the paper's median."""
    panel.histogram(ax, value, panel.histogram_bins(value, 60))
    paper = PAPER_TABLE_1["overlap"][2]
    ax.axvline(paper, color=GREY, lw=1.2, ls="-.", label=f"paper's median {paper:.3f}")
    ax.set_xlabel("overlap")
    ax.set_ylabel("waveforms")
    ax.legend(loc="upper left")


def _draw_slices(
    figure: Any,
    slices: Sequence[tuple[float, float, np.ndarray]],
    truth: np.ndarray,
    overlap: np.ndarray,
    columns: int,
) -> None:
    """A map over (s1, s2) for each slice of q, and one colour bar."""
    rows, columns = panel.panels_shape(len(slices), columns)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    norm = panel.norm_of(overlap)
    for k, ax in enumerate(axes.flat):
        if k >= len(slices):
            ax.set_visible(False)
            continue
        low, high, members = slices[k]
        spins = truth[members, 1], truth[members, 2]
        dots = panel.spin_map(ax, *spins, 1 - overlap[members], norm=norm)
        ax.set_title(slice_label(low, high))
        panel.edge_labels(ax, k, (len(slices), columns), LABELS["s1"], LABELS["s2"])
    panel.overlap_bar(figure, dots, axes)
