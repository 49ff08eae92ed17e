"""Datasets as one HDF5 file in the published layout, there and back.

=============  ===================  ===========================================================
``data``       (N, samples) real    Re h22 (or Im h22) of N waveforms
``labels``     (N, 3) float64       q, s1, s2
``rows``       (N,) int64           ours only: row ids in the set
``times``      (samples,) float64   ours only: in M
attributes     JSON, text           ours only: ``spec``, ``recipe``, ``part`` (real or imag)
=============  ===================  ===========================================================

Rows that have no waveform are not in the file. A file of somebody else needs only the first two:
its labels must then fill a regular grid, in any order. The file that knows h5py's view of it.

Memory: labels and row ids, and 64 MiB of waveforms.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from tqdm import tqdm

from hpc_gw.config import to_dict
from hpc_gw.data.deduce import IMPORTED, Content, ImportOptions, spec_and_rows
from hpc_gw.data.encoding import decode, encode
from hpc_gw.data.generate import gather, is_made, making, publish_shard
from hpc_gw.data.manifest import MANIFEST, DatasetSpec, Manifest, Quarantined
from hpc_gw.data.reader import ShardReader
from hpc_gw.data.shards import _Disk, checksum
from hpc_gw.data.verify import require_whole
from hpc_gw.distributed import SerialWorld
from hpc_gw.errors import DataError
from hpc_gw.files import published, sha256
from hpc_gw.provenance import recipe

Part = Literal["real", "imag"]

_PORTION = 1 << 26  # bytes of waveforms in memory


def export_dataset(
    folder: Path, file: Path, *, part: Part = "real", progress: bool = True
) -> tuple[int, int]:
    """Write a dataset as one file, its rows in order; each shard is checked when it is read.

    Args:
        folder: the dataset, complete.
        file: written over where it exists.
        part: of complex waveforms; a real set has only its real part.
        progress: show a bar.

    Returns:
        Rows in the file, and rows left out as they have no waveform.

    Raises:
        DataError: the dataset is not whole, or has no imaginary part.
        StorageError: the disk is full, or the folder cannot be written.
    """
    manifest = Manifest.read(folder)
    spec = manifest.spec
    if part == "imag" and spec.storage.values == "real":
        raise DataError(f"{folder}: keeps Re h22 alone; export --part real")
    left_out = [row.row for row in manifest.quarantine]
    rows = np.setdiff1d(np.arange(spec.population.size), left_out)
    if not rows.size:
        raise DataError(f"{folder}: no row has a waveform; nothing to export")
    dtype = np.dtype(np.float64 if spec.storage.dtype == "float64" else np.float32)
    inputs = {MANIFEST: sha256(folder / MANIFEST), "engine": spec.engine_checksum}
    with published(file) as temporary:
        with _Disk(temporary) as disk, h5py.File(disk, "w") as out:
            out["labels"] = spec.population.parameters(rows)
            out["rows"] = rows
            out["times"] = spec.times()
            out.attrs["part"] = part
            out.attrs["spec"] = json.dumps(to_dict(spec))
            out.attrs["recipe"] = json.dumps(recipe(config=to_dict(spec), inputs=inputs))
            offset = _place(out, (rows.size, spec.samples), dtype)
        # Past HDF5, at the disk's rate; all the space now: a full disk is known at once.
        with temporary.open("r+b", buffering=0) as stream:
            os.posix_fallocate(stream.fileno(), offset, rows.size * spec.samples * dtype.itemsize)
            stream.seek(offset)
            for values in _waveforms(folder, manifest, rows, part, progress):
                view = np.ascontiguousarray(values, dtype).reshape(-1).view(np.uint8).data
                while view:
                    view = view[stream.write(view) :]
    return int(rows.size), len(left_out)


def _place(out: h5py.File, shape: tuple[int, int], dtype: np.dtype[Any]) -> int:
    """Reserve the dataset ``data`` in a file; returns where its bytes begin."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(dtype, logical=True)
    return int(h5py.h5d.create(out.id, b"data", kind, space, properties).get_offset())


