"""NumPy's files: .npz with ``h22`` and ``t``, or ``t0`` and ``dt``; .npy with columns."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from hpc_gw.errors import DataError
from hpc_gw.waveforms.readers.series import Series, series_of_table

_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, SyntaxError, RuntimeError, OverflowError),
    *(KeyError, MemoryError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What NumPy raises where the bytes of a file make no sense."""


def read_npz(path: Path) -> Series:
    """h22, or h+ under that name, with its times.

    Raises:
        DataError: the file is damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except _DAMAGED as error:
        raise DataError(
            f"{path}: not readable as a waveform ({str(error)[:120]}); need an .npz file with t "
            f"and h22"
        ) from error
    h22 = arrays.get("h22")
    if (
        not isinstance(h22, np.ndarray)
        or h22.dtype.kind not in "fc"
        or not ("t" in arrays or {"t0", "dt"} <= {*arrays})
    ):
        raise DataError(
            f"{path}: holds {', '.join(arrays) or 'nothing'}; need h22, and t, or t0 and dt, in M"
        )
    numbers = {key: arrays[key] for key in ("t", "t0", "dt") if key in arrays}
    if any(
        not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or (key != "t" and x.size != 1)
        for key, x in numbers.items()
    ):
        raise DataError(f"{path}: t must be real numbers, t0 and dt one each, in M")
    if "t" in arrays:
        return Series(arrays["t"].astype(np.float64), h22)
    t0, dt = (arrays[key].astype(np.float64).item() for key in ("t0", "dt"))
    return Series(t0 + dt * np.arange(h22.size), h22)


def read_npy(path: Path) -> Series:
    """Columns t, Re h22, Im h22, or t, h+.

    Raises:
        DataError: the file is damaged, or holds something else.
    """
    try:
        table = np.load(path, allow_pickle=False)
    except _DAMAGED as error:
        raise DataError(
            f"{path}: not readable as a waveform ({str(error)[:120]}); need an .npy file with the "
            f"columns t/M, Re(h22), Im(h22), or t/M, h+"
        ) from error
    return series_of_table(table, str(path))
