"""The steps of a job. Each reads files, writes files, and can be run again at any time."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import torch

from hpc_gw.config import first_difference, to_dict
from hpc_gw.data.deduce import IMPORTED
from hpc_gw.data.encoding import decode
from hpc_gw.data.generate import GenerateConfig, generate
from hpc_gw.data.manifest import DatasetSpec, Manifest, shard_name
from hpc_gw.data.reader import ShardReader
from hpc_gw.data.rows import BATCH, describe, waveforms
from hpc_gw.data.sources import EngineSource, ShardSource, Source
from hpc_gw.data.stage import stage
from hpc_gw.distributed import World, detect_launch, mpi_world, parallel
from hpc_gw.errors import DataError
from hpc_gw.job import SETS, JobConfig
from hpc_gw.models.config import cone
from hpc_gw.training.augment import comb
from hpc_gw.training.loop import Trainer
from hpc_gw.training.objective import make_objective
from hpc_gw.training.run import Run
from hpc_gw.waveforms.engines import EngineConfig, engine_maker, load_engine, surrogate_path
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.surrogate_file import read_surrogate


def needed_sets(job: JobConfig) -> tuple[str, ...]:
    """Sets that the job keeps on disk: not the training set where that is made on the fly."""
    return SETS if job.train.source == "shards" else ("validation", "test")


def generate_sets(job: JobConfig, names: tuple[str, ...]) -> list[Manifest]:
    """Generate sets of a job, on the ranks of MPI if there are several."""
    world = mpi_world()
    times = job.time_grid.times()
    engine = load_engine(job.engine, times[-job.samples :], phase_zero=float(times[0]))
    torch.set_num_threads(1 if world.size > 1 else torch.get_num_threads())
    made = []
    for name in names:
        spec = job.spec(name, engine.name, engine.checksum)
        made.append(generate(job.set_folder(name), spec, engine, world, job.generate))
        if made[-1].quarantine and world.rank == 0:
            print(quarantine_line(job.set_folder(name), made[-1]), file=sys.stderr, flush=True)
    return made


def quarantine_line(folder: Path, manifest: Manifest) -> str:
    """What a user should know of the rows that have no waveform."""
    failed = manifest.quarantine
    return (
        f"hpc-gw: {folder}: {len(failed)} of {manifest.spec.population.size} rows have no "
        f"waveform and are left out; {describe(failed[0], manifest.spec.engine)}; try again with "
        f"hpc-gw data repair --retry {folder}"
    )


def repair_dataset(
    folder: Path, engine: EngineConfig, retry: bool, world: World
) -> tuple[Manifest, int]:
    """Make the shards of a dataset anew that are missing or damaged, with its own engine.

    Args:
        folder: the dataset's.
        engine: what made it.
        retry: try the rows again that have no waveform.
        world: the ranks that share the work.

    Returns:
        The complete manifest, and how many shards were made (known on rank 0, elsewhere 0).

    Raises:
        DataError: there is no dataset, its manifest is damaged, or another engine made it.
    """
    spec = Manifest.read(folder).spec
    loaded = _own_engine(folder, spec, engine)
    if loaded.name != spec.engine:
        raise DataError(
            f"{folder}: was made with '{spec.engine}', this is '{loaded.name}' on the same file; "
            f"choose the set's own with --engine"
        )
    torch.set_num_threads(1 if world.size > 1 else torch.get_num_threads())
    before = _published(folder, spec, world)
    manifest = generate(folder, spec, loaded, world, GenerateConfig(retry=retry))
    return manifest, len(_published(folder, spec, world) - before)


def _published(folder: Path, spec: DatasetSpec, world: World) -> set[tuple[int, int, int]]:
    """Which files the shards are (number, inode, time in ns): a shard made anew is another one."""
    paths = [folder / shard_name(i) for i in range(spec.shards if world.rank == 0 else 0)]
    there = [(i, path.stat()) for i, path in enumerate(paths) if path.exists()]
    return {(i, status.st_ino, status.st_mtime_ns) for i, status in there}


def _own_engine(folder: Path, spec: DatasetSpec, engine: EngineConfig) -> Engine:
    """The engine on a dataset's times; ``DataError`` unless its file is that of the dataset."""
    if spec.engine_checksum.startswith(IMPORTED):
        raise DataError(
            f"{folder}: was imported ({spec.engine_checksum[:19]}), no engine makes its rows; "
            f"import its file again into the same folder: only damaged shards are made anew"
        )
    start = float(spec.time_grid.times()[0])
    loaded = load_engine(engine, spec.times(), phase_zero=start)
    if loaded.checksum != spec.engine_checksum:
        raise DataError(
            f"{folder}: was made with '{spec.engine}' of a file with SHA-256 "
            f"{spec.engine_checksum[:12]}, this is '{loaded.name}', {loaded.checksum[:12]}; name "
            f"the set's own with --surrogate FILE or $HPC_GW_SURROGATE"
        )
    return loaded


