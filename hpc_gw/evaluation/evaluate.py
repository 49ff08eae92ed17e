"""Predictions to overlaps: make both waveforms again, and compare them."""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm

from hpc_gw.errors import ParameterError
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.evaluation.results import Overlaps, Predictions
from hpc_gw.waveforms.protocol import Engine

_PHYSICAL = np.array([[1.0, np.inf], [-1.0, 1.0], [-1.0, 1.0]])
"""Domain of (q, s1, s2) that no engine leaves, whatever its own ``bounds``."""


def compute_overlaps(
    predictions: Predictions,
    engine: Engine,
    *,
    batch: int = 16,
    progress: bool = True,
    part: tuple[int, int] = (0, 1),
) -> Overlaps:
    """Overlap of the waveform at each prediction with the waveform at the truth.

    A finite prediction outside of the engine's domain is moved to the nearest point inside,
    column by column, and marked ``clipped``; see ``domain``. A prediction that is
    not finite gives NaN: a failure.

    Args:
        batch: test waveforms at once; memory is about 4 MB a waveform of 101,300 samples.
        progress: show a bar with rate and time left.
        part: (rank, world): only the rank's contiguous share of the rows.

    Raises:
        ParameterError: ``part`` or ``batch`` is impossible, or a truth is outside the domain.
    """
    rank, world = part
    if not (0 <= rank < world and batch >= 1):
        raise ParameterError(f"part {part}, batch {batch}: need 0 <= rank < world and batch >= 1")
    mine = slice(len(predictions) * rank // world, len(predictions) * (rank + 1) // world)
    row, truth = predictions.row[mine], predictions.truth[mine, :3]
    answer, clipped = clip(predictions.prediction[mine, :3], domain(engine))
    usable = np.isfinite(answer).all(axis=1)
    found = np.full((3, len(row)), np.nan)  # overlap, t_c, phi_c
    dt = float(engine.times[1] - engine.times[0])

    bar = tqdm(total=len(row), desc="overlaps", unit=" waveforms", disable=not progress)
    with bar, torch.no_grad():
        for start in range(0, len(row), batch):
            every = np.arange(start, min(start + batch, len(row)))
            rows = every[usable[every]]
            if rows.size:
                result = overlap(engine.h22(truth[rows]), engine.h22(answer[rows]))
                found[:, rows] = torch.stack(tuple(result)).cpu().numpy()
            bar.update(every.size)
    found[1] *= dt
    return Overlaps(row, found[0], found[1], found[2], clipped, engine=engine.name)


def domain(engine: Engine) -> np.ndarray:
    """Bounds (3, 2) of (q, s1, s2) inside which the engine answers: physical, and its own."""
    own = np.asarray(getattr(engine, "bounds", _PHYSICAL), dtype=np.float64)
    low = np.maximum(own[:, 0], _PHYSICAL[:, 0])
    return np.stack([low, np.minimum(own[:, 1], _PHYSICAL[:, 1])], axis=1)


def clip(parameters: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, 3) moved into ``bounds`` (3, 2), and which of them (N,) were moved.

    NaN and infinities stay as they are, and do not count as moved.
    """
    finite = np.isfinite(parameters)
    inside = np.where(finite, np.clip(parameters, bounds[:, 0], bounds[:, 1]), parameters)
    moved = (finite & (inside != parameters)).any(axis=1)
    return inside, moved & finite.all(axis=1)
