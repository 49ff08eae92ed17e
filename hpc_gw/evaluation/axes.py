"""What the figures share: their style, panels, histograms, maps and colour bars (matplotlib)."""

# ruff: noqa: PLC0415  (matplotlib is imported when a figure is drawn)

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from hpc_gw.evaluation.tables import overlap_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure, FigureBase

BLUE, ORANGE, GREEN, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#8A8F98", "#56B4E9"
"""Okabe & Ito's colours, which colour-blind readers tell apart."""

RED = "#D00000"
"""Failures, and truths on a map."""

MISMATCH_RANGE = (1e-4, 0.3)
"""Ends of the colour scale of overlaps: 0.9999 and 0.7."""

LEVELS = (
    0.0, 0.5, 0.7, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999, 0.99999, 0.999999, 0.9999999,
)  # fmt: skip
"""Overlaps that are ticked where the scale is that of the mismatch."""

DECADES = (0.0, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999)
"""Overlaps that are ticked along an axis."""

LABELS = {
    "q": "$q$",
    "s1": "$s_1$",
    "s2": "$s_2$",
    "eta": r"$\eta$",
    "sigma_eff": r"$\sigma_{\mathrm{eff}}$",
    "s_eff": r"$S_{\mathrm{eff}}$",
}
"""Quantities as they are written on an axis."""

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
    """Equal bins from the lowest overlap to 1.

    It is rounded down to a multiple of 0.05; above 0.95, to one of 0.01, or of 0.001 above 0.99.
    """
    least = float(np.min(overlap, initial=0.9999))
    parts = 20 if least < 0.95 else 100 if least < 0.99 else 1000
    low = float(np.floor(parts * least) / parts)
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
        ax.axvline(mean, color=ORANGE, ls="--", label=f"mean {overlap_number(mean)}")
        ax.axvline(median, color="black", ls=":", lw=1.4, label=f"median {overlap_number(median)}")


def spin_map(
    ax: Axes, x: np.ndarray, y: np.ndarray, value: np.ndarray, *, area: float = 1.0, **colour: Any
) -> Collection:
    """Points (N,) coloured by ``value``; failures, which are not finite, as red crosses.

    Points that fill a regular grid are drawn as its cells, others as dots, the largest value on
    top.
    """
    good = np.isfinite(value)
    style = {"cmap": "cividis", "rasterized": True, **colour}
    drawn: Collection
    if (grid := as_grid(x, y, value)) is not None:
        drawn = ax.pcolormesh(*grid, shading="nearest", **style)
    else:
        order = np.flatnonzero(good)[np.argsort(value[good])]
        size = float(np.clip(6000 * area / max(len(x), 1), 1.5, 22))
        drawn = ax.scatter(x[order], y[order], c=value[order], s=size, lw=0, **style)
    if not good.all():
        ax.scatter(x[~good], y[~good], marker="x", s=24, color=RED, lw=1.1)
    return drawn


def cell_map(
    ax: Axes, x: np.ndarray, y: np.ndarray, value: np.ndarray, *, bins: int = 160, **colour: Any
) -> Collection:
    """Points (N,) as cells of ``x`` for each distinct ``y``, coloured by the largest value inside.

    Where ``y`` is scattered the points are drawn themselves. Failures are red crosses.
    """
    lines, j = np.unique(np.round(y, 9), return_inverse=True)
    if not 3 <= len(lines) <= max(64, len(y) // 1000):
        return spin_map(ax, x, y, value, area=10, **colour)
    good = np.isfinite(value)
    edges = np.linspace(x.min(), x.max(), bins + 1)
    i = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)
    worst = np.full((len(lines), bins), -np.inf)
    np.maximum.at(worst, (j[good], i[good]), value[good])
    middle = (lines[1:] + lines[:-1]) / 2
    ends = 2 * lines[[0, -1]] - middle[[0, -1]]  # half a step outwards
    cells = masked(worst)
    drawn = ax.pcolormesh(
        edges, np.r_[ends[0], middle, ends[1]], cells, cmap="cividis", rasterized=True, **colour
    )
    if not good.all():
        ax.scatter(x[~good], y[~good], marker="x", s=24, color=RED, lw=1.1)
    return drawn


