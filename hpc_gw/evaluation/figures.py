"""Figures of an evaluation, by what they show, and how they are saved.

Each function takes arrays and returns a ``Figure`` of its own, without pyplot, so nothing
global changes. Matplotlib is imported when a figure is drawn. ``gallery`` lists the figures of
one set of results in the paper's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, GREY, ORANGE
from hpc_gw.evaluation.figures_errors import (
    effective_errors,
    error_maps,
    errors_and_valleys,
    errors_at_edges,
    valley_maps,
)
from hpc_gw.evaluation.figures_manifold import degeneracy, degeneracy_effective, sampling
from hpc_gw.evaluation.figures_overlaps import (
    low_overlaps,
    mismatch_curves,
    overlap_by_q,
    overlap_histogram,
    overlap_maps,
    overlap_slices,
    overlap_trend,
    refined_overlaps,
)
from hpc_gw.evaluation.figures_scaling import speed_up
from hpc_gw.evaluation.figures_waveforms import (
    WaveformPair,
    single_waveform,
    waveform_comparison,
    waveform_gallery,
    waveform_table,
)
from hpc_gw.files import published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "WaveformPair",
    "degeneracy",
    "degeneracy_effective",
    "effective_errors",
    "error_maps",
    "errors_and_valleys",
    "errors_at_edges",
    "low_overlaps",
    "mismatch_curves",
    "overlap_by_q",
    "overlap_histogram",
    "overlap_maps",
    "overlap_slices",
    "overlap_trend",
    "refined_overlaps",
    "sampling",
    "save",
    "single_waveform",
    "speed_up",
    "training_curve",
    "valley_maps",
    "waveform_comparison",
    "waveform_gallery",
    "waveform_table",
]


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
    from matplotlib import rc_context  # noqa: PLC0415  (imported when a figure is drawn)

    paths = [Path(folder) / f"{name}.{kind}" for kind in kinds]
    for path in paths:
        with published(path) as temporary, rc_context(panel.STYLE):
            figure.savefig(temporary, format=path.suffix[1:], dpi=160)
        figure.set_layout_engine("none")  # the layout is found once, and kept
    return paths


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))
