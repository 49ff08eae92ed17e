"""Where waveforms come from: shards on disk, or the engine itself; equal bit for bit on a CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hpc_gw.data.encoding import decode, evaluate
from hpc_gw.data.manifest import DatasetSpec, Manifest
from hpc_gw.data.memory import Memory
from hpc_gw.data.reader import ShardReader
from hpc_gw.data.rows import waveforms
from hpc_gw.data.verify import require_whole
from hpc_gw.errors import DataError
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.shifted import ShiftedSurrogate


class Source(Protocol):
    """Waveforms by row id."""

    spec: DatasetSpec
    excluded: np.ndarray
    """Rows that have no waveform, int64, sorted: not to be asked for."""
    checksum: str
    """Of all its bytes, or of the engine that makes them."""

    def load(self, rows: np.ndarray) -> Tensor:
        """Waveforms of rows (B,): float32 Re h22 or complex64 h22, shape (B, samples)."""
        ...


def truths(spec: DatasetSpec, rows: np.ndarray) -> np.ndarray:
    """(q, s1, s2, sigma_eff, S_eff) of rows (B,), float64 (B, 5)."""
    return with_effective_spins(spec.population.parameters(rows))


class EngineSource:
    """Waveforms made when they are asked for; nothing is stored.

    Args:
        spec: the set; its population gives the parameters of a row.
        engine: on the last times of the set's grid.
        shifted: the same engine on times that are each moved by another amount; each row is then
            made by one of these, always the same, and none by ``engine``.
    """

    def __init__(self, spec: DatasetSpec, engine: Engine, shifted: Sequence[Engine] = ()) -> None:
        self.spec = spec
        self.excluded = np.zeros(0, dtype=np.int64)
        self.checksum = engine.checksum
        self._engine = engine
        self._shifted = tuple(shifted)
        self._together = ShiftedSurrogate.of(shifted)

    def load(self, rows: np.ndarray) -> Tensor:
        """Waveforms of rows (B,), float32 or complex64, shape (B, samples).

        Raises:
            DataError: the engine fails on a row.
        """
        if not self._shifted:
            return self._made_by(self._engine, rows)
        which = _shares(rows, len(self._shifted))
        if self._together and self.spec.storage.dtype == "float32":
            values = self._together.h22(self.spec.population.parameters(rows), which)
            if torch.isfinite(torch.view_as_real(values)).all():
                return values.real if self.spec.storage.values == "real" else values
        parts = [self._made_by(self._shifted[i], rows[which == i]) for i in np.unique(which)]
        values = torch.cat(parts)
        back = np.argsort(np.argsort(which, kind="stable"))
        return values[torch.from_numpy(back).to(values.device)]

    def _made_by(self, engine: Engine, rows: np.ndarray) -> Tensor:
        if self.spec.storage.dtype == "float32":  # on a GPU they stay there
            values = evaluate(self.spec, engine, self.spec.population.parameters(rows))
            if torch.isfinite(values).all():
                return values
        spec = dataclasses.replace(self.spec, samples=engine.times.size)
        return torch.from_numpy(decode(waveforms(spec, engine, rows), spec.storage))


def _shares(rows: np.ndarray, count: int) -> np.ndarray:
    """A number below ``count`` for each row, as good as drawn: int64 (B,).

    Neighbours on a grid have the same parameters but one; their remainders would tell which.
    """
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)  # Fibonacci's
    found: np.ndarray = (mixed % np.uint64(count)).astype(np.int64)
    return found


class ShardSource:
    """Waveforms of a complete dataset.

    Args:
        folder: the dataset.
        samples: only the last so many samples of each waveform; None means all that are kept.
        verify: check the shards' XXH128 now. Reading 1.5 TB takes a while: do that once, and
            train with ``verify=False`` then.
        part: (rank, world): the ranks share that work; each checks its own shards.
        local: folder with copies of shards (``hpc_gw.data.stage``), read instead.

    Raises:
        DataError: there is no dataset, it is not complete, a shard is damaged, or it keeps fewer
            samples than are wanted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        samples: int | None = None,
        verify: bool = True,
        part: tuple[int, int] = (0, 1),
        local: Path | None = None,
        progress: bool = True,
    ) -> None:
        manifest = Manifest.read(folder)
        self.spec, self.checksum = manifest.spec, manifest.checksum
        self.excluded = np.array([row.row for row in manifest.quarantine], dtype=np.int64)
        missing = sum(shard is None for shard in manifest.shards)
        if missing:
            raise DataError(
                f"{folder}: {missing} of {self.spec.shards} shards are not made yet; generate "
                f"the set again, it goes on where it stopped"
            )
        if samples is not None and samples > self.spec.samples:
            raise DataError(
                f"{folder}: keeps the last {self.spec.samples} samples, {samples} are wanted; "
                f"generate the set with storage.keep: whole in another folder"
            )
        self._memory = Memory()
        self._reader = ShardReader(folder, self.spec, samples or self.spec.samples, local)
        if verify:
            require_whole(folder, manifest, part=part, progress=progress)

    def load(self, rows: np.ndarray) -> Tensor:
        """Waveforms of rows (B,), float32 or complex64, shape (B, samples); NaN where a row
        is ``excluded``."""
        storage = self.spec.storage
        shape = storage.shape(rows.size, self._reader.samples)
        stored = self._reader.read(rows, self._memory.take(shape, storage.numpy_dtype))
        return torch.from_numpy(decode(stored, storage))
