"""SXS HDF5, ``rhOverM_Asymptotic_GeometricUnits_CoM.h5`` (arXiv:1904.04831).

A group for each extrapolation to infinity has ``Y_l2_m2.dat``, (T, 3): t / M, Re and Im of
r h22 / M. The waveform begins with junk radiation of the initial data, which is cut.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from hpc_gw.errors import ConfigError, DataError
from hpc_gw.waveforms.readers.series import ORDERS, ReadOptions, Series
from hpc_gw.waveforms.readers.sxs_metadata import Metadata, read_metadata

MODE = "Y_l2_m2.dat"

GROUPS = {
    "N4": "Extrapolated_N4.dir",
    "N3": "Extrapolated_N3.dir",
    "N2": "Extrapolated_N2.dir",
    "outermost": "OutermostExtraction.dir",
}

JUNK = 200.0
"""First so many M that are cut where no metadata say how long the junk radiation lasts."""


def is_sxs(file: h5py.File) -> bool:
    """Whether a file has the mode of this format, in groups or at its top."""
    return MODE in file or any(group in file for group in GROUPS.values())


def read_sxs(file: h5py.File, path: Path, options: ReadOptions) -> Series:
    """h22 after the junk radiation, with what the metadata beside the file say of the bodies.

    Raises:
        ConfigError: an order is asked for, and the file has none.
        DataError: it has another order, or is damaged, or ends with its junk radiation.
    """
    dataset, notes = _mode(file, path, options.order)
    if dataset.ndim != 2 or dataset.shape[1] != 3 or dataset.dtype.kind != "f":
        raise DataError(
            f"{path}: {dataset.name} holds {dataset.dtype} of shape {dataset.shape}; an SXS file "
            f"has real columns t/M, Re, Im there"
        )
    table = np.asarray(dataset[()], dtype=np.float64)
    metadata = read_metadata(path.parent)
    cut, note = _junk(table[:, 0], metadata)
    inside = table[:, 0] >= cut
    if inside.sum() < 16:
        raise DataError(
            f"{path}: of its times up to {table[-1, 0] if len(table) else 0:g} M none are after "
            f"the junk radiation, {cut:g} M; is {metadata.source or 'the file'} of this run?"
        )
    binary = metadata.binary()
    return Series(
        table[inside, 0],
        table[inside, 1] + 1j * table[inside, 2],
        geometric=True,
        notes=(*notes, note, *metadata.notes()),
        doubts=(*binary.doubts(), *metadata.doubts()),
        claims=binary.claims(),
    )


def _mode(file: h5py.File, path: Path, order: str | None) -> tuple[h5py.Dataset, tuple[str, ...]]:
    """The dataset of the mode, and which extrapolation was taken instead of the best."""
    there = [name for name in ORDERS if f"{GROUPS[name]}/{MODE}" in file]
    if not there and isinstance(file.get(MODE), h5py.Dataset):
        if order is not None:
            raise ConfigError(f"--order {order}: {path} has {MODE} alone, without orders; leave it")
        return file[MODE], ()
    if not there:
        raise DataError(f"{path}: has {', '.join(file)}, but {MODE} in none of them; get it anew")
    if order is not None and order not in there:
        raise DataError(f"{path}: has no order {order}; it has {', '.join(there)}")
    taken = order or there[0]
    notes = () if order or taken == ORDERS[0] else (f"has no order {ORDERS[0]}: took {taken}",)
    return file[f"{GROUPS[taken]}/{MODE}"], notes


def _junk(times: np.ndarray, metadata: Metadata) -> tuple[float, str]:
    """Time [M] from which the waveform is taken, and a note that says why."""
    relaxed = metadata.relaxation_time()
    if relaxed is not None:
        return relaxed, f"junk radiation cut: t < {relaxed:g} M, as {metadata.source} says"
    cut = float(times[0]) + JUNK if times.size else JUNK
    return cut, f"junk radiation cut: the first {JUNK:g} M, as no metadata beside it say how much"
