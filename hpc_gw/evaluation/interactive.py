"""The interactive scatter of the report: every test point, its overlap and its errors (plotly)."""

# ruff: noqa: RUF001  (σ is meant)

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_gw.evaluation.axes import MISMATCH_RANGE
from hpc_gw.evaluation.results import Overlaps, Predictions
from hpc_gw.evaluation.statistics import failures_as_zero
from hpc_gw.manifold import physics

MAX_POINTS = 5_000
"""More points than this make a browser slow: half of them are then the lowest overlaps."""

_TICKS = (0.0, 0.7, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999, 0.99999)

_HOVER = (
    "overlap <b>%{customdata[9]}</b>   row %{customdata[0]:d}<br>"
    "q = %{customdata[1]:.4f}, s₁ = %{customdata[2]:.4f}, s₂ = %{customdata[3]:.4f}<br>"
    "Δq = %{customdata[4]:.4f}<br>Δs₁ = %{customdata[5]:.4f}, Δs₂ = %{customdata[6]:.4f}<br>"
    "Δσ<sub>eff</sub> = %{customdata[7]:.4f}, ΔS<sub>eff</sub> = %{customdata[8]:.4f}"
    "<extra></extra>"
)

_GRID = "rgba(128,128,128,0.28)"


def shown_points(overlap: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
    """Rows to draw, best overlap first: all, or the lowest half of ``limit`` and a random rest."""
    order = np.argsort(-failures_as_zero(overlap), kind="stable")
    if len(order) <= limit:
        return order
    worst = len(order) - limit // 2
    rest = np.random.default_rng(0).choice(worst, size=limit - limit // 2, replace=False)
    return np.concatenate([order[np.sort(rest)], order[worst:]])


def plotly_library() -> str:
    """plotly.js as text, to be written into the page."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    return str(get_plotlyjs())


def scatter(predictions: Predictions, overlaps: Overlaps) -> str:
    """An HTML fragment, without plotly.js: test points with three views and hover."""
    import plotly.graph_objects as go  # noqa: PLC0415

    rows = shown_points(overlaps.overlap)
    truth, overlap = predictions.truth[rows], overlaps.overlap[rows]
    error = predictions.prediction[rows] - truth
    custom = [
        [int(row), *p.tolist(), *map(_number, d), "failed" if np.isnan(o) else f"{o:.5f}"]
        for row, p, d, o in zip(predictions.row[rows], truth[:, :3], error, overlap, strict=True)
    ]
    q, s1, s2, sigma = truth[:, :4].T
    height = _nines(failures_as_zero(overlap))
    views = {
        "q, overlap": (q, height, "mass ratio q", "overlap"),
        "s₁, s₂": (s1, s2, "s₁", "s₂"),
        "σeff, η": (sigma, physics.eta(q), "σ<sub>eff</sub>", "η"),
    }
    x, y, x_title, y_title = views["q, overlap"]
    figure = go.Figure(
        go.Scatter(
            x=x.tolist(),
            y=y.tolist(),
            mode="markers",
            marker=_marker(height),
            customdata=custom,
            hovertemplate=_HOVER,
        ),
        layout={
            "template": "none",
            "height": 520,
            "margin": {"l": 80, "r": 20, "t": 50, "b": 60},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#808890"},
            "xaxis": {"title": {"text": x_title}, "gridcolor": _GRID, "zeroline": False},
            "yaxis": {
                "title": {"text": y_title},
                "gridcolor": _GRID,
                "zeroline": False,
                **_ticks(y_title),
            },
            "updatemenus": [
                {
                    "type": "buttons",
                    "direction": "right",
                    "buttons": [_button(name, *view) for name, view in views.items()],
                    "x": 0,
                    "xanchor": "left",
                    "y": 1.02,
                    "yanchor": "bottom",
                    "showactive": False,
                    "bgcolor": "rgba(128,128,128,0.12)",
                    "bordercolor": "rgba(128,128,128,0.4)",
                }
            ],
        },
    )
    config = {"displaylogo": False, "responsive": True, "displayModeBar": False}
    return str(
        figure.to_html(full_html=False, include_plotlyjs=False, config=config, div_id="points")
    )


def _nines(overlap: np.ndarray) -> np.ndarray:
    """-log10(1 - O), at most 6: the number of nines, 0 for a failure."""
    return np.asarray(-np.log10(np.clip(1 - overlap, 1e-6, 1.0)))


def _ticks(axis: str) -> dict[str, Any]:
    """Ticks of an axis: overlaps at their number of nines, plotly's own elsewhere."""
    if axis != "overlap":
        return {"tickmode": "auto"}
    values = _nines(np.array(_TICKS)).tolist()
    return {"tickmode": "array", "tickvals": values, "ticktext": [f"{t:g}" for t in _TICKS]}


def _marker(height: np.ndarray) -> dict[str, Any]:
    worst, best = _nines(1 - np.array(MISMATCH_RANGE[::-1])).tolist()
    bar = {"title": {"text": "overlap"}, "thickness": 14, "outlinewidth": 0, **_ticks("overlap")}
    return {
        "size": 6,
        "color": height.tolist(),
        "colorscale": "Cividis",
        "reversescale": True,
        "cmin": worst,
        "cmax": best,
        "line": {"width": 0.6, "color": "rgba(140,140,140,0.7)"},
        "colorbar": bar,
    }


def _button(name: str, x: np.ndarray, y: np.ndarray, x_title: str, y_title: str) -> dict[str, Any]:
    """One view of the points: what its button sets."""
    axes: dict[str, Any] = {"xaxis.title.text": x_title, "yaxis.title.text": y_title}
    axes |= {f"yaxis.{key}": value for key, value in _ticks(y_title).items()}
    axes |= {"xaxis.autorange": True, "yaxis.autorange": True}
    return {
        "label": name,
        "method": "update",
        "args": [{"x": [x.tolist()], "y": [y.tolist()]}, axes],
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
