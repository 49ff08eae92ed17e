"""What a network's card says: how it was trained, what it is worth, where its answers lie."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from hpc_gw.config import build
from hpc_gw.constants import Q_MIN, QUANTITIES
from hpc_gw.errors import CheckpointError, DataError
from hpc_gw.evaluation.records import Results
from hpc_gw.evaluation.statistics import failures_as_zero
from hpc_gw.manifold.populations import PopulationConfig
from hpc_gw.training.augment import AugmentConfig
from hpc_gw.waveforms.timegrid import TimeGrid

BINS = (1.0, 1.25, 2.0, 4.0, np.inf)
"""Edges of predicted q, between which errors are gathered."""


class Bin(NamedTuple):
    """Errors of the answers whose q lies in [q_low, q_high)."""

    q_low: float
    q_high: float
    errors: dict[str, tuple[float, float]]
    """5 % and 95 % quantiles of answer - truth by name."""


class FilesPart(NamedTuple):
    """What a card says of waveforms from files; nothing without one."""

    peak: float = 0.0
    """Where files' peaks are put [M]."""

    bins: tuple[Bin, ...] = ()

    def intervals(self, values: Mapping[str, float]) -> dict[str, tuple[float, float]]:
        """Where 90 % of the truths lie about such an answer; empty where that is not known."""
        if not all(math.isfinite(value) for value in values.values()):
            return {}
        for part in self.bins:
            if part.q_low <= values["q"] < part.q_high:
                found = {
                    key: (values[key] - high, values[key] - low)
                    for key, (low, high) in part.errors.items()
                }
                found["q"] = (max(Q_MIN, found["q"][0]), max(Q_MIN, found["q"][1]))
                return found
        return {}


def files_part(card: Mapping[str, Any] | None) -> FilesPart:
    """What a card says under ``files``, checked.

    Raises:
        DataError: it says something else.
    """
    if card is None or "files" not in card:
        return FilesPart()
    try:
        said = card["files"]
        found = tuple(
            Bin(
                float(part["q_low"]),
                math.inf if part["q_high"] is None else float(part["q_high"]),
                {key: (float(part["errors"][key][0]), float(part["errors"][key][1]))
                 for key in QUANTITIES},
            )
            for part in said["by_predicted_q"]
        )  # fmt: skip
        return FilesPart(float(said["peak"]), found)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(
            f"the card's 'files' cannot be read ({type(error).__name__}); move the card away, or "
            f"make it anew with python -m hpc_gw.pretrained RUN"
        ) from error


def error_intervals(truth: np.ndarray, answer: np.ndarray) -> list[dict[str, Any]]:
    """5 % and 95 % quantiles of answer - truth, (N, 5) both, for each of ``BINS`` of answered q.

    Binned by the answer, as that is what one knows of a waveform. Rows that are not finite belong
    to no bin.
    """
    q, error = answer[:, 0], answer - truth
    found = []
    for low, high in itertools.pairwise(BINS):
        rows = error[(q >= low) & (q < high) & np.isfinite(error).all(axis=1)]
        if len(rows):
            ends = np.quantile(rows, (0.05, 0.95), axis=0).T.tolist()
            upper = float(high) if np.isfinite(high) else None
            by_name = dict(zip(QUANTITIES, ends, strict=True))
            found.append({"q_low": low, "q_high": upper, "count": len(rows), "errors": by_name})
    return found


def accuracy(results: Results, table: Any) -> dict[str, Any]:
    """Numbers of the card: errors, overlaps, and the report's own Table 1."""
    predictions = results.predictions
    size = np.abs(predictions.prediction - predictions.truth)
    size = np.where(np.isfinite(size), size, np.inf)  # a failure is the worst
    ranks = {"median": 0.5, "p90": 0.9}
    found: dict[str, Any] = {
        "waveforms": len(predictions),
        "failures": int((~np.isfinite(predictions.prediction)).any(axis=1).sum()),
        "abs_error": {
            name: {
                key: _finite(np.quantile(size[:, i], level, method="higher"))
                for key, level in ranks.items()
            }
            for i, name in enumerate(QUANTITIES)
        },
    }
    value = failures_as_zero(results.overlaps.overlap)
    levels = (0.0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 1.0)
    found["overlap_quantiles"] = {f"{p:g}": float(np.quantile(value, p)) for p in levels}
    found["table1"] = table
    return found


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def training_part(content: Mapping[str, Any]) -> dict[str, Any]:
    """How a checkpoint's network was trained: the size of its set, and how many of it it saw."""
    train = content["train"]
    return {
        "set_size": _population(content).size,
        "seen": train["batch"] * content["step"],
        "epochs": train["epochs"],
        "batch": train["batch"],
        "seed": train["seed"],
        "steps": content["step"],
    }


def limits(content: Mapping[str, Any]) -> list[str]:
    """What a checkpoint's network does not know, by what it was trained on, a sentence each."""
    q, *spins = _population(content).box
    grid = build(TimeGrid, content["context"]["time_grid"])
    augment = build(AugmentConfig, content["train"].get("augment") or {})
    same = len(set(spins)) == 1
    said = (
        f"spins in {_range(spins[0])}" if same
        else f"s1 in {_range(spins[0])}, s2 in {_range(spins[1])}"
    )  # fmt: skip
    noise = "without noise"
    if augment.snr and augment.noisy:
        low, high = augment.snr
        noise = f"{augment.noisy:.0%} of them with white noise of SNR {low:g} to {high:g}"
    return [
        f"Trained on q in {_range(q)} and {said}: outside of them an answer means nothing.",
        f"Reads h22 in r h / M from {grid.t_min:g} M to {grid.t_max:+g} M about its peak.",
        "Near q = 1 the bodies are alike: sigma_eff is found, the difference of the spins hardly.",
        f"Knows waveforms of the surrogate that it was trained on, {noise}, one mode: not NR.",
    ]


def _range(ends: tuple[float, ...]) -> str:
    return f"[{ends[0]:g}, {ends[1]:g}]"


def _population(content: Mapping[str, Any]) -> PopulationConfig:
    try:
        found: PopulationConfig = TypeAdapter(PopulationConfig).validate_python(
            content["data"]["train"]["population"]
        )
    except (KeyError, ValidationError) as error:
        raise CheckpointError(
            f"the checkpoint says not what it was trained on ({type(error).__name__}); train again"
        ) from error
    return found
