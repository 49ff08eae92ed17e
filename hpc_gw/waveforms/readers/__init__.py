"""Waveforms from files of any known format, told apart by their content.

One file a format: ``text``, ``numpy_files``, ``sxs``, ``lvcnr``, ``hdf5``. Each gives a ``Series``
as the file has it; ``units`` scales it, and ``waveforms.columns`` brings it onto the convention.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hpc_gw.errors import ConfigError, DataError
from hpc_gw.files import kind_of
from hpc_gw.waveforms.columns import Columns, columns_of
from hpc_gw.waveforms.readers.hdf5 import is_hdf5, read_hdf5
from hpc_gw.waveforms.readers.numpy_files import read_npy, read_npz
from hpc_gw.waveforms.readers.series import ORDERS, ReadOptions, Series
from hpc_gw.waveforms.readers.text import read_text
from hpc_gw.waveforms.readers.units import geometric

__all__ = ["ORDERS", "ReadOptions", "read_waveform"]

NPY, ZIP = b"\x93NUMPY", b"PK"


def read_waveform(spec: str | Path, options: ReadOptions | None = None) -> Columns:
    """The waveform of a file, ``FILE``, or of a dataset in an HDF5 file, ``FILE:DATASET``.

    Raises:
        DataError: there is no such file, or it cannot be used.
        ConfigError: an option does not apply to it.
    """
    options, where = options or ReadOptions(), str(spec)
    series = geometric(_read(where, options), options, where)
    columns = columns_of(series.times, series.values, where)
    return replace(
        columns,
        notes=series.notes + columns.notes,
        doubts=series.doubts,
        claims=series.claims,
    )


def _read(spec: str, options: ReadOptions) -> Series:
    path, part = _split(spec)
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}: {reason}; give a file that can be read") from error
    if is_hdf5(path, begin):
        return read_hdf5(path, part, options)
    if part is not None:
        raise DataError(f"{spec}: {path} is no HDF5 file, which alone has datasets to choose from")
    if options.order is not None:
        raise ConfigError(
            f"--order {options.order}: {path} has no extrapolation orders, as SXS files have; "
            f"leave it out"
        )
    if begin.startswith(NPY):
        return read_npy(path)
    return read_npz(path) if begin.startswith(ZIP) else read_text(path)


def _split(spec: str) -> tuple[Path, str | None]:
    """File and dataset of ``FILE`` or ``FILE:DATASET``."""
    path = Path(spec)
    base, sign, part = spec.rpartition(":")
    if there := kind_of(path):
        if there == "folder":
            raise DataError(f"{path}: is a folder; a row of a set in it is {path}:ROW")
        return path, None
    if sign and kind_of(base) == "file":
        return Path(base), part
    raise DataError(f"{base if sign and part.isdecimal() else spec}: no such file or folder")
