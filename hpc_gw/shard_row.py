"""A row of a generated set, ``FOLDER:ROW``, as a network is asked about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_gw.constants import QUANTITIES
from hpc_gw.data.manifest import Manifest
from hpc_gw.data.sources import ShardSource, truths
from hpc_gw.errors import DataError
from hpc_gw.files import kind_of
from hpc_gw.waveforms.columns import Columns, columns_of
from hpc_gw.waveforms.timegrid import TimeGrid


@dataclass(frozen=True, eq=False)
class ShardRow:
    """A waveform of a set.

    Attributes:
        real: Re h22 on the last times of the network's grid, float32 (samples,), if the set is on
            that grid: what the network was trained to read.
        columns: the waveform in other sets, to be read as a file's.
        truth: the five quantities by name.
    """

    real: np.ndarray | None
    columns: Columns | None
    truth: dict[str, float]


def row_of(spec: str) -> tuple[Path, str] | None:
    """Folder and row, not yet a number, of ``FOLDER:ROW``; None for anything else."""
    folder, sign, row = spec.rpartition(":")
    if not sign or kind_of(spec) or kind_of(folder) != "folder":
        return None
    return Path(folder), row


def read_row(folder: Path, row: str, grid: TimeGrid, cone: int) -> ShardRow:
    """A row of a complete set.

    Args:
        folder: the set.
        row: its number, as it was typed.
        grid: times that the network reads.
        cone: how many of the last of them it sees.

    Raises:
        DataError: there is no such row, it has no waveform, or it is on a grid that cannot be read.
    """
    where = f"{folder}:{row}"
    source = ShardSource(folder, verify=False, progress=False)
    spec = source.spec
    if not row.isdecimal() or int(row) >= spec.population.size:
        raise DataError(f"{where}: the set has rows 0 ... {spec.population.size - 1}; name one")
    index = np.array([int(row)])
    if index[0] in source.excluded:
        failed = next(f for f in Manifest.read(folder).quarantine if f.row == index[0])
        raise DataError(f"{where}: has no waveform ({failed.reason}); name another row")
    values = source.load(index)[0].numpy().copy()
    truth = dict(zip(QUANTITIES, truths(spec, index)[0].tolist(), strict=True))
    if spec.time_grid == grid and spec.samples >= cone:
        if not np.isfinite(values).all():
            raise DataError(f"{where}: is not finite; check the set with hpc-gw data verify")
        return ShardRow(values.real.astype(np.float32), None, truth)
    if spec.time_grid.kind == "chirp":
        raise DataError(
            f"{where}: has the last {spec.samples} samples of {spec.time_grid}, the network reads "
            f"{cone} of {grid}; generate the set with the network's time grid"
        )
    return ShardRow(None, columns_of(spec.times(), values, where), truth)