_TOLERANCE = 1e-6
"""Of |h22|: what two machines, or gwsurrogate and our evaluator, may differ by."""

_HALF = 2.0**-11
"""Rounding of float16, relative."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Rows made anew: how many, how many differ too much, and the largest |difference|."""

    rows: int
    bad: int
    largest: float


def compare_dataset(folder: Path, engine: EngineConfig, count: int, world: World) -> Comparison:
    """Make random rows of a dataset anew and compare them with what its shards hold.

    A row differs too much where |difference| exceeds 1e-6 somewhere; of float16, 1e-6 and its
    rounding, 2^-11 max |h|. The same rows at each call.

    Args:
        folder: the dataset's, every shard of it whole.
        engine: evaluates the file that the dataset was made with.
        count: rows to compare, among those that have a waveform.
        world: the ranks that share the work.

    Raises:
        DataError: the engine's file is not the dataset's, or a shard is missing or damaged.
    """
    manifest = Manifest.read(folder)
    spec, storage = manifest.spec, manifest.spec.storage
    loaded = _own_engine(folder, spec, engine)
    kept = np.setdiff1d(np.arange(spec.population.size), [row.row for row in manifest.quarantine])
    rows = np.random.default_rng(0).choice(kept, min(count, kept.size), replace=False)
    mine, reader = np.sort(rows[world.rank :: world.size]), ShardReader(folder, spec, spec.samples)
    bad, largest = 0, 0.0
    for first in range(0, mine.size, BATCH):
        batch = mine[first : first + BATCH]
        there, anew = reader.read(batch), waveforms(spec, loaded, batch)
        if storage.dtype == "float16":
            there, anew = decode(there, storage), decode(anew, storage)
        rounding = _HALF * np.abs(anew).max(axis=1) if storage.dtype == "float16" else 0.0
        difference = np.abs(there - anew).max(axis=1)
        bad += int((~(difference <= _TOLERANCE + rounding)).sum())  # NaN is a difference
        largest = max(largest, float(np.nan_to_num(difference, nan=np.inf).max()))
    by_rank = [world.sum(largest if rank == world.rank else 0.0) for rank in range(world.size)]
    return Comparison(rows.size, int(world.sum(bad)), max(by_rank))


def train(job: JobConfig) -> Path:
    """Train a job's network; returns the best checkpoint."""
    with parallel(job.train.parallel) as ranks:
        run = Run(
            model=job.model,
            config=job.train,
            train=training_source(job, ranks.world, ranks.device),
            validation=_shards(job, "validation", ranks.world),
            objective=make_objective(job.train.loss, job.engine, job.time_grid, ranks.device),
            folder=job.folder,
            context=to_dict(job),
        )
        return Trainer(run, ranks).fit()


def _seen(job: JobConfig) -> int:
    """Samples that the network is trained on: all that can reach its kept outputs, or all."""
    return cone(job.model) if job.train.crop else job.time_grid.size


def training_source(job: JobConfig, world: World, device: torch.device) -> Source:
    """Where a job's training gets its waveforms: its set on disk, or the engine, with its shifts.

    Raises:
        DataError: the set is not there, not complete or damaged.
        SurrogateError: the engine's file is missing or damaged.
    """
    if job.train.source == "shards":
        return _shards(job, "train", world)
    times = job.time_grid.times()
    make = engine_maker(job.engine, device)
    moved = [times + shift for shift in (0.0, *comb(job.train.augment))]
    engine, *shifted = (make(at[-_seen(job) :], float(at[0])) for at in moved)
    return EngineSource(job.spec("train", engine.name, engine.checksum), engine, shifted)


def _shards(job: JobConfig, name: str, world: World) -> ShardSource:
    """A set on disk, cropped to what can reach the network's kept outputs."""
    local = None
    if job.train.local:
        target = Path(os.path.expandvars(job.train.local)).expanduser()
        part = (detect_launch().local_rank, world.size)
        local = stage(job.set_folder(name), target, part=part, progress=world.rank == 0)
    source = ShardSource(
        job.set_folder(name),
        local=local,
        samples=_seen(job),
        verify=job.train.verify,
        part=(world.rank, world.size),
        progress=world.rank == 0,
    )
    data = read_surrogate(surrogate_path(job.engine.file))
    found = to_dict(source.spec)
    # gwsurrogate and ours agree to rounding: who evaluated the file does not matter here.
    wanted = to_dict(job.spec(name, source.spec.engine, data.checksum))
    if key := first_difference(found, wanted):
        raise DataError(
            f"{job.set_folder(name)}: its {key} is {found[key]}, the job's is {wanted[key]}; "
            f"generate it again in another output folder"
        )
    return source
