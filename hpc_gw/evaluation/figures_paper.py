"""The paper's figures of one set of results, in its order, with its numbers in the captions.

Figures 3 and 4 are drawings of the network, and no results.
"""

# ruff: noqa: RUF001  (σ, η and a real minus sign are meant)

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from hpc_gw.evaluation import figures, figures_sources
from hpc_gw.evaluation.evaluate import clip, domain
from hpc_gw.evaluation.figures_scaling import Points
from hpc_gw.evaluation.figures_sources import LEVELS, SYSTEMS, waveform_pairs
from hpc_gw.evaluation.records import Results
from hpc_gw.evaluation.statistics import (
    PAPER_COUNTS,
    PAPER_TABLE_1,
    PAPER_TOTAL,
    failures_as_zero,
)
from hpc_gw.evaluation.tables import number, overlap_number, share
from hpc_gw.manifold.populations import GridConfig
from hpc_gw.waveforms.protocol import Engine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLE = (7.9, 0.8, 0.8)
"""(q, s1, s2) of the paper's figure 1."""

SAMPLE_Q = (1.04, 4.08, 7.92)
"""Mass ratios of the paper's figure 11."""


@dataclass(frozen=True)
class Entry:
    """One figure, drawn when it is asked for."""

    name: str
    """File stem."""

    title: str
    caption: str
    draw: Callable[[], Figure] | None
    """``None`` where there is nothing to draw."""

    missing: str = ""
    """What is not shown, and why; empty for a complete figure."""


def paper_entries(
    results: Results,
    engine: Engine,
    maps: Engine,
    scaling: Mapping[str, Points] | None,
    sets: Mapping[str, np.ndarray] | None,
) -> Iterator[Entry]:
    """Figures 1, 2 and 5 to 12; the arguments are those of ``gallery.gallery``."""
    yield from _inputs(results, engine, sets)
    yield from _degeneracy(maps)
    yield _scaling(scaling)
    yield from _errors(results)
    yield from _overlaps(results)
    yield _samples(results, engine)
    yield _tail(results)


def _inputs(
    results: Results, engine: Engine, sets: Mapping[str, np.ndarray] | None
) -> Iterator[Entry]:
    q, s1, s2 = SAMPLE

    def waveform() -> Figure:
        point, _ = clip(np.array([SAMPLE]), domain(engine))
        with torch.no_grad():
            h22 = engine.h22(point)[0].cpu().numpy()
        return figures.single_waveform(engine.times, h22, f"q = {q}, $s_1$ = {s1}, $s_2$ = {s2}")

    yield Entry(
        "figure_01_waveform",
        "Figure 1: a waveform",
        f"h22 at q = {q}, s1 = s2 = {s1}, made by {engine.name}. Paper: the same system from "
        f"NRHybSur3dq8, t from −10,000 M to 130 M, every 0.1 M.",
        waveform,
    )
    whose = "The paper's training and validation grids, and the test points of these results."
    yield Entry(
        "figure_02_sampling",
        "Figure 2: sampling of the manifold",
        (whose if sets is None else "Training, validation and test sets.")
        + " Paper: steps of 0.08 in q and 0.012 in the spins for training (~1.5 million "
        "waveforms), of 0.16 and 0.024 in between for validation and test (~190,000 each).",
        lambda: figures.sampling(paper_sets(results) if sets is None else sets),
    )


def paper_sets(results: Results) -> dict[str, np.ndarray]:
    """The paper's training and validation grids, and the test points of ``results``, (N, 3)."""
    grids = {"training": GridConfig("train"), "validation": GridConfig("validation")}
    points = {name: grid.parameters(np.arange(grid.size)) for name, grid in grids.items()}
    return {**points, "test": results.predictions.truth[:, :3]}


def _degeneracy(maps: Engine) -> Iterator[Entry]:
    said = "; ".join(f"({q:.2f}, {s1:.2f}, {s2:.2f})" for q, s1, s2 in SYSTEMS)
    yield Entry(
        "figure_05_degeneracy",
        "Figure 5: waveforms that look alike, over the spins",
        f"Overlap of the waveforms at (q, s1, s2) = {said} with 34 x 34 waveforms of each of "
        f"three slices of mass ratio. Star: the truth, hollow beside its slice. "
        f"Paper: the same systems; largest degeneracy at q ~ 1, where the bodies can be swapped.",
        lambda: figures.degeneracy([figures_sources.spin_maps(maps, p) for p in SYSTEMS]),
    )
    yield Entry(
        "figure_06_degeneracy_effective",
        "Figure 6: waveforms that look alike, over η and σeff",
        "The same systems against the whole manifold: the best overlap among three ways to share "
        "each effective spin between the bodies (below 0.6 partly interpolated). Star: the truth.",
        lambda: figures.degeneracy_effective(
            [figures_sources.effective_map(maps, p) for p in SYSTEMS]
        ),
    )


