"""Text columns t, Re h22, Im h22, or t, h+; ``#`` begins a comment."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from hpc_gw.errors import DataError
from hpc_gw.waveforms.readers.series import Series, series_of_table


def read_text(path: Path) -> Series:
    """The columns of a text file.

    Raises:
        DataError: they are no such columns.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty file is refused below
            table = np.loadtxt(path, comments="#", ndmin=2, dtype=np.float64)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(
            f"{path}: not readable as a waveform ({str(error)[:120]}); need the columns t/M, "
            f"Re(h22), Im(h22), or t/M, h+, or one of the HDF5 and NumPy layouts"
        ) from error
    return series_of_table(table, str(path))
