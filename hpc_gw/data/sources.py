"""Where batches come from: shards on disk, or the engine itself.

Both give the same numbers, bit for bit on a CPU; where a network sees only the last samples of
the paper's grid, an engine that makes just these differs from the shards by up to 2e-7.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hpc_gw.constants import QUANTITIES
from hpc_gw.data.generate import waveforms
from hpc_gw.data.manifest import DatasetSpec, Manifest, shard_name
from hpc_gw.data.shards import map_shard
from hpc_gw.errors import DataError
from hpc_gw.files import sha256
from hpc_gw.manifold.physics import s_eff, sigma_eff
from hpc_gw.waveforms.protocol import Engine


class Source(Protocol):
    """Waveforms and truths by row id."""

    spec: DatasetSpec

    def load(self, rows: np.ndarray) -> Tensor:
        """Waveforms of rows (B,): float32 Re h22 or complex64 h22, shape (B, samples)."""
        ...


def truths(spec: DatasetSpec, rows: np.ndarray) -> np.ndarray:
    """(q, s1, s2, sigma_eff, S_eff) of rows (B,), float64 (B, 5)."""
    q, s1, s2 = spec.population.parameters(rows).T
    columns = dict(
        zip(QUANTITIES, (q, s1, s2, sigma_eff(q, s1, s2), s_eff(q, s1, s2)), strict=True)
    )
    return np.stack([columns[name] for name in QUANTITIES], axis=1)


class EngineSource:
    """Waveforms made when they are asked for; nothing is stored.

    Args:
        spec: the set; its population gives the parameters of a row.
        engine: on the last ``samples`` times of the set's grid.
    """

    def __init__(self, spec: DatasetSpec, engine: Engine) -> None:
        self.spec = spec
        self._engine = engine

    def load(self, rows: np.ndarray) -> Tensor:
        """Waveforms of rows (B,), float32 or complex64, shape (B, samples)."""
        return _single(torch.from_numpy(waveforms(self.spec, self._engine, rows)))


class ShardSource:
    """Waveforms of a complete dataset, mapped into memory shard by shard when first touched.

    Args:
        folder: the dataset.
        samples: only the last so many samples of each waveform; None means all.
        verify: check the shards' SHA-256 now. Reading 1.5 TB takes hours: do that once, and
            train with ``verify=False`` then.
        part: (rank, world): the ranks share that work; each checks its own shards.

    Raises:
        DataError: there is no dataset, it is not complete, or a shard is damaged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        samples: int | None = None,
        verify: bool = True,
        part: tuple[int, int] = (0, 1),
        progress: bool = True,
    ) -> None:
        manifest = Manifest.read(folder)
        self.spec = manifest.spec
        self._folder = folder
        self._samples = samples or self.spec.time_grid.size
        self._maps: dict[int, np.memmap[Any, Any]] = {}
        missing = sum(checksum is None for checksum in manifest.checksums)
        if missing:
            raise DataError(
                f"{folder}: {missing} of {self.spec.shards} shards are not made yet; generate "
                f"the set again, it goes on where it stopped"
            )
        if verify:
            _verify(folder, manifest, part, progress)

    def load(self, rows: np.ndarray) -> Tensor:
        """Waveforms of rows (B,), float32 or complex64, shape (B, samples)."""
        shards, places = np.divmod(rows, self.spec.rows_per_shard)
        out = np.empty((rows.size, self._samples), dtype=self.spec.storage.numpy_dtype)
        for shard in np.unique(shards):
            where = shards == shard
            out[where] = self._map(int(shard))[places[where], -self._samples :]
        return _single(torch.from_numpy(out))

    def _map(self, shard: int) -> np.memmap[Any, Any]:
        if shard not in self._maps:
            rows = self.spec.shard_rows(shard).size
            path = self._folder / shard_name(shard)
            self._maps[shard] = map_shard(path, rows, self.spec.time_grid.size)
        return self._maps[shard]


def _verify(folder: Path, manifest: Manifest, part: tuple[int, int], progress: bool) -> None:
    rank, world = part
    mine = list(enumerate(manifest.checksums))[rank::world]
    for index, checksum in tqdm(
        mine, desc=f"verify {manifest.spec.name}", unit="shard", disable=not progress
    ):
        path = folder / shard_name(index)
        if not path.exists():
            raise DataError(f"{path}: the shard is missing; generate the set again")
        if sha256(path) != checksum:
            raise DataError(
                f"{path}: its bytes are not those that were published (SHA-256 differs); "
                f"generate the set again: only damaged shards are made anew"
            )


def _single(values: Tensor) -> Tensor:
    return values.to(torch.complex64 if values.is_complex() else torch.float32)


@dataclasses.dataclass(frozen=True)
class Batch:
    """A rank's part of a global batch: row ids (b,), inputs (b, samples), truth (b, 5)."""

    step: int
    rows: np.ndarray
    inputs: Tensor
    truth: Tensor


def batches(
    source: Source, parts: Callable[[int], np.ndarray], steps: Iterable[int], *, ahead: int = 2
) -> Iterator[Batch]:
    """Batches ``steps``, whose rows ``parts(step)`` gives.

    They are made by a thread, at most ``ahead`` of use; 0 makes each when it is asked for.
    """

    def make(step: int) -> Batch:
        rows = parts(step)
        truth = torch.from_numpy(truths(source.spec, rows)).float()
        return Batch(step, rows, source.load(rows), truth)

    made = map(make, steps)
    return prefetch(made, ahead) if ahead else made


T = TypeVar("T")


def prefetch(items: Iterable[T], ahead: int) -> Iterator[T]:
    """Yield ``items``, made by a thread at most ``ahead`` of use; its errors are raised here."""
    buffer: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                buffer.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = buffer.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()
