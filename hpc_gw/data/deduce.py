"""The spec of a set from what a file says: its own spec, or labels that fill a regular grid."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hpc_gw.config import build
from hpc_gw.data.manifest import DatasetSpec, StorageConfig
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.manifold.populations import Axis, GridConfig
from hpc_gw.waveforms.timegrid import TimeGrid

IMPORTED = "xxh128:"
"""Begins the checksum of an 'engine' that is somebody's file."""

_SAME = 1e-9  # labels this near one another are one value
_SAME_TIME = 1e-6  # M
_AXES = ("q", "s1", "s2")


@dataclasses.dataclass(frozen=True)
class Content:
    """All that a file says but its waveforms.

    Attributes:
        file: its name, for messages.
        samples: of a waveform.
        double: whether these are in double precision.
        labels: q, s1, s2, float64 (N, 3).
        times: float64 (samples,), in M; None where it says none.
        spec: of the set that was exported, as JSON has it; None in a file of somebody else.
        rows: int64 (N,), with ``spec``.
    """

    file: Path
    samples: int
    double: bool
    labels: np.ndarray
    times: np.ndarray | None
    spec: Any
    rows: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """What a file does not say, or what is to be otherwise; None: as the file has it.

    Attributes:
        name: of the set; of a file that says none, the folder's.
        time_grid: of the waveforms; of a file that says none, the paper's.
        engine: what made them, in words.
        dtype: to store them in.
        shard_bytes: largest size of a shard.
    """

    name: str | None = None
    time_grid: TimeGrid | None = None
    engine: str | None = None
    dtype: Literal["float32", "float64"] | None = None
    shard_bytes: int | None = None


def spec_and_rows(
    content: Content, folder: Path, options: ImportOptions, checksum: str
) -> tuple[DatasetSpec, np.ndarray]:
    """The spec of the set that a file makes in ``folder``, and its waveforms' row ids (N,).

    Args:
        content: what the file says.
        folder: of the set.
        options: what it does not say.
        checksum: of the file.

    Raises:
        DataError: the labels are not those of the file's spec, or fill no regular grid, or the
            times are not those of the time grid.
        ConfigError: options contradict the file.
    """
    if content.spec is not None:
        spec, rows = _own_spec(content)
        if options.time_grid not in (None, spec.time_grid):
            raise ConfigError(
                f"{content.file}: says its own time grid; leave out --t-min, --t-max and --dt"
            )
    else:
        population, rows = grid_of(content.labels, content.file)
        grid = options.time_grid or _uniform_grid(content) or TimeGrid()
        spec = DatasetSpec(
            name=folder.resolve().name,
            population=population,
            time_grid=grid,
            samples=grid.size,
            storage=StorageConfig(dtype="float64" if content.double else "float32"),
            engine=f"unknown, of {content.file.name}",
            engine_checksum=checksum,
        )
    _check_times(content, spec)
    stored = _given(dtype=options.dtype, shard_bytes=options.shard_bytes)
    changes = _given(name=options.name, engine=options.engine)
    storage = dataclasses.replace(spec.storage, **stored)
    return dataclasses.replace(spec, storage=storage, **changes), rows


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _own_spec(content: Content) -> tuple[DatasetSpec, np.ndarray]:
    """The spec that the file says, and its rows; refused where the labels are not theirs."""
    file, labels, rows = content.file, content.labels, content.rows
    try:
        storage = content.spec["storage"] | {"values": "real"}
        spec = build(DatasetSpec, content.spec | {"storage": storage}, where=str(file))
    except (ConfigError, KeyError, TypeError) as error:
        raise DataError(f"{file}: its spec is damaged ({error}); export the set again") from error
    size = spec.population.size
    if rows is None or rows.shape != (len(labels),) or np.unique(rows).size != rows.size:
        raise DataError(f"{file}: 'rows' is not {len(labels)} different ids; export the set again")
    if rows.size and not 0 <= rows.min() <= rows.max() < size:
        raise DataError(
            f"{file}: rows {rows.min()} ... {rows.max()}, its spec has 0 ... {size - 1}; export "
            f"the set again"
        )
    off = ~(np.abs(spec.population.parameters(rows) - labels) <= _SAME)
    if off.any():
        k = int(off.any(axis=0).argmax())
        raise DataError(
            f"{file}: {int(off[:, k].sum())} labels of {_AXES[k]} are not those of its spec; "
            f"export the set again, or remove the attribute 'spec' if the labels are right"
        )
    return spec, rows


