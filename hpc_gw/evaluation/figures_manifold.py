"""Figures of the signal manifold: how it is sampled, and where its waveforms look alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, LABELS, ORANGE, SKY
from hpc_gw.manifold import physics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORNER = 100
"""Points that the zoom into a corner of the manifold shows at least."""

TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 0.99, 1.0)
"""Overlaps that the colour bar of a degeneracy map names."""

Point = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SpinMaps:
    """Overlaps of one waveform with whole slices of mass ratio."""

    point: Point
    """(q, s1, s2) of the one."""

    q: tuple[float, ...]
    """Mass ratios of the slices, (Q,)."""

    s1: np.ndarray
    """(A,)"""

    s2: np.ndarray
    """(B,)"""

    overlap: np.ndarray
    """(Q, A, B); NaN where there is no waveform."""


@dataclass(frozen=True, eq=False)
class EffectiveMap:
    """Overlap of one waveform with those of each symmetric mass ratio and effective spin."""

    point: Point
    eta: np.ndarray
    """(E,), increasing."""

    sigma: np.ndarray
    """sigma_eff, (S,)."""

    overlap: np.ndarray
    """(E, S), the best of the spins that have this sigma_eff."""


@panel.styled
def sampling(sets: Mapping[str, np.ndarray]) -> Figure:
    """Points of the training, validation and test sets, whole and near (paper: figure 2).

    Args:
        sets: up to three names and points (N, 3) of (q, s1, s2). The zoom shows a corner of six
            of the paper's training steps in each direction, or more where points lie thinner.
    """
    low, high = _extent(list(sets.values()))
    near = low + (high - low) * np.array([6 / 88, 6 / 134, 6 / 134]) * 1.01
    while sum(int((p <= near).all(axis=1).sum()) for p in sets.values()) < CORNER:
        near = low + 1.5 * (near - low)
        if (near >= high).all():
            break
    figure = panel.new_figure(9.6, 3.4)
    whole: Any = figure.add_subplot(1, 3, 1, projection="3d")
    corner: Any = figure.add_subplot(1, 3, 2, projection="3d")
    plane = figure.add_subplot(1, 3, 3)
    rng = np.random.default_rng(0)
    styles = zip((SKY, BLUE, ORANGE), "osD", (0.35, 0.8, 1.0), strict=True)
    for (name, points), (colour, marker, size) in zip(sets.items(), styles, strict=False):
        some = points[rng.choice(len(points), min(700, len(points)), replace=False)]
        whole.scatter(*some.T, s=2.5, c=colour, lw=0, rasterized=True)
        inside = points[(points <= near).all(axis=1)]
        corner.scatter(*inside.T, s=9 * size + 2, c=colour, marker=marker, lw=0, depthshade=False)
        flat = np.unique(np.round(inside[:, :2], 9), axis=0)
        label = f"{name} ({len(points):,})"
        x, y = flat.T
        plane.scatter(x, y, s=30 * size + 8, c=colour, marker=marker, lw=0, label=label)
    _box(whole, low, near)
    for ax in (whole, corner):
        ax.set_xlabel(LABELS["q"], labelpad=-4)
        ax.set_ylabel(LABELS["s1"], labelpad=-2)
        ax.set_zlabel(LABELS["s2"], labelpad=-2)
        ax.tick_params(pad=-2, labelsize=6.5)
        ax.locator_params(nbins=4)
        ax.set_box_aspect((1, 1, 1), zoom=0.95)
    whole.set_title("whole manifold (700 of each set)", fontsize=8.5)
    corner.set_title("corner, every point", fontsize=8.5)
    plane.set_title("corner, seen along $s_2$", fontsize=8.5)
    plane.set_xlabel(LABELS["q"])
    plane.set_ylabel(LABELS["s1"])
    figure.legend(*plane.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@panel.styled
def degeneracy(maps: Sequence[SpinMaps]) -> Figure:
    """Overlap of a few systems, a row each, with three slices of q over (s1, s2) (paper: figure 5).

    The truth is a star, hollow where the slice has another mass ratio.
    """
    columns = len(maps[0].q)
    figure = panel.new_figure(2.15 * columns + 1.2, 2.05 * len(maps) + 0.2)
    axes = figure.subplots(len(maps), columns, sharex=True, sharey=True, squeeze=False)
    norm = _similarity()
    for i, row in enumerate(maps):
        for j, q in enumerate(row.q):
            ax = axes[i, j]
            drawn = _map(ax, row.s1, row.s2, row.overlap[j].T, norm)
            panel.star(ax, row.point[1], row.point[2], filled=abs(q - row.point[0]) < 1e-6)
            best = np.nanmax(row.overlap[j])
            ax.set_title(f"$q={q:.2f}$,  best {best:.4f}", fontsize=8)
            panel.edge_labels(
                ax, i * columns + j, (len(maps) * columns, columns), LABELS["s1"], LABELS["s2"]
            )
        axes[i, 0].set_ylabel(_named(row.point, "\n") + f"\n{LABELS['s2']}")
    panel.overlap_bar(figure, drawn, axes, TICKS, aspect=40)
    return figure


@panel.styled
def degeneracy_effective(maps: Sequence[EffectiveMap]) -> Figure:
    """Overlap of a few systems with all others over (eta, sigma_eff), truths starred (figure 6).

    Each pixel shows the best overlap of the spins with that sigma_eff.
    """
    rows, columns = panel.panels_shape(len(maps), 2)
    figure = panel.new_figure(3.1 * columns + 1.2, 2.5 * rows + 0.2)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    norm = _similarity()
    for k, ax in enumerate(axes.flat):
        if k >= len(maps):
            ax.set_visible(False)
            continue
        one = maps[k]
        drawn = _map(ax, one.eta, one.sigma, one.overlap.T, norm)
        panel.star(ax, float(physics.eta(one.point[0])), float(physics.sigma_eff(*one.point)))
        ax.set_title(_named(one.point), fontsize=8.5)
        panel.edge_labels(ax, k, (len(maps), columns), LABELS["eta"], LABELS["sigma_eff"])
    panel.overlap_bar(figure, drawn, axes, TICKS, aspect=30)
    return figure


def _similarity() -> Any:
    """Colours by the root of the mismatch: from unlike waveforms to degenerate ones."""
    from matplotlib.colors import PowerNorm  # noqa: PLC0415  (imported when a figure is drawn)

    return PowerNorm(0.5, 0.0, 1.0)


def _map(ax: Axes, x: np.ndarray, y: np.ndarray, overlap: np.ndarray, norm: Any) -> Any:
    """Overlaps (Y, X) as an image."""
    value = panel.masked(1 - overlap)
    return ax.pcolormesh(x, y, value, norm=norm, cmap="cividis", shading="nearest", rasterized=True)


def _named(point: Point, between: str = ", ") -> str:
    q, s1, s2 = point
    return f"$q={q:.2f}${between}$s_1={s1:.2f}$, $s_2={s2:.2f}$"


def _extent(sets: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.min([points.min(axis=0) for points in sets], axis=0),
        np.max([points.max(axis=0) for points in sets], axis=0),
    )


def _box(ax: Any, low: np.ndarray, high: np.ndarray) -> None:
    """The edges of a cuboid."""
    corners = np.array([[(low, high)[b >> k & 1][k] for k in range(3)] for b in range(8)])
    for a in range(8):
        for k in range(3):
            b = a ^ (1 << k)
            if a < b:
                ax.plot(*corners[[a, b]].T, color="black", lw=1.0)
