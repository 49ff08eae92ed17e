"""Timed writing of waveforms on the ranks it is started on; ``data.py`` starts it.

    mpiexec -n 2 python benchmarks/data_writers.py FOLDER RESULT.json [--shards N] [--repeats N]

The writers take turns: our generator in float32 and float64, the published scheme, and plain
writes of as many bytes. Each turn ends when its data are safely on disk (fsync). torch has one
thread in each rank, as gwsurrogate has: with two, a core that another program wants for a moment
keeps the other waiting.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from mpi4py import MPI
from pagecache import Reservoir
from published_generator import h22, load_gwsurrogate, publish

from hpc_gw.allocator import keep_freed_memory
from hpc_gw.data.generate import generate
from hpc_gw.data.manifest import DatasetSpec, Manifest, Precision, StorageConfig
from hpc_gw.data.rows import stored_waveforms
from hpc_gw.distributed import mpi_world
from hpc_gw.files import write_json
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.timegrid import TimeGrid

BUFFER = 13_000_000  # bytes of a plain write: as a batch of our generator
SHARD = StorageConfig().shard_bytes


def spec_of(engine: Engine, rows: int, storage: StorageConfig) -> DatasetSpec:
    """A set of ``rows`` random points on the engine's samples of the paper's grid."""
    return DatasetSpec(
        name="benchmark",
        population=DrawsConfig(count=rows, seed=1),
        time_grid=TimeGrid(),
        samples=engine.times.size,
        storage=storage,
        engine=engine.name,
        engine_checksum=engine.checksum,
    )


def begin(folder: Path, spec: DatasetSpec) -> None:
    """Begin a set whose precision is known: measuring it costs the same for any number of rows,
    next to nothing of a whole set's time and most of a small one's. It is timed apart."""
    folder.mkdir(parents=True)
    Manifest(spec, (None,) * spec.shards, {}, Precision(0, 0.0, 0.0)).write(folder)


def plain(folder: Path, size: int, file_bytes: int) -> None:
    """This rank's share of ``size`` bytes in files of ``file_bytes``, each fsynced."""
    rank, ranks = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()
    data = memoryview(np.random.default_rng(rank).bytes(BUFFER))
    left, number = size // ranks, 0
    while left > 0:
        handle = os.open(folder / f"{rank}-{number}", os.O_CREAT | os.O_WRONLY)
        end, position = min(file_bytes, left), 0
        while position < end:
            position += os.pwrite(handle, data[: end - position], position)
        os.fsync(handle)
        os.close(handle)
        left, number = left - end, number + 1
    MPI.COMM_WORLD.Barrier()


def main() -> None:
    """Take the turns; rank 0 writes the seconds of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--shards", type=int, default=24, help="of 64 MiB, in either precision")
    parser.add_argument("--published-rows", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--started", type=float, default=time.time(), help="for the start-up time")
    arguments = parser.parse_args()
    started = {"launch and imports": time.time() - arguments.started}
    world = mpi_world()
    torch.set_num_threads(1)
    keep_freed_memory()
    begun = time.perf_counter()
    engine = load_engine(EngineConfig(), TimeGrid().times())
    started["our engine"] = time.perf_counter() - begun
    begun = time.perf_counter()
    surrogate = load_gwsurrogate()
    started["gwsurrogate"] = time.perf_counter() - begun

    folder = arguments.folder
    specs = {
        f"hpc_gw {dtype}": spec_of(
            engine, _row_count(engine, dtype, arguments.shards), StorageConfig(dtype=dtype)
        )
        for dtype in ("float32", "float64")
    }
    size = next(iter(specs.values())).bytes
    population = DrawsConfig(count=arguments.published_rows, seed=1)
    writers: dict[str, Callable[[], object]] = {
        name: partial(generate, folder / "ours", spec, engine, world, progress=False)
        for name, spec in specs.items()
    }
    writers["published"] = partial(
        publish, folder / "published.h5", population, surrogate, MPI.COMM_WORLD
    )
    writers["plain, a file a rank"] = partial(plain, folder, size, size)
    writers["plain, 64 MiB files"] = partial(plain, folder, size, SHARD)

    reservoir = Reservoir(int(1.3 * size))
    turns: dict[str, list[float]] = {name: [] for name in writers}
    computed: dict[str, list[float]] = {name: [] for name in writers}
    for spec in specs.values():  # warm up
        stored_waveforms(spec, engine, np.arange(2))
    h22(surrogate, np.array([2.0, 0.1, 0.2]), engine.times)
    for _ in range(arguments.repeats):
        for name, write in writers.items():
            for timed in (False, True):  # a writer's first touch of its own memory is not timed
                if world.rank == 0:
                    reservoir.hold()
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir()
                    if name in specs:
                        begin(folder / "ours", specs[name])
                    os.sync()
                    reservoir.release()
                wall, cpu = _timed(write)
                if timed:
                    turns[name].append(wall)
                    computed[name].append(cpu)
    if world.rank == 0:
        shutil.rmtree(folder)
        row_bytes = {name: spec.row_bytes for name, spec in specs.items()}
        counts = {name: spec.population.size for name, spec in specs.items()}
        counts["published"] = population.size
        write_json(
            arguments.result,
            {
                "seconds": turns,
                "cpu_seconds": computed,
                "rows": counts,
                "row_bytes": row_bytes,
                "plain_bytes": size,
                "start_up": started,
            },
        )


def _row_count(engine: Engine, dtype: Literal["float32", "float64"], shards: int) -> int:
    """Rows that fill so many shards."""
    return shards * spec_of(engine, 1, StorageConfig(dtype=dtype)).rows_per_shard


def _timed(write: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the slowest rank, and seconds of the cores that all of them together used."""
    MPI.COMM_WORLD.Barrier()
    start, used = time.perf_counter(), time.process_time()
    write()
    cpu = MPI.COMM_WORLD.allreduce(time.process_time() - used, op=MPI.SUM)
    wall = MPI.COMM_WORLD.allreduce(time.perf_counter() - start, op=MPI.MAX)
    return float(wall), float(cpu)


if __name__ == "__main__":
    main()
