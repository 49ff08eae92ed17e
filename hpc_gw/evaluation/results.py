"""The files between the steps of an evaluation: predictions.h5 and overlaps.h5.

=================  ============  ==========================================================
predictions.h5     ``row``         int64 (N,), row id of the test grid
                   ``truth``       float64 (N, 5), columns ``constants.QUANTITIES``
                   ``prediction``  float64 (N, 5), the same columns; not finite = failure
overlaps.h5        ``row``         int64 (N,), equal to that of the predictions
                   ``overlap``     float64 (N,), NaN = failure
                   ``t_c``         float64 (N,), time shift of the prediction in M
                   ``phi_c``       float64 (N,), phase shift of the prediction in rad
                   ``clipped``     bool (N,), prediction moved into the engine's domain
=================  ============  ==========================================================

Root attributes of both: ``kind``, ``schema_version``, ``recipe`` (JSON). overlaps.h5 adds
``engine`` (its name) and ``predictions_sha256``. Every dataset carries an HDF5 checksum, so
a flipped byte is refused. This is the only file of the room that knows h5py.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from hpc_gw.constants import QUANTITIES
from hpc_gw.errors import DataError
from hpc_gw.files import published

SCHEMA_VERSION = 1

Path = str | os.PathLike[str]

_PREDICTIONS = {
    "row": (np.int64, ()),
    "truth": (np.float64, (len(QUANTITIES),)),
    "prediction": (np.float64, (len(QUANTITIES),)),
}
_OVERLAPS = {
    "row": (np.int64, ()),
    "overlap": (np.float64, ()),
    "t_c": (np.float64, ()),
    "phi_c": (np.float64, ()),
    "clipped": (np.bool_, ()),
}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said about N test waveforms."""

    row: np.ndarray
    """Row ids, int64 (N,)."""

    truth: np.ndarray
    """True (q, s1, s2, sigma_eff, s_eff), float64 (N, 5)."""

    prediction: np.ndarray
    """Predicted (q, s1, s2, sigma_eff, s_eff), float64 (N, 5)."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How they were made; filled by ``read_predictions``."""

    def __post_init__(self) -> None:
        _check(self, _PREDICTIONS)

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Overlaps of the waveforms at truth and prediction, row by row."""

    row: np.ndarray
    """Row ids, int64 (N,)."""

    overlap: np.ndarray
    """O in [0, 1], float64 (N,); NaN where the prediction or its waveform is not finite."""

    t_c: np.ndarray
    """Time in M by which the predicted waveform comes later than the truth, float64 (N,)."""

    phi_c: np.ndarray
    """h_truth(t) ~ h_prediction(t + t_c) exp(-i phi_c), rad, float64 (N,)."""

    clipped: np.ndarray
    """Predictions that were moved into the engine's domain first, bool (N,)."""

    engine: str = ""
    """Name of the engine that made both waveforms."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How they were made; filled by ``read_overlaps``."""

    predictions_sha256: str = ""
    """Checksum of the predictions file; filled by ``read_overlaps``."""

    def __post_init__(self) -> None:
        _check(self, _OVERLAPS)

    def __len__(self) -> int:
        return len(self.row)


def join_overlaps(parts: Sequence[Overlaps]) -> Overlaps:
    """The overlaps of several ranks as one, in the order given."""
    if not parts:
        raise DataError("no overlaps to join: pass the part of at least one rank")
    if len(engines := {part.engine for part in parts}) > 1:
        raise DataError(f"overlaps of different engines {sorted(engines)}: use one for all ranks")
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _OVERLAPS}
    return Overlaps(**columns, engine=parts[0].engine)


def check_same_rows(predictions: Predictions, overlaps: Overlaps) -> None:
    """``DataError`` unless the two hold the same test rows in the same order."""
    if not np.array_equal(predictions.row, overlaps.row):
        raise DataError(
            f"overlaps of {len(overlaps)} rows do not belong to these predictions of "
            f"{len(predictions)} rows: compute the overlaps again"
        )


def write_predictions(path: Path, p: Predictions, recipe: Mapping[str, Any]) -> None:
    """Publish predictions.h5 atomically."""
    _write(path, "predictions", p, _PREDICTIONS, {"recipe": json.dumps(recipe)})


def read_predictions(path: Path) -> Predictions:
    """Read predictions.h5; ``DataError`` where it is missing, damaged or something else."""
    columns, attributes = _read(path, "predictions", _PREDICTIONS)
    return Predictions(**columns, recipe=_recipe(path, attributes))


def write_overlaps(
    path: Path, o: Overlaps, recipe: Mapping[str, Any], predictions_sha256: str
) -> None:
    """Publish overlaps.h5 atomically; the checksum is that of the predictions' file."""
    attributes = {
        "recipe": json.dumps(recipe),
        "engine": o.engine,
        "predictions_sha256": predictions_sha256,
    }
    _write(path, "overlaps", o, _OVERLAPS, attributes)


def read_overlaps(path: Path) -> Overlaps:
    """Read overlaps.h5; ``DataError`` where it is missing, damaged or something else."""
    columns, attributes = _read(path, "overlaps", _OVERLAPS)
    return Overlaps(
        **columns,
        engine=str(attributes.get("engine", "")),
        recipe=_recipe(path, attributes),
        predictions_sha256=str(attributes.get("predictions_sha256", "")),
    )


_Schema = Mapping[str, tuple[Any, tuple[int, ...]]]


def _check(result: Predictions | Overlaps, schema: _Schema) -> None:
    """Bring every column to its dtype, and refuse columns of another shape."""
    n = np.size(result.row)
    for name, (dtype, tail) in schema.items():
        column = np.asarray(getattr(result, name)).astype(dtype, copy=False)
        if column.shape != (n, *tail):
            raise DataError(
                f"{type(result).__name__}.{name} has shape {column.shape}: "
                f"need {(n, *tail)}, as there are {n} rows"
            )
        object.__setattr__(result, name, column)


def _write(
    path: Path,
    kind: str,
    result: Predictions | Overlaps,
    schema: _Schema,
    attributes: Mapping[str, Any],
) -> None:
    image = io.BytesIO()  # built in memory, so that a full disk is one plain OSError
    with h5py.File(image, "w") as file:
        file.attrs["kind"] = kind
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs.update(attributes)
        for name in schema:
            file.create_dataset(name, data=getattr(result, name), chunks=True, fletcher32=True)
    with published(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def _read(path: Path, kind: str, schema: _Schema) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        with h5py.File(path, "r") as file:
            attributes = dict(file.attrs)
            found, version = attributes.get("kind"), attributes.get("schema_version")
            if found != kind:
                raise DataError(f"{path}: holds {found or 'something else'}, not {kind}")
            if version != SCHEMA_VERSION:
                raise DataError(
                    f"{path}: schema version {version}, and this hpc_gw reads {SCHEMA_VERSION}: "
                    f"make the file again with this version"
                )
            return {name: file[name][()] for name in schema}, attributes
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; make the {kind} first") from error
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(f"{path}: damaged, or no {kind} file ({error}); make it again") from error


def _recipe(path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        recipe = json.loads(attributes["recipe"])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: its recipe is missing or damaged; make it again") from error
    return dict(recipe)