def error_norm(error: np.ndarray) -> LogNorm:
    """Logarithmic colour scale from the 5th percentile of errors to the largest one."""
    from matplotlib.colors import LogNorm

    size = error[np.isfinite(error) & (error > 0)]
    if not size.size:
        return LogNorm(1e-3, 1.0, clip=True)
    high = float(size.max())
    return LogNorm(min(float(np.quantile(size, 0.05)), 0.5 * high), high, clip=True)


def as_grid(
    x: np.ndarray, y: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ma.MaskedArray[Any, Any]] | None:
    """(columns, rows, values) of points (N,) that fill an evenly spaced grid, once each."""
    columns, i = np.unique(np.round(x, 9), return_inverse=True)
    rows, j = np.unique(np.round(y, 9), return_inverse=True)
    if min(len(columns), len(rows)) < 3 or len(columns) * len(rows) != len(x):
        return None
    even = all(np.ptp(np.diff(axis)) < 1e-6 * np.ptp(axis) for axis in (columns, rows))
    cell = j * len(columns) + i
    if not even or len(np.unique(cell)) != len(x):
        return None
    filled = np.full(len(x), np.nan)
    filled[cell] = value
    return columns, rows, masked(filled.reshape(len(rows), len(columns)))


def masked(value: np.ndarray) -> np.ma.MaskedArray[Any, Any]:
    """The same values, those that are not finite left out of a map."""
    array: Any = np.ma.MaskedArray
    made: np.ma.MaskedArray[Any, Any] = array(value, mask=~np.isfinite(value))
    return made


def norm_of(overlap: np.ndarray) -> LogNorm:
    """Colour scale of the mismatches of overlaps (N,): the usual one, or finer decades where the
    median is off its end."""
    low, high = MISMATCH_RANGE
    lost = np.clip(1 - overlap[np.isfinite(overlap)], 1e-7, 1.0)
    if lost.size and np.median(lost) < low:
        low = max(1e-7, float(10 ** np.floor(np.log10(np.median(lost) / 3))))
        high = min(high, max(100 * low, float(10 ** np.ceil(np.log10(lost.max())))))
    return mismatch_norm(low, high)


def mismatch_norm(low: float = MISMATCH_RANGE[0], high: float = MISMATCH_RANGE[1]) -> LogNorm:
    """Logarithmic colour scale of 1 - O."""
    from matplotlib.colors import LogNorm

    return LogNorm(low, high, clip=True)


def overlap_bar(
    figure: FigureBase,
    drawn: Collection,
    axes: Any,
    levels: Sequence[float] = LEVELS,
    **style: Any,
) -> None:
    """Colour bar of mismatches whose ticks are overlaps, the best on top."""
    low, high = drawn.get_clim()
    bar = figure.colorbar(drawn, ax=axes, label="overlap", **{"aspect": 24, **style})
    levels = [o for o in levels if low * 0.999 <= 1 - o <= high * 1.001]
    bar.set_ticks([1 - o for o in levels], labels=[f"{o:g}" for o in levels])
    bar.ax.minorticks_off()
    if style.get("orientation") == "horizontal":
        bar.ax.invert_xaxis()
    else:
        bar.ax.invert_yaxis()


def overlap_ticks(ax: Axes, which: str, low: float, high: float) -> None:
    """Make the x or y axis one of mismatches, logarithmic from ``high`` to ``low``, in overlaps."""
    scale, limit = getattr(ax, f"set_{which}scale"), getattr(ax, f"set_{which}lim")
    scale("log")
    limit(high, low)
    levels = [o for o in DECADES if low * 0.999 <= 1 - o <= high]
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_ticks([1 - o for o in levels], labels=[f"{o:.7g}" for o in levels])
    axis.set_ticks([], minor=True)


def edge_labels(ax: Axes, k: int, shape: tuple[int, int], x: str, y: str) -> None:
    """Label panel ``k`` at the lower and left edges only; shape: (panels, columns)."""
    count, columns = shape
    bottom = k + columns >= count
    ax.tick_params(labelbottom=bottom)
    if bottom:
        ax.set_xlabel(x)
    if k % columns == 0:
        ax.set_ylabel(y)


def star(ax: Axes, x: float, y: float, *, filled: bool = True) -> None:
    """A truth on a map; hollow where it lies beside the map's slice."""
    face = RED if filled else "none"
    edge = "white" if filled else RED
    ax.plot([x], [y], marker="*", ms=11, mfc=face, mec=edge, mew=0.9, ls="none", clip_on=False)


T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of the items, evenly from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]
