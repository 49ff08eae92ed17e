"""Readers of stored waveforms that ``data.py`` times: ours, the naive one, and the file alone.

Each goes through waveforms in its order, forms batches of 64 as tensors, touches each, and
returns how many waveforms it delivered.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
from pagecache import Reservoir, make_cold, read_through

from hpc_gw.data.sampler import Sampler, ShuffleConfig
from hpc_gw.data.sources import EngineSource, ShardSource
from hpc_gw.data.streams import batches

BATCH = 64
RUNS = {
    "whole": ShuffleConfig(kind="runs", run=8, lanes=16, window=8),  # blocks of 415 MB
    "cone": ShuffleConfig(kind="runs", run=16, lanes=16, window=16),  # of 168 MB
}
GLOBAL = ShuffleConfig()

Reader = Callable[[], int]


def shards(folder: Path) -> list[Path]:
    """The files of a set."""
    return sorted(folder.glob("*.h5"))


def ours(
    folder: Path, shuffle: ShuffleConfig, *, samples: int | None = None, limit: int = 0
) -> int:
    """A pass over a set, or ``limit`` batches of it; as in training, later passes find the
    source's memory at hand."""
    source = open_source(folder, samples)
    sampler = Sampler(source.spec.population.size, BATCH, seed=1, limit=limit, shuffle=shuffle)
    order = sampler.order(0)
    stream = batches(source, lambda step: sampler.part(order, step, 0, 1), sampler.blocks(0))
    return sum(_touch(batch.inputs) for batch in stream)


@functools.cache
def open_source(folder: Path, samples: int | None) -> ShardSource:
    return ShardSource(folder, samples=samples, verify=False, progress=False)


def on_the_fly(source: EngineSource, rows: int) -> int:
    """Waveforms made for each batch, as a training on a CPU asks for them."""
    sampler = Sampler(rows, BATCH, seed=1)
    order = sampler.order(0)
    stream = batches(
        source, lambda step: sampler.part(order, step, 0, 1), sampler.blocks(0), ahead=0
    )
    return sum(_touch(batch.inputs) for batch in stream)


def naive(file: Path, rows: int, samples: int, *, reopen: bool) -> int:
    """``rows`` rows of one HDF5 file in random order, one by one, whole, then cropped."""
    with h5py.File(file) as stream:
        order = np.random.default_rng(1).permutation(stream["data"].shape[0])[:rows]
    kept = None if reopen else h5py.File(file)
    done = 0
    for first in range(0, rows - BATCH + 1, BATCH):
        picked = []
        for row in order[first : first + BATCH]:
            stream = kept or h5py.File(file)
            picked.append(stream["data"][row][-samples:])
            if reopen:
                stream.close()
        done += _touch(torch.from_numpy(np.stack(picked)))
    if kept:
        kept.close()
    return done


def one_file(source: Path, file: Path) -> None:
    """The waveforms of a set's shards in one contiguous HDF5 file, as published."""
    paths = shards(source)
    counts = []
    for path in paths:
        with h5py.File(path) as shard:
            shape, dtype = shard["h22"].shape, shard["h22"].dtype
            counts.append(shape[0])
    with h5py.File(file, "w") as stream:
        data = stream.create_dataset("data", (sum(counts), shape[1]), dtype)
        first = 0
        for path, count in zip(paths, counts, strict=True):
            with h5py.File(path) as shard:
                data[first : first + count] = shard["h22"][:]
            first += count


def file_alone(folder: Path, rows: int, *, copy: bool = False) -> int:
    """The set's files from end to end: the machine's rate, not in any useful order."""
    read_through(shards(folder), copy)
    return rows


def timed(reader: Reader, files: list[Path], reservoir: Reservoir, *, cold: bool) -> float:
    """Waveforms a second of a reader of ``files``, which are in the page cache or not."""
    reservoir.hold()
    if cold:
        make_cold(files)
    else:
        read_through(files)
    reservoir.release()
    start = time.perf_counter()
    count = reader()
    return count / (time.perf_counter() - start)


def _touch(inputs: torch.Tensor) -> int:
    if not torch.isfinite(inputs[:, 0].sum()):
        raise ValueError("a waveform that is not finite")
    return len(inputs)