def _scaling(scaling: Mapping[str, Points] | None) -> Entry:
    return Entry(
        "figure_07_speed_up",
        "Figure 7: speed-up and efficiency",
        "Paper: one month on 1 V100 (about 30 days), 12.4 h on 64 (HAL), 1.2 h on 1536 with LAMB "
        "(Summit); 80 % efficiency on 6144. Hollow grey points are derived from these numbers.",
        lambda: figures.speed_up(scaling),
        "" if scaling else "No scaling results of our own were given: the paper's points alone.",
    )


def _errors(results: Results) -> Iterator[Entry]:
    p = results.predictions
    paper = ", ".join(
        f"{name} {number(low)} … {number(high)}"
        for name, (low, *_, high) in zip(
            ("Δq", "Δs1", "Δs2", "Δσeff", "ΔSeff"), PAPER_TABLE_1.values(), strict=False
        )
    )
    yield Entry(
        "figure_08_errors",
        "Figure 8: absolute errors over the spins",
        f"|prediction − truth| for sample slices of mass ratio; logarithmic colours up "
        f"to the largest error. Paper, extremes: {paper}.",
        lambda: figures.error_maps(p.truth, p.prediction),
    )
    yield Entry(
        "figure_08_effective_errors",
        "Figure 8: absolute errors over η, σeff and Seff",
        "Every test waveform, the largest error in each place; logarithmic colours.",
        lambda: figures.effective_errors(p.truth, p.prediction),
    )


def _overlaps(results: Results) -> Iterator[Entry]:
    truth, overlap = results.predictions.truth, results.overlaps.overlap
    value = failures_as_zero(overlap)
    median = PAPER_TABLE_1["overlap"][2]
    ours = (
        f"Here mean {overlap_number(float(value.mean()))}, median "
        f"{overlap_number(float(np.median(value)))} over the whole test set; paper: median {median}"
    )
    said = "Paper: mean and median of at least 0.99, below 0.98 only at q ~ 8."
    failed = int(np.isnan(overlap).sum())
    crosses = f" {failed:,} failures are red crosses." if failed else ""
    yield Entry(
        "figure_09_overlap_by_q",
        "Figure 9: overlaps by slice of mass ratio",
        f"Histograms with mean and median (number of waveforms). {ours}. {said}",
        lambda: figures.overlap_by_q(truth[:, 0], overlap),
    )
    yield Entry(
        "figure_09_overlap_trend",
        "Figure 9: overlaps along the mass ratio",
        f"Mean, median and lower quartile in every slice. {said}",
        lambda: figures.overlap_trend(truth[:, 0], overlap),
    )
    yield Entry(
        "figure_10_overlap_maps",
        "Figure 10: overlaps over the manifold",
        "Overlap over the spins by slice of mass ratio, and over effective spin and symmetric "
        f"mass ratio (the lowest in each place). Paper: a gradual decrease towards q = 8.{crosses}",
        lambda: figures.overlap_maps(truth, overlap),
    )
    yield Entry(
        "figure_10_every_slice",
        "Figure 10: overlaps of every test point",
        f"The same over the spins in every slice of the test set.{crosses}",
        lambda: figures.overlap_slices(truth, overlap),
    )


def _samples(results: Results, engine: Engine) -> Entry:
    overlap = results.overlaps.overlap
    slices = figures_sources.slices_near(results.predictions.truth[:, 0], SAMPLE_Q)
    chosen = [
        [int(rows[k]) for k in found]
        for rows in slices
        if (found := figures_sources.sample_rows(overlap[rows])) is not None
    ]

    def draw() -> Figure:
        pairs = [
            waveform_pairs(results.predictions, results.overlaps, engine, column)
            for column in chosen
        ]
        return figures.waveform_table(list(zip(*pairs, strict=True)), LEVELS)

    return Entry(
        "figure_11_waveforms",
        "Figure 11: truth against prediction",
        "Highest, median and 2σ-below-the-mean overlap (rows) near q = 1.04, 4.08 and 7.92 "
        "(columns): the end of Re h22, the prediction moved by its best time and phase. Paper: "
        "even 2σ low the spins are tightly constrained, but for q ~ 1, where they trade places.",
        draw if chosen else None,
        "" if chosen else "Every prediction failed.",
    )


def _tail(results: Results) -> Entry:
    truth, overlap = results.predictions.truth, results.overlaps.overlap
    value = failures_as_zero(overlap)
    counts = ", ".join(
        f"{limit:.2f}: {(n := int((value <= limit).sum())):,} ({share(n, len(value))}; "
        f"paper {paper:,}, {share(paper, PAPER_TOTAL)})"
        for limit, paper in PAPER_COUNTS.items()
    )
    return Entry(
        "figure_12_low_overlaps",
        "Figure 12 (A.12): low overlaps, and the whole test set",
        f"Test points with overlap < 0.85 (grey: up to 0.97), and the histogram of all. "
        f"At or below {counts}. Lowest "
        f"{number(float(value.min()))} (paper {number(PAPER_TABLE_1['overlap'][0])}).",
        functools.partial(figures.low_overlaps, truth, overlap),
    )
