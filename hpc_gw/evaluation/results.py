"""The files of an evaluation: predictions.h5 and results.h5.

======================  ============================================================
predictions.h5          the columns of ``records.Predictions``
results.h5              groups ``predictions``, ``overlaps``, and, where they were asked
                        for, ``refined`` and ``valleys``, each with the columns of the
                        record of that name
======================  ============================================================

Root attributes of both: ``kind``, ``schema_version``, ``recipe`` (JSON). results.h5 adds
``engine`` (its name). Every dataset carries an HDF5 checksum, so a flipped byte is refused.
This is the only file of the room that knows h5py.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from hpc_gw.errors import DataError
from hpc_gw.evaluation import records
from hpc_gw.evaluation.records import Overlaps, Predictions, Refined, Results, Schema, Valleys
from hpc_gw.files import published

VERSIONS = {"predictions": 1, "results": 2, "block": 1}

Path = str | os.PathLike[str]

_GROUPS: dict[str, tuple[type[Any], Schema]] = {
    "predictions": (Predictions, records.PREDICTIONS),
    "overlaps": (Overlaps, records.OVERLAPS),
    "refined": (Refined, records.REFINED),
    "valleys": (Valleys, records.VALLEYS),
}


def write_predictions(path: Path, p: Predictions, recipe: Mapping[str, Any]) -> None:
    """Publish predictions.h5 atomically."""
    columns = {name: getattr(p, name) for name in records.PREDICTIONS}
    _write(path, "predictions", columns, {"recipe": json.dumps(recipe)})


def read_predictions(path: Path) -> Predictions:
    """Read predictions.h5; ``DataError`` where it is missing, damaged or something else."""
    columns, attributes = _read(path, "predictions")
    made_by = _recipe(path, attributes)
    found: Predictions = _record(path, Predictions, columns, records.PREDICTIONS, recipe=made_by)
    return found


def write_results(path: Path, r: Results, recipe: Mapping[str, Any]) -> None:
    """Publish results.h5 atomically."""
    columns: dict[str, np.ndarray] = {}
    for group in _GROUPS:
        if (part := getattr(r, group)) is not None:
            columns |= columns_of(group, part)
    _write(path, "results", columns, {"recipe": json.dumps(recipe), "engine": r.engine})


def read_results(path: Path) -> Results:
    """Read results.h5; ``DataError`` where it is missing, damaged or something else."""
    columns, attributes = _read(path, "results")
    parts: dict[str, Any] = {}
    for group, (kind, schema) in _GROUPS.items():
        mine = part_of(group, columns)
        if mine or group in ("predictions", "overlaps"):
            parts[group] = _record(path, kind, mine, schema)
    recipe = _recipe(path, attributes)
    return Results(**parts, engine=str(attributes.get("engine", "")), recipe=recipe)


def columns_of(group: str, record: Any) -> dict[str, np.ndarray]:
    """The columns of a record, named ``group/column`` as in results.h5."""
    return {f"{group}/{name}": getattr(record, name) for name in _GROUPS[group][1]}


def part_of(group: str, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns of one group, without its name."""
    return {
        name.removeprefix(f"{group}/"): column
        for name, column in columns.items()
        if name.startswith(f"{group}/")
    }


def write_block(path: Path, columns: Mapping[str, np.ndarray], key: str) -> None:
    """Publish one block of rows of an evaluation that goes on; ``key``: what it belongs to."""
    _write(path, "block", columns, {"key": key})


def read_block(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """The columns of a block, ``None`` where there is no whole one of that key."""
    try:
        columns, attributes = _read(path, "block")
    except DataError:
        return None
    return columns if attributes.get("key") == key else None


def _record(
    path: Path, kind: Any, columns: dict[str, np.ndarray], schema: Schema, **more: Any
) -> Any:
    if missing := [name for name in schema if name not in columns]:
        raise DataError(f"{path}: lacks {', '.join(missing)}; make it again")
    return kind(**{name: columns[name] for name in schema}, **more)


def _write(
    path: Path, kind: str, columns: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
) -> None:
    image = io.BytesIO()  # built in memory, so that a full disk is one plain OSError
    with h5py.File(image, "w") as file:
        file.attrs["kind"] = kind
        file.attrs["schema_version"] = VERSIONS[kind]
        file.attrs.update(attributes)
        for name, column in columns.items():
            file.create_dataset(name, data=column, chunks=True, fletcher32=True)
    with published(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def _read(path: Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    columns: dict[str, np.ndarray] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            columns[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            attributes = dict(file.attrs)
            found = str(attributes.get("kind", "something else"))
            version = str(attributes.get("schema_version"))
            if found != kind:
                raise DataError(f"{path}: holds {found}, not {kind}")
            if version != str(VERSIONS[kind]):
                raise DataError(
                    f"{path}: schema version {version}, and this hpc_gw reads {VERSIONS[kind]}: "
                    f"make the file again with this version"
                )
            file.visititems(take)
            return columns, attributes
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; make the {kind} first") from error
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(f"{path}: damaged, or no {kind} file ({error}); make it again") from error


def _recipe(path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        recipe = json.loads(attributes["recipe"])
        parts = recipe.get("config"), recipe.get("inputs")
        if any(part is not None and not isinstance(part, dict) for part in parts):
            raise ValueError("config and inputs must be objects")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: its recipe is missing or damaged; make it again") from error
    return dict(recipe)
