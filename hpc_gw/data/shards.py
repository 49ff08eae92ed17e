"""One shard: an HDF5 file with the waveforms of a run of consecutive rows.

Schema (docs/data_format.md): dataset ``h22`` (n, T), contiguous, float32 or float64 for Re h22,
complex64 or complex128 for h22; dataset ``row`` (n,) int64; attributes ``format`` and ``spec``
(JSON: how the set that it belongs to is made). The only file that knows h5py's view of shards.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_gw.errors import DataError
from hpc_gw.files import published

FORMAT = "hpc_gw shard 1"


def write_shard(
    path: str | os.PathLike[str],
    rows: np.ndarray,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    spec: dict[str, Any],
    fill: Callable[[np.ndarray], None],
) -> None:
    """Publish a shard atomically.

    Args:
        path: final name.
        rows: row ids, int64 (n,).
        shape: (n, T).
        dtype: of ``h22``.
        spec: how the set is made, kept with the data.
        fill: writes h22 into the array (n, T) that it is given: the file itself, mapped into
            memory, so that a shard of any size passes through without being held.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    with published(path) as temporary:
        try:
            offset = _write_header(temporary, rows, shape, dtype, spec)
        except RuntimeError as error:  # how h5py reports a disk that is full as the file closes
            if code := re.search(r"errno = (\d+)", str(error)):
                raise OSError(int(code[1]), str(error)) from error
            raise
        _reserve(temporary, offset + int(np.prod(shape)) * dtype.itemsize)
        values = np.memmap(temporary, dtype=dtype, mode="r+", offset=offset, shape=shape)
        fill(values)
        values.flush()
        del values


def _write_header(
    path: Path,
    rows: np.ndarray,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    spec: dict[str, Any],
) -> int:
    """Write all of a shard but the waveforms; returns where in the file these belong."""
    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["spec"] = json.dumps(spec)
        file.create_dataset("row", data=rows.astype(np.int64))
        # Early allocation: the space is reserved now, and the array's place is known.
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)  # equal waveforms make equal files
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple(shape)
        h5type = h5py.h5t.py_create(dtype, logical=True)
        dataset = h5py.h5d.create(file.id, b"h22", h5type, space, properties)
        return int(dataset.get_offset())


def _reserve(path: Path, size: int) -> None:
    """Take the disk space now: a full disk must be an error, not a fault in mapped memory."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def map_shard(path: str | os.PathLike[str], rows: int, samples: int) -> np.memmap[Any, Any]:
    """``h22`` of a shard as a read-only array (rows, samples) mapped into memory.

    Raises:
        DataError: the file is missing, damaged, or not the shard that was expected.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise DataError(f"{path}: not a shard of this version ('{FORMAT}')")
            dataset = file["h22"]
            if dataset.shape != (rows, samples):
                raise DataError(
                    f"{path}: holds {dataset.shape} values where the manifest says "
                    f"{(rows, samples)}; generate the set again"
                )
            offset = dataset.id.get_offset()
            dtype = dataset.dtype
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(rows, samples))
    except FileNotFoundError as error:
        raise DataError(f"{path}: the shard is missing; generate the set again") from error
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: the shard is damaged ({error}); generate the set again: only damaged "
            f"shards are made anew"
        ) from error
