"""All figures of one set of results: the paper's, in its order, and those that go beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from hpc_gw.evaluation.figures_beyond import further_entries
from hpc_gw.evaluation.figures_paper import Entry, paper_entries
from hpc_gw.evaluation.figures_scaling import Points
from hpc_gw.evaluation.figures_sources import Thinned
from hpc_gw.evaluation.records import Results
from hpc_gw.waveforms.protocol import Engine

__all__ = ["Entry", "gallery"]


def gallery(
    results: Results,
    engine: Engine,
    *,
    maps: Engine | None = None,
    scaling: Mapping[str, Points] | None = None,
    engines: Mapping[str, np.ndarray] | None = None,
    sets: Mapping[str, np.ndarray] | None = None,
) -> Iterator[Entry]:
    """The figures of one set of results, in the paper's order.

    Args:
        results: at least one waveform.
        engine: makes the waveforms that are drawn.
        maps: the same model sampled every 1.6 M, for the 27,000 overlaps of figures 5 and 6;
            without it ``engine`` makes them whole, in twice the time, and samples are dropped.
        scaling: points (GPUs or ranks, speed-up) of each measurement by its name.
        engines: overlaps (N,) of the same network against each waveform engine, by its name.
        sets: points (N, 3) of the training, validation and test sets; without it the paper's
            training and validation grids, and the test points of ``results``.
    """
    coarse = Thinned(engine) if maps is None else maps
    yield from paper_entries(results, engine, coarse, scaling, sets)
    yield from further_entries(results, engine, engines)
