"""Why not to trust an answer, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hpc_gw.evaluation.outside import BOUNDS, LOW_OVERLAP, WATCHED, Calibration, scores


def doubts(
    row: Sequence[float], score: float | None, known: Calibration | None, snr: float = math.inf
) -> tuple[bool | None, tuple[str, ...]]:
    """Whether a waveform is outside of what a network knows, and why not to trust the answer.

    Args:
        row: the answer, five quantities.
        score: overlap of the input with the surrogate's waveform of the answer; None for one of
            another engine's, which says nothing here.
        known: how to tell. Without, all that lies out of the domain is mentioned.
        snr: signal-to-noise ratio of the input's white noise.

    Returns:
        None for the first where it cannot be told: without ``known``, in more noise than that knows
        of, and where noise hides so much that waveforms of the domain have low overlaps as well.
    """
    if known is None:
        return None, _bounds(row) + _low(score)
    if not known.covers(snr):
        least = known.levels[-1].snr
        noisy = f"SNR {snr:.3g}: whether it is outside of the domain is told from SNR {least:g} on"
        return None, (noisy, *_bounds(row), *_low(score))
    answer, level = np.array([row], dtype=np.float64), known.at(snr)
    found = scores(answer, np.zeros(1), np.array(level.units))
    beyond = bool(found.beyond[0] > level.limit[0])
    why = _bounds(row) if beyond else ()
    least = known.least_overlap(answer[0, 0], snr)
    poor = score is not None and not score >= least  # NaN is poor
    if poor:
        why += (
            f"overlap {score:.5f} < {least:.5f}, which {1 - known.rate / 2:.2%} of the waveforms "
            f"in the domain reach: this one is outside, or of another kind",
        )
    if not (beyond or poor or score is None) and not known.tells(answer[:, 0], snr)[0]:
        hidden = f"waveforms in the domain have overlaps down to {least:.3f} at SNR {snr:.3g}"
        return None, (f"{hidden}: whether this one is outside cannot be told", *_low(score))
    return beyond or poor, why + _low(score)


def _bounds(row: Sequence[float]) -> tuple[str, ...]:
    """Which quantities of an answer lie outside of the trained domain, a sentence each."""
    found = zip(WATCHED, row, BOUNDS.tolist(), strict=False)
    return tuple(
        f"{key} = {value:.4f} lies outside of the trained domain [{low:g}, {high:g}]"
        for key, value, (low, high) in found
        if not low <= value <= high
    )


def _low(score: float | None) -> tuple[str, ...]:
    """Whether an overlap is low by any measure."""
    if score is None or score >= LOW_OVERLAP:
        return ()
    return (f"overlap {score:.4f} < {LOW_OVERLAP:g}: the answer does not describe this waveform",)
