"""Figures of one set of results that the paper does not have."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hpc_gw.evaluation import figures
from hpc_gw.evaluation.figures_paper import Entry
from hpc_gw.evaluation.figures_sources import waveform_pairs
from hpc_gw.evaluation.records import Results
from hpc_gw.evaluation.statistics import failures_as_zero
from hpc_gw.waveforms.protocol import Engine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST = 20
"""Waveforms of lowest overlap that are drawn."""


def further_entries(
    results: Results, engine: Engine, engines: Mapping[str, np.ndarray] | None
) -> Iterator[Entry]:
    """The tail, the edges, other engines, refined answers and valleys; see ``gallery.gallery``."""
    yield _worst(results, engine)
    yield _edges(results)
    yield _engines(engines)
    yield _refined(results)
    yield from _valleys(results)


def _worst(results: Results, engine: Engine) -> Entry:
    overlap = results.overlaps.overlap
    order = np.argsort(failures_as_zero(overlap), kind="stable")
    rows = order[np.isfinite(overlap[order])][:WORST].tolist()

    def draw() -> Figure:
        pairs = waveform_pairs(results.predictions, results.overlaps, engine, rows)
        return figures.waveform_gallery(pairs)

    return Entry(
        "worst_waveforms",
        "The lowest overlaps",
        f"Mergers of the {len(rows)} waveforms of lowest overlap.",
        draw if rows else None,
        "" if rows else "Every prediction failed.",
    )


def _edges(results: Results) -> Entry:
    p = results.predictions
    return Entry(
        "errors_at_edges",
        "Errors towards the edges",
        "Errors and mismatch against the distance to the outer boundary of the domain, and to "
        "q = 1, where the spins trade places: median, 50 % and 90 % of the waveforms. Paper: "
        "without the edges of the manifold most low overlaps are gone.",
        functools.partial(figures.errors_at_edges, p.truth, p.prediction, results.overlaps.overlap),
    )


def _engines(engines: Mapping[str, np.ndarray] | None) -> Entry:
    return Entry(
        "overlaps_by_engine",
        "Overlaps against the waveform engine",
        "The same network judged on the waveforms of each engine (number of waveforms).",
        (lambda: figures.mismatch_curves(engines)) if engines else None,
        "" if engines else "No overlaps with other waveform engines were given.",
    )


def _refined(results: Results) -> Entry:
    refined = results.refined

    def draw() -> Figure:
        assert refined is not None
        return figures.refined_overlaps(
            results.overlaps.overlap, refined.overlap, refined.converged
        )

    return Entry(
        "refined_overlaps",
        "Network alone, and refined",
        "Overlap of the network's answer, and after a fit of the waveform that starts there. The "
        "paper's numbers are those of a network alone.",
        draw if refined is not None else None,
        "" if refined is not None else "The results hold no refined answers.",
    )


def _valleys(results: Results) -> Iterator[Entry]:
    p, valleys = results.predictions, results.valleys
    lacks = "" if valleys is not None else "The results hold no valleys."

    def maps() -> Figure:
        assert valleys is not None
        return figures.valley_maps(p.truth, p.prediction, valleys.reach)

    def against() -> Figure:
        assert valleys is not None
        error = np.abs(p.prediction[:, :3] - p.truth[:, :3])
        return figures.errors_and_valleys(error, valleys.reach)

    yield Entry(
        "valley_maps",
        "Degeneracy and errors over the manifold",
        "How far q, s1 and s2 can move while the overlap stays above 0.999, beside the errors, "
        "in the same colours.",
        maps if valleys is not None else None,
        lacks,
    )
    yield Entry(
        "errors_and_valleys",
        "Are large errors degenerate?",
        "Errors against the reach of each waveform's valley of overlap above 0.999. Below the "
        "dashed line the waveform cannot tell the answer from the truth.",
        against if valleys is not None else None,
        lacks,
    )
