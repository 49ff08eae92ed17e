"""Waveforms of rows as a set keeps them, and the rows that have none.

A row fails where the engine raises or gives a value that is not finite. It is quarantined: NaN
stands in its place, and the shard's record says its parameters and the reason.
"""

from __future__ import annotations

import numpy as np
import torch

from hpc_gw.data.encoding import encode, evaluate
from hpc_gw.data.manifest import DatasetSpec, Quarantined
from hpc_gw.errors import DataError
from hpc_gw.waveforms.protocol import Engine

BATCH = 32
"""Waveforms asked of the engine at a time: 13 MB on the paper's grid, which glibc can keep."""


def stored_waveforms(
    spec: DatasetSpec, engine: Engine, rows: np.ndarray
) -> tuple[np.ndarray, list[Quarantined]]:
    """What is stored of rows (B,), shape (B, ...), and those of them that failed."""
    parameters = spec.population.parameters(rows)
    try:
        values = evaluate(spec, engine, parameters).cpu().numpy()
        reasons: dict[int, str] = {}
    except (MemoryError, OSError):
        raise
    except Exception:  # an engine may fail in its own ways: find the rows that make it
        values, reasons = _one_by_one(spec, engine, parameters)
    stored = encode(values, spec.storage)
    for i in np.flatnonzero(~np.isfinite(stored).reshape(rows.size, -1).all(axis=1)):
        reasons.setdefault(int(i), _not_finite(values[i], spec))
        stored[i] = np.nan
    failed = []
    for i, reason in sorted(reasons.items()):
        q, s1, s2 = parameters[i].tolist()
        failed.append(Quarantined(row=int(rows[i]), parameters=(q, s1, s2), reason=reason))
    return stored, failed


def waveforms(spec: DatasetSpec, engine: Engine, rows: np.ndarray) -> np.ndarray:
    """What is stored of rows (B,), shape (B, ...), where every row is needed.

    Raises:
        DataError: a row failed.
    """
    stored, failed = stored_waveforms(spec, engine, rows)
    if failed:
        raise DataError(f"{describe(failed[0], engine.name)}; leave this point out of the set")
    return stored


def describe(failed: Quarantined, engine: str) -> str:
    """A failed row in words."""
    q, s1, s2 = failed.parameters
    return (
        f"row {failed.row}: {engine} failed at (q, s1, s2) = ({q:g}, {s1:g}, {s2:g}): "
        f"{failed.reason}"
    )


def _one_by_one(
    spec: DatasetSpec, engine: Engine, parameters: np.ndarray
) -> tuple[np.ndarray, dict[int, str]]:
    kind = np.complex64 if spec.storage.values == "complex" else np.float32
    if spec.storage.dtype == "float64":
        kind = np.complex128 if spec.storage.values == "complex" else np.float64
    values = np.full((len(parameters), spec.samples), np.nan, dtype=kind)
    reasons = {}
    for i in range(len(parameters)):
        try:
            values[i] = evaluate(spec, engine, parameters[i : i + 1])[0].cpu().numpy()
        except (MemoryError, OSError, torch.cuda.OutOfMemoryError):  # the machine's, not the row's
            raise
        except Exception as error:
            reasons[i] = " ".join(f"{type(error).__name__}: {error}".split())
    return values, reasons


def _not_finite(values: np.ndarray, spec: DatasetSpec) -> str:
    bad = np.flatnonzero(~np.isfinite(values))
    if not bad.size:
        return f"a value is too large for float16 with the scale {spec.storage.scale:g}"
    return f"not finite from t = {spec.times()[bad[0]]:g} M on, {bad.size} of {values.size} samples"
