"""The generator: every rank writes its own shards; nothing is gathered.

Shards are dealt out in turn. A shard is published under its final name with its checksum in a
file of its own beside it, so a rank needs no other rank to make one; at the end rank 0 gathers
the checksums (not the waveforms) in the manifest. A second start makes only what is missing
or damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hpc_gw.config import first_difference, to_dict
from hpc_gw.data.manifest import MANIFEST, DatasetSpec, Manifest, shard_name
from hpc_gw.data.shards import write_shard
from hpc_gw.distributed import World
from hpc_gw.errors import DataError
from hpc_gw.files import make_folder, read_json, sha256, write_json
from hpc_gw.provenance import recipe
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.surrogate import check_rows

BATCH = 32
"""Waveforms asked of the engine at a time: 26 MB on the paper's grid, which glibc can keep."""


def generate(
    folder: Path, spec: DatasetSpec, engine: Engine, world: World, *, progress: bool = True
) -> Manifest:
    """Make a dataset, or what is still missing of it.

    Args:
        folder: the dataset's folder; created if needed.
        spec: what to make.
        engine: makes the waveforms, on ``spec.time_grid``.
        world: the ranks that share the work.
        progress: show a bar on rank 0.

    Returns:
        The complete manifest.

    Raises:
        ParameterError: the set reaches out of the engine's domain.
        DataError: the folder holds another dataset, or the engine gave NaN.
        StorageError: the disk is full, or the folder cannot be written.
    """
    bounds = getattr(engine, "bounds", None)
    if bounds is not None:  # before anything is written
        check_rows(np.array(spec.population.box).T, bounds, engine.name)
    if world.rank == 0:
        _claim(folder, spec)
    world.barrier()
    mine = range(world.rank, spec.shards, world.size)
    manifest = Manifest.read(folder)
    todo = [index for index in mine if not _is_whole(folder, index, manifest)]
    # Rank 0 judges the whole by itself: the others have as many rows, give or take a shard.
    own = sum(spec.shard_rows(index).size for index in todo)
    pending = world.sum(own)
    bar = tqdm(
        total=int(pending),
        unit="waveform",
        unit_scale=True,
        desc=f"generate {spec.name}",
        disable=not progress or world.rank != 0 or not pending,
    )
    scale = pending / own if own else 0.0
    for index in todo:
        _make_shard(folder, spec, engine, index, bar, scale)
    bar.close()
    world.barrier()
    if world.rank == 0:
        _gather(folder, manifest)
    world.barrier()
    return Manifest.read(folder)


def _claim(folder: Path, spec: DatasetSpec) -> None:
    """Begin a dataset in ``folder``, or make sure that the one there is this one."""
    make_folder(folder)
    if (folder / MANIFEST).exists():
        found = to_dict(Manifest.read(folder).spec)
        wanted = to_dict(spec)
        if key := first_difference(found, wanted):
            raise DataError(
                f"{folder}: holds another dataset ({key}: {found[key]}, wanted: {wanted[key]}); "
                f"choose another output folder, or remove this one"
            )
        return
    Manifest(spec, (None,) * spec.shards, recipe(config=to_dict(spec))).write(folder)


def _is_whole(folder: Path, index: int, manifest: Manifest) -> bool:
    """Whether a shard is there with the bytes that its checksum promises."""
    path = folder / shard_name(index)
    promised = _promised(folder, index, manifest)
    return promised is not None and path.exists() and sha256(path) == promised


def _promised(folder: Path, index: int, manifest: Manifest) -> str | None:
    """The checksum that a shard was published with: beside it, or in the manifest."""
    beside = _checksum_path(folder, index)
    if beside.exists():
        return str(read_json(beside)["sha256"])
    return manifest.checksums[index]


def _checksum_path(folder: Path, index: int) -> Path:
    return (folder / shard_name(index)).with_suffix(".json")


def _make_shard(
    folder: Path, spec: DatasetSpec, engine: Engine, index: int, bar: tqdm[Any], scale: float
) -> None:
    path = folder / shard_name(index)
    rows = spec.shard_rows(index)

    def fill(values: np.ndarray) -> None:
        for first in range(0, rows.size, BATCH):
            part = rows[first : first + BATCH]
            values[first : first + part.size] = waveforms(spec, engine, part)
            bar.update(round(part.size * scale))

    for leftover in folder.glob(f".{path.name}.*.tmp"):  # of a rank that was killed
        leftover.unlink(missing_ok=True)
    shape = (rows.size, spec.time_grid.size)
    # The old checksum first: a crash in between leaves a shard without one, which is made anew.
    _checksum_path(folder, index).unlink(missing_ok=True)
    write_shard(path, rows, shape, spec.storage.numpy_dtype, to_dict(spec), fill)
    write_json(_checksum_path(folder, index), {"sha256": sha256(path)})


def waveforms(spec: DatasetSpec, engine: Engine, rows: np.ndarray) -> np.ndarray:
    """The samples of rows (B,) as a dataset keeps them, shape (B, T).

    Raises:
        DataError: the engine gave a value that is not finite.
    """
    parameters = spec.population.parameters(rows)
    if spec.storage.dtype == "float64" and hasattr(engine, "h22_double"):
        h22 = engine.h22_double(parameters)
    else:
        h22 = engine.h22(parameters)
    values = (h22.real if spec.storage.values == "real" else h22).cpu().numpy()
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        bad: Sequence[float] = parameters[~finite][0]
        raise DataError(
            f"row {rows[~finite][0]}: {engine.name} gave a value that is not finite at "
            f"(q, s1, s2) = ({bad[0]:g}, {bad[1]:g}, {bad[2]:g}); nothing was published"
        )
    return np.asarray(values)


def _gather(folder: Path, manifest: Manifest) -> None:
    """Complete the manifest with the checksums that stand beside the shards."""
    shards = range(manifest.spec.shards)
    checksums = tuple(_promised(folder, index, manifest) for index in shards)
    Manifest(manifest.spec, checksums, manifest.recipe).write(folder)
    for index in shards:
        _checksum_path(folder, index).unlink(missing_ok=True)
