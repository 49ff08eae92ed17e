"""What the figures share: their style, panels, histograms, maps and colour bars (matplotlib)."""

# ruff: noqa: PLC0415  (matplotlib is imported when a figure is drawn)

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure, FigureBase

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8F98"
"""Okabe & Ito's colours, which colour-blind readers tell apart."""

MISMATCH_RANGE = (1e-4, 0.3)
"""Ends of the colour scale of overlaps: 0.9999 and 0.7."""

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function in the package's style, and leave the caller's style alone."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        from matplotlib import rc_context

        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panels_shape(count: int, columns: int = 3) -> tuple[int, int]:
    """(rows, columns) that hold ``count`` panels."""
    columns = min(columns, max(count, 1))
    return -(-max(count, 1) // columns), columns


def histogram_bins(overlap: np.ndarray, count: int) -> np.ndarray:
    """Equal bins from the lowest overlap, rounded down to a multiple of 0.05, to 1."""
    low = float(np.floor(20 * np.min(overlap, initial=0.999)) / 20)
    return np.linspace(low, 1.0, count + 1)


def histogram(ax: Axes, overlap: np.ndarray, bins: np.ndarray) -> None:
    """Counts of overlaps (N,) on a logarithmic axis, with their mean and median marked.

    What lies below the first bin is counted in it, and said in the panel.
    """
    below = int((overlap < bins[0]).sum())
    if below:
        said = f"{below:,} below {bins[0]:.2f}"
        ax.text(0.03, 0.6, said, transform=ax.transAxes, fontsize=7, color=ORANGE)
    ax.hist(np.maximum(overlap, bins[0]), bins=list(bins), color=BLUE, alpha=0.55, lw=0)
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7)
    if len(overlap):
        mean, median = float(np.mean(overlap)), float(np.median(overlap))
        ax.axvline(mean, color=ORANGE, ls="--", label=f"mean {mean:.4f}")
        ax.axvline(median, color="black", ls=":", lw=1.4, label=f"median {median:.4f}")


def spin_map(
    ax: Axes, x: np.ndarray, y: np.ndarray, value: np.ndarray, *, area: float = 1.0, **colour: Any
) -> PathCollection:
    """Points coloured by ``value`` (N,), the largest on top; failures as red crosses."""
    good = np.isfinite(value)
    order = np.flatnonzero(good)[np.argsort(value[good])]
    size = float(np.clip(6000 * area / max(len(x), 1), 1.5, 22))
    dots = ax.scatter(
        x[order], y[order], c=value[order], s=size, cmap="cividis", lw=0, rasterized=True, **colour
    )
    if not good.all():
        ax.scatter(x[~good], y[~good], marker="x", s=24, color="#D00000", lw=1.1)
    return dots


def mismatch_norm() -> LogNorm:
    """Logarithmic colour scale of 1 - O."""
    from matplotlib.colors import LogNorm

    return LogNorm(*MISMATCH_RANGE, clip=True)


def overlap_bar(figure: FigureBase, dots: PathCollection, axes: Any) -> None:
    """Colour bar of mismatches whose ticks are overlaps."""
    levels = (0.7, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999)
    bar = figure.colorbar(dots, ax=axes, label="overlap", aspect=24)
    bar.set_ticks([1 - level for level in levels], labels=[f"{level:g}" for level in levels])
    bar.ax.minorticks_off()
    bar.ax.invert_yaxis()
