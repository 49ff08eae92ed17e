"""From h22 to the numbers that a shard keeps, and back; and what that costs.

float32 and float64 keep h22, or its real part, as they are. float16 keeps h22 / scale, rounded to
eleven significant bits; complex values are pairs (Re, Im) then.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from hpc_gw.data.manifest import DatasetSpec, Precision, StorageConfig
from hpc_gw.waveforms.protocol import Engine

PROBES = 64
"""Rows on which the cost of the stored precision is measured."""

_TOGETHER = 16  # of them at a time


def encode(values: np.ndarray, storage: StorageConfig) -> np.ndarray:
    """What is stored of Re h22 or h22 (B, T); float16 overflows to infinity."""
    if storage.dtype != "float16":
        return np.ascontiguousarray(values, dtype=storage.numpy_dtype)
    with np.errstate(over="ignore"):
        scaled = (values / np.float32(storage.scale)).astype(_single(values.dtype))
        return pairs(scaled).astype(np.float16)


def decode(stored: np.ndarray, storage: StorageConfig) -> np.ndarray:
    """Re h22, float32 (B, T), or h22, complex64 (B, T), of what is stored."""
    if storage.dtype == "float16":
        wide = stored.astype(np.float32) * np.float32(storage.scale)
        return np.asarray(wide.view(np.complex64)[..., 0] if storage.values == "complex" else wide)
    wanted = np.complex64 if storage.values == "complex" else np.float32
    return stored if stored.dtype == wanted else stored.astype(wanted)


def pairs(values: np.ndarray) -> np.ndarray:
    """Complex values (B, T) as reals (B, T, 2); real values as they are."""
    if not np.iscomplexobj(values):
        return values
    return np.ascontiguousarray(values).view(values.real.dtype).reshape(*values.shape, 2)


def _single(dtype: np.dtype[Any]) -> type[np.generic]:
    return np.complex64 if dtype.kind == "c" else np.float32


def evaluate(spec: DatasetSpec, engine: Engine, parameters: np.ndarray) -> Tensor:
    """Re h22 or h22 of parameters (B, 3) as the engine gives it for this set, shape (B, T)."""
    real, double = spec.storage.values == "real", spec.storage.dtype == "float64"
    offers = {
        "h22_real_double": real and double,
        "h22_double": double,
        "h22_real": real and not double,
        "h22": True,
    }
    name = next(name for name, fits in offers.items() if fits and hasattr(engine, name))
    h22: Tensor = getattr(engine, name)(parameters)
    return h22.real if real and h22.is_complex() else h22


def measure_precision(spec: DatasetSpec, engine: Engine, rows: np.ndarray) -> Precision:
    """The mismatch 1 - <h, k> / (|h| |k|) of what is stored, k, with the engine's finest, h.

    In double precision, on ``PROBES`` of ``rows``, spread evenly, with flat noise in time
    (trapezoid rule on the set's own times); neither phase nor time is maximised over.
    """
    picked = np.unique(np.linspace(0, rows.size - 1, min(PROBES, rows.size)).astype(np.int64))
    weights = np.gradient(spec.times())
    weights[[0, -1]] /= 2  # half an interval at either end
    finest = getattr(engine, "h22_double", engine.h22)
    costs = [0.0]
    for first in range(0, picked.size, _TOGETHER):
        points = spec.population.parameters(rows[picked[first : first + _TOGETHER]])
        h22 = finest(points).cpu().numpy()
        h = h22.real if spec.storage.values == "real" else h22
        kept = encode(evaluate(spec, engine, points).cpu().numpy(), spec.storage)
        k = kept if kept.dtype == h.dtype else decode(kept, spec.storage)
        costs += [_mismatch(one, other, weights) for one, other in zip(h, k, strict=True)]
    return Precision(len(costs) - 1, float(np.median(costs[1:] or costs)), max(costs))


def _mismatch(h: np.ndarray, k: np.ndarray, weights: np.ndarray) -> float:
    """1 - Re <h, k> / (|h| |k|), by the normed difference: no digits cancel."""
    h, k = (
        x / np.sqrt((weights * np.abs(x) ** 2).sum())
        for x in (h.astype(complex), k.astype(complex))
    )
    return float(0.5 * (weights * np.abs(h - k) ** 2).sum())
