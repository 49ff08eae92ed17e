"""The figure of ``hpc-gw compare``: quartiles of overlaps by engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hpc_gw.evaluation import axes as panel
from hpc_gw.evaluation.axes import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES = (
    (GREEN, r"surrogate: $O(h_E(\theta),\, h_{\rm sur}(\theta))$"),
    (BLUE, r"parameters: $O(h_{\rm sur}(\theta),\, h_{\rm sur}(\theta'))$"),
    (ORANGE, r"answer: $O(h_E(\theta),\, h_{\rm sur}(\theta'))$"),
)

FLOOR = 1e-7
"""Smallest mismatch that is drawn: below is the rounding of complex64."""


@panel.styled
def overlaps_by_engine(overlaps: Mapping[str, np.ndarray]) -> Figure:
    """Median (line), quartiles (box), 5 % and 95 % (whiskers) of 1 - O for each engine.

    Args:
        overlaps: by the engine's name, float64 (N, 3), columns as in ``SERIES``; 0 for failures.
    """
    figure = panel.new_figure(6.4, 1.0 + 0.75 * len(overlaps))
    ax = figure.subplots()
    height = 0.2
    for k, (colour, label) in enumerate(SERIES):
        ends = [
            np.quantile(np.maximum(1 - found[:, k], FLOOR), (0.05, 0.25, 0.5, 0.75, 0.95))
            for found in overlaps.values()
        ]
        low, first, median, third, high = np.array(ends).T
        y = np.arange(len(ends)) + 1.2 * height * (k - 1)
        ax.hlines(y, low, high, color=colour, lw=1.2)
        ax.barh(y, third - first, height, left=first, color=colour, alpha=0.55, label=label)
        ax.vlines(median, y - height / 2, y + height / 2, color="black", lw=1.4)
    ax.set_xscale("log")
    ax.set_xlim(left=0.7 * FLOOR)
    ax.set_yticks(range(len(overlaps)), list(overlaps))
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.25)
    ax.set_xlabel("1 $-$ overlap: median, quartiles, 5 % and 95 %")
    figure.legend(loc="outside upper left")
    return figure