def _waveforms(
    folder: Path, manifest: Manifest, rows: np.ndarray, part: Part, progress: bool
) -> Iterator[np.ndarray]:
    """Re or Im h22 of rows (N,), ascending, in portions (b, samples)."""
    spec = manifest.spec
    reader = ShardReader(folder, spec, spec.samples)
    portion = max(1, _PORTION // spec.row_bytes)
    with tqdm(
        total=rows.size, desc=f"export {spec.name}", unit="waveform", disable=not progress
    ) as bar:
        for shard in range(spec.shards):
            require_whole(folder, manifest, part=(shard, spec.shards), progress=False)
            ends = np.array([shard, shard + 1]) * spec.rows_per_shard
            first, end = np.searchsorted(rows, ends).tolist()
            for start in range(first, end, portion):
                batch = rows[start : min(start + portion, end)]
                stored = reader.read(batch)
                # float64 stays as it is: decode is for the network, in single precision.
                half = spec.storage.dtype == "float16"
                values = decode(stored, spec.storage) if half else stored
                yield values.imag if part == "imag" else values.real
                bar.update(batch.size)
    reader.close()


_AS_IT_IS = ImportOptions()


def import_dataset(
    file: Path, folder: Path, options: ImportOptions = _AS_IT_IS, *, progress: bool = True
) -> Manifest:
    """Make a dataset of a file's waveforms, or what is still missing of it.

    A row whose waveform is not finite, or not in the file, is quarantined.

    Args:
        file: ``data`` and ``labels``, and what ``export_dataset`` adds to them.
        folder: the dataset's; created if needed.
        options: what the file does not say.
        progress: show a bar.

    Returns:
        The complete manifest.

    Raises:
        DataError: the file is of another layout, its labels are not those of its ``spec`` or fill
            no regular grid, its times are not those of the time grid, or the folder holds
            another dataset.
        StorageError: the disk is full, or the folder cannot be written.
    """
    with _opened(file) as source:
        digest = IMPORTED + _digest(file, progress)
        spec, rows = spec_and_rows(_content(source, file), folder, options, digest)
        places = np.full(spec.population.size, -1)
        places[rows] = np.arange(rows.size)
        inputs = {file.name: digest}
        with making(folder, spec, SerialWorld(), inputs) as manifest:
            for index in tqdm(
                range(spec.shards),
                desc=f"import {spec.name}",
                unit="shard",
                disable=not progress,
            ):
                if not is_made(folder, index, manifest):
                    failed: list[Quarantined] = []
                    parts = _stored(source["data"], file, spec, index, places, failed)
                    publish_shard(folder, spec, index, parts, failed)
            gather(folder, manifest, None)
            return Manifest.read(folder)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[h5py.File]:
    try:
        source = h5py.File(file, "r")
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file") from error
    except OSError as error:
        raise DataError(f"{file}: not readable as HDF5 ({error})") from error
    with source:
        yield source


def _content(source: h5py.File, file: Path) -> Content:
    """All that a file says but its waveforms; ``DataError`` where it is of another layout."""
    for name in ("data", "labels"):
        if not isinstance(source.get(name), h5py.Dataset):
            raise DataError(
                f"{file}: has no dataset '{name}'; data (N, samples) and labels (N, 3) with q, "
                f"s1, s2 are needed; it has: {', '.join(source) or 'none'}"
            )
    data, labels = source["data"], source["labels"]
    if data.ndim != 2 or data.dtype.kind != "f" or labels.shape != (len(data), 3):
        raise DataError(
            f"{file}: data {data.shape} {data.dtype} and labels {labels.shape}; real waveforms "
            f"(N, samples) and (N, 3) with q, s1, s2 are needed"
        )
    if source.attrs.get("part", "real") != "real":
        raise DataError(f"{file}: holds Im h22, a set keeps Re h22; export it with --part real")
    try:
        return Content(
            file=file,
            samples=data.shape[1],
            double=data.dtype.itemsize > 4,
            labels=np.asarray(labels[:], dtype=np.float64),
            times=np.asarray(source["times"][:], dtype=np.float64) if "times" in source else None,
            spec=json.loads(source.attrs["spec"]) if "spec" in source.attrs else None,
            rows=np.asarray(source["rows"][:], dtype=np.int64) if "rows" in source else None,
        )
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{file}: labels, times, rows or spec are damaged ({error})") from error


def _digest(file: Path, progress: bool) -> str:
    with tqdm(
        total=file.stat().st_size, desc="checksum", unit="B", unit_scale=True, disable=not progress
    ) as bar:
        return checksum(file, bar.update)


def _stored(
    data: h5py.Dataset,
    file: Path,
    spec: DatasetSpec,
    index: int,
    places: np.ndarray,
    failed: list[Quarantined],
) -> Iterator[np.ndarray]:
    """What a shard keeps, in portions; rows without a waveform are added to ``failed``.

    Args:
        data: the file's waveforms.
        file: its name, for messages.
        spec, index: which shard.
        places: where the waveform of each row stands in ``data``, -1 where it does not.
        failed: grows.
    """
    rows, portion = spec.shard_rows(index), max(1, _PORTION // spec.row_bytes)
    for first in range(0, rows.size, portion):
        part = rows[first : first + portion]
        stored = encode(_read(data, file, places[part]), spec.storage)
        for i in np.flatnonzero(~np.isfinite(stored).all(axis=1)):
            stored[i] = np.nan
            q, s1, s2 = spec.population.parameters(part[i])[0].tolist()
            reason = "not finite in" if places[part[i]] >= 0 else "not in"
            failed.append(Quarantined(int(part[i]), (q, s1, s2), f"{reason} {file.name}"))
        yield stored


def _read(data: h5py.Dataset, file: Path, places: np.ndarray) -> np.ndarray:
    """Waveforms at places (B,), float (B, samples), read in the file's order; NaN where -1."""
    kind = np.float64 if data.dtype.itemsize > 4 else np.float32
    values = np.full((places.size, data.shape[1]), np.nan, dtype=kind)
    order = np.argsort(places, kind="stable")
    order = order[places[order] >= 0]
    breaks = np.flatnonzero(np.diff(places[order]) != 1) + 1
    try:
        for run in np.split(order, breaks) if order.size else ():
            values[run] = data[places[run[0]] : places[run[-1]] + 1]
    except (OSError, RuntimeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); fetch or export it again") from error
    return values
