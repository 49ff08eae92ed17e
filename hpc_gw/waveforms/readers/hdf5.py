"""HDF5 files: which layout one has, and datasets that are named, ``FILE.h5:DATASET``.

A dataset is a table of columns (``series.series_of_table``), or a series of values, complex or
real, with its times beside it: in a dataset whose name has ``t`` for ``h22``, or is ``times``,
``time`` or ``t``, or in the attributes ``t0`` and ``dt``.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from hpc_gw.errors import ConfigError, DataError, HpcGwError
from hpc_gw.waveforms.readers.lvcnr import is_lvcnr, read_lvcnr
from hpc_gw.waveforms.readers.series import ReadOptions, Series, series_of_table
from hpc_gw.waveforms.readers.sxs import is_sxs, read_sxs

SIGNATURE = b"\x89HDF\r\n\x1a\n"

TIMES = ("times", "time", "t")

_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError)
"""What h5py and NumPy raise where the bytes of a file make no sense."""

LISTED = 12
"""Datasets that an error lists."""


def is_hdf5(path: Path, begin: bytes) -> bool:
    """Whether a file, of which these are the first bytes, is HDF5, perhaps behind a user block."""
    return begin.startswith(SIGNATURE) or bool(h5py.is_hdf5(path))


def read_hdf5(path: Path, part: str | None, options: ReadOptions) -> Series:
    """The waveform of a file, or of one of its datasets.

    Raises:
        ConfigError: an order is asked for, and the file has none.
        DataError: the file is damaged, or has no such waveform.
    """
    try:
        with h5py.File(path, "r") as file:
            if part is None and is_sxs(file):
                return read_sxs(file, path, options)
            if options.order is not None:
                raise ConfigError(
                    f"--order {options.order}: {path} has no extrapolation orders, as SXS files "
                    f"have; leave it out"
                )
            if part is None and is_lvcnr(file):
                return read_lvcnr(file, path)
            if part is None and file.attrs.get("sxs_format") is not None:
                raise DataError(
                    f"{path}: is compressed ({file.attrs['sxs_format']}), which the package sxs "
                    f"reads: write its (2, 2) mode as columns t/M, Re(h22), Im(h22)"
                )
            return _dataset(file, path, part)
    except HpcGwError:
        raise
    except _DAMAGED as error:
        raise DataError(
            f"{path}: damaged, or not an HDF5 file ({str(error)[:120]}); get it anew"
        ) from error


def _dataset(file: h5py.File, path: Path, part: str | None) -> Series:
    names = _waveforms(file)
    if part is None and len(names) != 1:
        raise DataError(
            f"{path}: is neither an SXS nor an LVCNR file, and has {_listed(names)}; name one, as "
            f"{path}:DATASET"
        )
    name = names[0] if part is None else part
    dataset = file.get(name)
    where = f"{path}:{name}"
    if not isinstance(dataset, h5py.Dataset):
        what = "no such dataset" if dataset is None else "a group, not a dataset"
        raise DataError(f"{where}: {what}; the file has {_listed(names)}")
    if dataset.dtype.kind not in "fciu" or dataset.ndim not in (1, 2):
        raise DataError(
            f"{where}: holds {dataset.dtype} of shape {dataset.shape}; need columns t/M, Re(h22), "
            f"Im(h22), or a series h22 with its times"
        )
    values = np.asarray(dataset[()])
    if values.ndim == 2:
        return series_of_table(values, where)
    return Series(_times(file, dataset, where), values)


def _times(file: h5py.File, dataset: h5py.Dataset, where: str) -> np.ndarray:
    """Times of a series, float64, (T,) unless they are of another one."""
    if {"t0", "dt"} <= {*dataset.attrs}:
        t0, dt = (float(np.asarray(dataset.attrs[name]).item()) for name in ("t0", "dt"))
        return t0 + dt * np.arange(dataset.size)
    own = dataset.name.rpartition("/")[2]
    names = (*((own.replace("h22", "t"),) if "h22" in own else ()), *TIMES)
    there = [name for name in names if isinstance(dataset.parent.get(name), h5py.Dataset)]
    fitting = [name for name in there if dataset.parent[name].shape == dataset.shape]
    if not fitting:
        raise DataError(
            f"{where}: has {dataset.size} values, and no times beside it: need a dataset of that "
            f"length called {' or '.join(names)}, or attributes t0 and dt, in M"
        )
    return np.asarray(dataset.parent[fitting[0]][()], dtype=np.float64)


def _waveforms(file: h5py.File) -> list[str]:
    """Names of the datasets that may be waveforms."""
    names: list[str] = []

    def look(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fc" and item.size >= 16:
            table = item.ndim == 2 and item.shape[1] in (2, 3) and item.dtype.kind == "f"
            own = name.rpartition("/")[2]
            is_times = own in TIMES or own.startswith("t_")
            if table or (item.ndim == 1 and not is_times):
                names.append(name)

    file.visititems(look)
    return names


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"the datasets {', '.join(names[:LISTED])}{more}" if names else "no waveform in it"
