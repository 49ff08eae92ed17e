"""Rows of a dataset from its shards: opened when first touched, read straight into place."""

from __future__ import annotations

import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hpc_gw.data.manifest import DatasetSpec, shard_name
from hpc_gw.data.shards import OpenShard, open_shard

OPEN = 256
"""Shards held open at a time by a process: far below the usual limit of 1024 files."""

_THREADS = 4
_PARALLEL_BYTES = 1 << 20  # below, handing work to threads costs more than reading


class ShardReader:
    """Reads any rows of a complete set; each process and each worker opens its own files.

    It may be pickled (spawned workers) and survives ``fork``: files opened by another process
    are left to that process.

    Args:
        folder: the dataset's.
        spec: its spec.
        samples: only the last so many samples of each waveform.
        local: folder with copies of some or all shards, which are read from there.
    """

    def __init__(
        self, folder: Path, spec: DatasetSpec, samples: int, local: Path | None = None
    ) -> None:
        self.spec, self.samples = spec, samples
        self._folders = [f for f in (local, folder) if f is not None]
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._known: dict[int, OpenShard] = {}
        self._open: OrderedDict[int, OpenShard] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        keep = ("spec", "samples", "_folders")
        return {name: self.__dict__[name] for name in keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def read(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """What is stored of rows (B,), in their order, shape (B, ...).

        Rows that follow one another in a shard are read in one call, wherever they stand in
        ``rows``: ask for many at a time. ``out``, contiguous and of that shape and type, is
        filled and returned where it is given: fresh memory costs as much time as reading.

        Raises:
            DataError: a shard is missing or damaged.
        """
        if self._process != os.getpid():
            self._forget()
        storage = self.spec.storage
        if out is None:
            out = np.empty(storage.shape(rows.size, self.samples), dtype=storage.numpy_dtype)
        order = np.argsort(rows, kind="stable")
        shards, places = np.divmod(rows[order], self.spec.rows_per_shard)
        breaks = np.flatnonzero((np.diff(places) != 1) | (np.diff(shards) != 0)) + 1
        firsts = [0, *breaks.tolist()]
        runs = list(zip(firsts, [*firsts[1:], rows.size], strict=True)) if rows.size else []
        for some in range(0, len(runs), OPEN):
            tasks = [
                (self._shard(int(shards[a])), int(places[a]), [out[i] for i in order[a:b]])
                for a, b in runs[some : some + OPEN]
            ]
            self._fill(tasks, out.nbytes)
        return out

    def _fill(self, tasks: list[tuple[OpenShard, int, list[np.ndarray]]], size: int) -> None:
        if size < _PARALLEL_BYTES or len(tasks) == 1:
            for shard, place, lines in tasks:
                shard.read(place, lines)
            return
        self._pool = self._pool or ThreadPoolExecutor(_THREADS, thread_name_prefix="reader")
        for done in [self._pool.submit(shard.read, first, lines) for shard, first, lines in tasks]:
            done.result()

    def _shard(self, index: int) -> OpenShard:
        if index not in self._known:
            name = shard_name(index)
            copies = [folder / name for folder in self._folders if (folder / name).exists()]
            path = copies[0] if copies else self._folders[-1] / name
            self._known[index] = open_shard(path, self.spec, index)
        shard = self._known[index]
        if index not in self._open:
            while len(self._open) >= OPEN:  # the longest unused: none of the last OPEN asked for
                self._open.popitem(last=False)[1].close()
            shard.open()
            self._open[index] = shard
        self._open.move_to_end(index)
        return shard

    def close(self) -> None:
        """Close all files; the next read opens them again."""
        for shard in self._open.values():
            shard.close()
        self._open.clear()
