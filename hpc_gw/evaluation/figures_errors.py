"""Figures of errors: over the manifold, towards its edges, and against its degeneracy.

Errors are absolute, |prediction - truth|. A prediction that is not finite is a red cross on a
map, and an error without bound in every quantile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_gw.constants import Q_MAX, Q_MIN, QUANTITIES, SPIN_MAX
from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, GREY, LABELS
from hpc_gw.evaluation.statistics import failures_as_zero, q_slices, slice_label
from hpc_gw.manifold import physics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BANDS = ((0.05, 0.95), (0.25, 0.75))
"""Quantiles between which a band is filled, the wider first."""


@panel.styled
def error_maps(truth: np.ndarray, prediction: np.ndarray, *, panels: int = 4) -> Figure:
    """\\|prediction - truth\\| over (s1, s2) for sample slices of q (paper: figure 8, top).

    Args:
        truth, prediction: (N, 5), columns ``QUANTITIES``; rows that failed are crossed out.
    """
    chosen = panel.spread(q_slices(truth[:, 0]), panels)
    error = np.abs(prediction - truth)
    rows, columns = len(QUANTITIES), len(chosen)
    figure = panel.new_figure(1.75 * columns + 1.6, 1.75 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for i, name in enumerate(QUANTITIES):
        norm = panel.error_norm(error[:, i])
        for j, (low, high, members) in enumerate(chosen):
            ax = axes[i, j]
            spins = truth[members, 1], truth[members, 2]
            dots = panel.spin_map(ax, *spins, error[members, i], norm=norm)
            if i == 0:
                ax.set_title(slice_label(low, high))
            panel.edge_labels(
                ax, i * columns + j, (rows * columns, columns), LABELS["s1"], LABELS["s2"]
            )
        figure.colorbar(dots, ax=axes[i, :], label=_absolute(name), extend="min", aspect=12)
    return figure


@panel.styled
def effective_errors(truth: np.ndarray, prediction: np.ndarray) -> Figure:
    """Errors of eta, sigma_eff and S_eff over the same three (paper: figure 8, bottom).

    Args:
        truth, prediction: (N, 5), columns ``QUANTITIES``; rows that failed are crossed out.
    """
    true, answer = _effective(truth), _effective(prediction)
    figure = panel.new_figure(9.6, 3.2)
    axes = figure.subplots(1, 3, sharey=True)
    planes = (("eta", "sigma_eff"), ("sigma_eff", "sigma_eff"), ("s_eff", "s_eff"))
    for ax, (name, x) in zip(axes, planes, strict=True):
        error = np.abs(answer[name] - true[name])
        dots = panel.cell_map(ax, true[x], true["eta"], error, norm=panel.error_norm(error))
        ax.set_xlabel(LABELS[x])
        figure.colorbar(dots, ax=ax, label=_absolute(name), extend="min", location="top", aspect=24)
    axes[0].set_ylabel(LABELS["eta"])
    return figure


@panel.styled
def errors_at_edges(truth: np.ndarray, prediction: np.ndarray, overlap: np.ndarray) -> Figure:
    """Errors and mismatch against the distance to the domain's boundary, and to q = 1.

    The line is the median, the bands hold 50 % and 90 % of the waveforms.

    Args:
        truth, prediction: (N, 5), columns ``QUANTITIES``.
        overlap: (N,).
    """
    error = _failures_unbounded(np.abs(prediction[:, :3] - truth[:, :3]))
    lines = [*(error[:, k] for k in range(3)), 1 - failures_as_zero(overlap)]
    names = [*(_absolute(name) for name in QUANTITIES[:3]), "1 - overlap"]
    distances = edge_distance(truth), truth[:, 0] - 1
    said = "distance to $q=8$ or $|s|=0.8$\n(share of the range)", "$q-1$"
    figure = panel.new_figure(7.4, 1.55 * len(lines) + 0.4)
    axes = figure.subplots(len(lines), 2, sharex="col", sharey="row", squeeze=False)
    for row, name, value in zip(axes, names, lines, strict=True):
        for ax, distance in zip(row, distances, strict=True):
            _bands(ax, distance, value)
        row[0].set_ylabel(name)
    for ax, text in zip(axes[-1], said, strict=True):
        ax.set_xlabel(text)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


@panel.styled
def valley_maps(
    truth: np.ndarray, prediction: np.ndarray, reach: np.ndarray, *, panels: int = 3
) -> Figure:
    """How far the parameters can move unseen, beside the errors, over the spins by slice of q.

    Args:
        truth, prediction: (N, 5), columns ``QUANTITIES``.
        reach: (N, 3), largest |dq|, |ds1|, |ds2| of each row's valley; rows without one are
            crossed out.
    """
    chosen = panel.spread(q_slices(truth[:, 0]), panels)
    error, columns = np.abs(prediction[:, :3] - truth[:, :3]), len(chosen)
    figure = panel.new_figure(3.1 * columns + 1.3, 5.9)
    axes = figure.subplots(3, 2 * columns, sharex=True, sharey=True, squeeze=False)
    for i, name in enumerate(QUANTITIES[:3]):
        norm = panel.error_norm(np.concatenate([error[:, i], reach[:, i]]))
        for j, (low, high, members) in enumerate(chosen * 2):
            value = (reach if j < columns else error)[members, i]
            ax = axes[i, j]
            dots = panel.spin_map(ax, truth[members, 1], truth[members, 2], value, norm=norm)
            if i == 0:
                what = "reach" if j < columns else "error"
                ax.set_title(f"{what}, {slice_label(low, high)}")
            panel.edge_labels(
                ax, 2 * i * columns + j, (6 * columns, 2 * columns), LABELS["s1"], LABELS["s2"]
            )
        label = f"reach, error of {LABELS[name]}"
        figure.colorbar(dots, ax=axes[i, :], label=label, extend="min", aspect=14)
    return figure


@panel.styled
def errors_and_valleys(error: np.ndarray, reach: np.ndarray) -> Figure:
    """Are large errors those of degenerate waveforms? |error| against the reach of the valley.

    Args:
        error, reach: (N, 3) for (q, s1, s2), both >= 0; rows where either is not finite are
            counted, not drawn.
    """
    figure = panel.new_figure(9.6, 3.3)
    for k, ax in enumerate(figure.subplots(1, 3)):
        name = QUANTITIES[k]
        good = np.isfinite(error[:, k]) & np.isfinite(reach[:, k])
        x, y = (np.maximum(v[good, k], 1e-5) for v in (reach, error))
        across, up = _span(x), _span(y)
        drawn = ax.hexbin(
            x,
            y,
            xscale="log",
            yscale="log",
            gridsize=45,
            bins="log",
            mincnt=1,
            cmap="cividis",
            extent=[*np.log10(across), *np.log10(up)],
        )
        drawn.set_rasterized(True)
        ax.axline((1e-3, 1e-3), (1e-2, 1e-2), color=GREY, lw=0.9, ls="--")
        ax.set_xlim(across)
        ax.set_ylim(up)
        ax.set_xlabel(f"reach of {LABELS[name]} in the valley")
        ax.set_ylabel(_absolute(name))
        inside, large = y <= x, y >= np.quantile(y, 0.99, method="higher") if y.size else y > 0
        ax.set_title(
            f"{_percent(inside)} of errors inside the valley,\n"
            f"{_percent(inside[large])} of the largest 1 %"
            + (f"; {int((~good).sum()):,} not drawn" if not good.all() else ""),
            fontsize=8,
            loc="left",
        )
        if good.any():
            figure.colorbar(drawn, ax=ax, label="waveforms")
    return figure


def edge_distance(truth: np.ndarray) -> np.ndarray:
    """Distance (N,) of (q, s1, s2) to the nearest of q = 8 and |s| = 0.8, as a share of the range.

    The face q = 1, beyond which the bodies change names, is not counted.
    """
    q, s1, s2 = truth[:, :3].T
    spin = (SPIN_MAX - np.maximum(np.abs(s1), np.abs(s2))) / (2 * SPIN_MAX)
    return np.asarray(np.minimum(spin, (Q_MAX - q) / (Q_MAX - Q_MIN)))


def _bands(ax: Axes, distance: np.ndarray, value: np.ndarray, bins: int = 20) -> None:
    """Median and bands of ``value`` in bins of ``distance`` that hold equally many points."""
    edges = np.unique(np.quantile(distance, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, max(len(edges) - 2, 0))
    groups = [np.flatnonzero(place == k) for k in np.unique(place)]
    centre = np.array([np.mean(distance[g]) for g in groups])
    levels = [0.5, *(x for band in BANDS for x in band)]
    found = np.array([np.quantile(value[g], levels, method="inverted_cdf") for g in groups])
    shown = np.maximum(np.where(np.isfinite(found), found, 10.0), 1e-8)
    for k, alpha in enumerate((0.18, 0.32)):
        low, high = shown[:, 1 + 2 * k], shown[:, 2 + 2 * k]
        share = f"{BANDS[k][1] - BANDS[k][0]:.0%}".replace("%", " %")
        ax.fill_between(centre, low, high, color=BLUE, alpha=alpha, lw=0, label=share)
    ax.plot(centre, shown[:, 0], color=BLUE, label="median")
    ax.set_yscale("log")
    ax.grid(alpha=0.25)


def _effective(rows: np.ndarray) -> dict[str, np.ndarray]:
    """eta, sigma_eff and S_eff of rows (N, 5)."""
    return {"eta": physics.eta(rows[:, 0]), "sigma_eff": rows[:, 3], "s_eff": rows[:, 4]}


def _failures_unbounded(error: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(error), error, np.inf)


def _span(value: np.ndarray) -> tuple[float, float]:
    if not value.size:
        return 1e-3, 1.0
    return float(value.min()) / 1.3, float(value.max()) * 1.3


def _percent(hits: np.ndarray | Sequence[Any]) -> str:
    return f"{100 * float(np.mean(hits)):.1f} %" if len(hits) else "none"


def _absolute(name: str) -> str:
    return f"$|$Δ{LABELS[name]}$|$"