def grid_of(labels: np.ndarray, file: Path) -> tuple[GridConfig, np.ndarray]:
    """The regular grid that labels (N, 3) fill, in any order, and their row ids on it (N,).

    One of the paper's sets if it is that, else ``custom``.

    Raises:
        DataError: they fill none; the line names the axis and how many points are off.
    """
    axes, indices = [], []
    for name, values in zip(_AXES, labels.T, strict=True):
        axis = _axis(name, values, file)
        axes.append(axis)
        indices.append(np.rint((values - axis.start) / (axis.step or 1.0)).astype(np.int64))
    grid = GridConfig(split="custom", q=axes[0], s1=axes[1], s2=axes[2])
    rows = np.ravel_multi_index(indices, grid.shape)
    found = np.unique(rows).size
    if found != grid.size or found != len(labels):
        shape = " x ".join(str(axis.count) for axis in axes)
        raise DataError(
            f"{file}: {len(labels)} labels fill {found} of the {shape} = {grid.size} points of "
            f"their grid in q, s1, s2; each is needed once: add the missing ones (NaN where there "
            f"is no waveform), and take out what comes twice"
        )
    for paper in (GridConfig(split="train"), GridConfig("validation"), GridConfig("test")):
        if paper.shape == grid.shape and np.abs(np.subtract(paper.box, grid.box)).max() <= _SAME:
            return paper, rows
    return grid, rows


def _axis(name: str, values: np.ndarray, file: Path) -> Axis:
    """The equally spaced values that ``values`` (N,) take, in the step that most of them keep."""
    known = np.unique(values)
    if not known.size or not np.isfinite(known).all():
        raise DataError(f"{file}: labels of {name} are none, or not finite; numbers are needed")
    known = known[np.concatenate([[True], np.diff(known) > _SAME])]
    start, step = float(known[0]), _step(known)
    index = np.rint((values - start) / (step or 1.0))
    off = np.abs(start + step * index - values) > _SAME
    if off.any() or index.max() >= values.size:
        raise DataError(
            f"{file}: {int(off.sum())} of {values.size} points are off an axis of {name} from "
            f"{start:g} in steps of {step:g} (it takes {known.size} values, the last one is "
            f"{known[-1]:.9g}); sets that are no regular grids can be imported only from files "
            f"that hpc-gw exported"
        )
    return Axis(start=start, step=step, count=int(index.max()) + 1)


def _step(known: np.ndarray) -> float:
    """The step of most of the values (n,), ascending; 0 of a single one."""
    if known.size == 1:
        return 0.0
    coarse = float(np.median(np.diff(known)))
    index = np.rint((known - known[0]) / coarse)
    on = np.abs(known - known[0] - coarse * index) <= 1e-6 * coarse
    last = int(np.flatnonzero(on)[-1])
    step = float((known[last] - known[0]) / index[last]) if last else coarse
    rounded = float(np.round(step, 12))  # 0.08 where the division gives 0.07999999999999999
    return rounded if known.size * abs(rounded - step) < _SAME / 10 else step


def _uniform_grid(content: Content) -> TimeGrid | None:
    """The uniform grid through the ends of a file's own times; None where it says none."""
    times, file = content.times, content.file
    if times is None:
        return None
    if times.ndim != 1 or times.size < 2 or not times[-1] > times[0]:
        raise DataError(f"{file}: times {times.shape} do not grow; (samples,) in M are needed")
    first, last = float(times[0]), float(times[-1])
    dt = float(np.round((last - first) / (times.size - 1), 12))
    grid = {"t_min": first, "t_max": first + times.size * dt, "dt": dt}
    return build(TimeGrid, grid, where=f"{file}, times")


def _check_times(content: Content, spec: DatasetSpec) -> None:
    """``DataError`` unless the waveforms have the set's samples, at its times."""
    grid, times, file = spec.time_grid, content.times, content.file
    if content.samples != spec.samples:
        raise DataError(
            f"{file}: waveforms of {content.samples:,} samples; on [{grid.t_min:g}, "
            f"{grid.t_max:g}) M there are {spec.samples:,}; give the file's own time grid with "
            f"--t-min, --t-max and --dt"
        )
    if times is None:
        return
    if times.shape != (spec.samples,) or not np.abs(times - spec.times()).max() <= _SAME_TIME:
        raise DataError(
            f"{file}: its times are not those of the time grid [{grid.t_min:g}, {grid.t_max:g}) "
            f"M; of other files than our own the times must be uniform"
        )
